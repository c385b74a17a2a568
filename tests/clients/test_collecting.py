"""Mail is collected from accounts elsewhere: Penfold itself is the other side, over POP3 and IMAP."""
import json
import subprocess
import time

import pytest

from harness import imap, mails, wire
from harness.host import Host

PATIENCE = 120


def rows(host, owner='alice'):
    return json.loads(host.run('collect', 'list', f'{owner}@{host.domain}', '--json'))


def wait_for(what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.1)
    return result


def add(here, there, protocol='pop3', *options, owner='alice', login='bob', password=None, tls='none', host='127.0.0.1'):
    port = there.port(protocol if tls != 'implicit' else protocol + 's')
    out = here.run('collect', 'add', f'{owner}@{here.domain}', protocol, f'{host}:{port}', f'{login}@{there.domain}', '--tls', tls,
                   *options, '--password-stdin', stdin=(password or there.passwords[login]) + '\n')
    return int(out.split()[-1])


def settled(host, number, asked=None, owner='alice'):
    """The row of a collection when a try that was asked for has ended."""
    def look():
        row = next(r for r in rows(host, owner) if int(r['id']) == number)
        return row if row['state'] != 'new' and (asked is None or row['tried'] > asked) else None
    return wait_for(look)


def run_again(host, number, owner='alice'):
    before = next(r for r in rows(host, owner) if int(r['id']) == number)['tried']
    host.run('collect', 'run', f'{owner}@{host.domain}', str(number))
    return settled(host, number, before, owner)


def strip_trace(message):
    """Without the Received field that collecting puts in front."""
    head, _, rest = message.partition(b'\r\n\t')
    assert head.startswith(b'Received: from '), message[:200]
    lines = message.split(b'\r\n')
    n = 1
    while lines[n][:1] == b'\t':
        n += 1
    return b'\r\n'.join(lines[n:])


@pytest.fixture
def hosts(tmp_path):
    plain = 'auth { plaintext = "loopback" }'
    with Host(tmp_path / 'there', settings=plain, domain='there.test') as there, \
            Host(tmp_path / 'here', settings=plain) as here:
        yield here, there


def deliver(there, n, user='bob', size=None):
    sent = [mails.sized(size or 500 + 37 * i) for i in range(n)]
    with wire.smtp(there, timeout=60) as connection:
        for message in sent:
            wire.deliver(there, message, user, wire=connection)
    return sent


def assert_same(here, sent, user='alice'):
    """What is in the mailbox here is exactly this, each once, but for the Received field in front."""
    assert sorted(strip_trace(m) for m in wire.messages(here, user)) == sorted(sent)


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_each_message_once(hosts, protocol):
    here, there = hosts
    deliver(there, 20)
    number = add(here, there, protocol)
    row = settled(here, number)
    assert (row['state'], row['messages'], row['error']) == ('well', 20, ''), row
    assert_same(here, wire.messages(there, 'bob'))
    deliver(there, 3)
    row = run_again(here, number)
    assert row['messages'] == 23, row
    assert_same(here, wire.messages(there, 'bob'))
    here.stop()
    here.start()
    row = run_again(here, number)
    assert (row['state'], row['messages']) == ('well', 23), row
    assert len(wire.messages(here, 'alice')) == 23
    here.run('collect', 'remove', f'alice@{here.domain}', str(number))
    assert rows(here) == []


def certificate(folder):
    """One for 127.0.0.1, its own authority: (certificate, key)."""
    pair = folder / 'address.pem', folder / 'address.key'
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj',
                    '/CN=here', '-addext', 'subjectAltName=IP:127.0.0.1', '-out', pair[0], '-keyout', pair[1]],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return pair


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_tls_is_wanted_and_checked(tmp_path, protocol):
    """TLS from the start and by STARTTLS; a certificate of an authority that nobody knows is refused before the password is said."""
    chain, key = certificate(tmp_path)
    with Host(tmp_path / 'there', domain='there.test', settings=f'tls {{ certificate = "{chain}" key = "{key}" }}') as there:
        deliver(there, 2)
        with Host(tmp_path / 'stranger') as here:
            row = settled(here, add(here, there, protocol, tls='starttls'))
            assert row['state'] == 'failing' and row['error'].startswith('no TLS: '), row
        assert 'event=login' not in there.log_text()
        with Host(tmp_path / 'here', settings=f'tls {{ ca_file = "{chain}" }}') as here:
            for tls in 'implicit', 'starttls':
                row = settled(here, add(here, there, protocol, tls=tls))
                assert (row['state'], row['messages']) == ('well', 2), row


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_deleted_there_when_it_is_in(hosts, protocol):
    here, there = hosts
    deliver(there, 12)
    sent = wire.messages(there, 'bob')
    number = add(here, there, protocol, '--after', 'delete')
    assert settled(here, number)['messages'] == 12
    assert_same(here, sent)
    assert wire.messages(there, 'bob') == []
    deliver(there, 1)
    sent += wire.messages(there, 'bob')
    assert run_again(here, number)['messages'] == 13
    assert_same(here, sent)
    assert wire.messages(there, 'bob') == []


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_a_wrong_password_stops_it(hosts, protocol):
    here, there = hosts
    deliver(there, 1)
    number = add(here, there, protocol, password='not it')
    row = settled(here, number)
    assert row['state'] == 'stopped' and row['due'] == '' and row['error'].startswith('the login was refused: '), row
    told = wait_for(lambda: wire.messages(here, 'alice'))
    assert len(told) == 1 and b'Subject: Mail from 127.0.0.1 is not collected' in told[0] and row['error'].encode()[:40] in told[0]
    here.stop()
    here.start()
    assert rows(here)[0] == row  # nothing was tried
    here.run('collect', 'passwd', f'alice@{here.domain}', str(number), '--password-stdin', stdin=there.passwords['bob'] + '\n')
    row = settled(here, number, row['tried'])
    assert (row['state'], row['messages'], row['error']) == ('well', 1, ''), row
    assert there.passwords['bob'] not in here.log_text()


def test_an_owner_with_another_address(hosts):
    here, there = hosts
    number = add(here, there)
    assert settled(here, number)['state'] == 'well'
    here.run('account', 'rename', here.address('alice'), here.address('alicia'), '--no-alias')
    here.passwords['alicia'] = here.passwords['alice']
    deliver(there, 1)
    row = run_again(here, number, 'alicia')
    assert (row['state'], row['messages'], row['owner']) == ('well', 1, here.address('alicia')), row


def test_a_host_that_is_away_is_tried_again(hosts):
    here, there = hosts
    number = add(here, there)
    assert settled(here, number)['state'] == 'well'
    there.stop()
    row = run_again(here, number)
    assert row['state'] == 'failing' and row['error'].startswith('cannot connect: ') and row['due'] > row['tried'], row
    there.start()
    row = run_again(here, number)
    assert (row['state'], row['error']) == ('well', ''), row


def test_a_loop_is_cut(hosts):
    """What was collected here, and has come back there, is left there."""
    here, there = hosts
    deliver(there, 1)
    number = add(here, there, 'pop3', '--after', 'delete')
    assert settled(here, number)['messages'] == 1
    came = wire.messages(here, 'alice')
    with wire.smtp(there, timeout=60) as connection:
        wire.deliver(there, came[0], 'bob', wire=connection)
    row = run_again(here, number)
    assert (row['state'], row['messages'], row['left']) == ('well', 1, 1), row
    assert wire.messages(here, 'alice') == came
    assert len(wire.messages(there, 'bob')) == 1
    assert run_again(here, number)['messages'] == 1


def test_what_is_too_large_stays_there(tmp_path):
    plain = 'auth { plaintext = "loopback" }'
    with Host(tmp_path / 'there', settings=plain, domain='there.test') as there, \
            Host(tmp_path / 'here', settings=plain + ' collect { message_size = "64k" }') as here:
        deliver(there, 1, size=200 * 1000)
        deliver(there, 2)
        for protocol in 'pop3', 'imap':
            row = settled(here, add(here, there, protocol, '--after', 'delete'))
            assert (row['state'], row['messages'], row['left']) == ('well', 2, 1), row
            deliver(there, 2)
        assert len(wire.messages(there, 'bob')) == 3


def test_a_full_mailbox_loses_nothing(hosts):
    here, there = hosts
    deliver(there, 6, size=20000)
    sent = wire.messages(there, 'bob')
    here.run('account', 'set', f'alice@{here.domain}', '--quota', '50k')
    number = add(here, there, 'pop3', '--after', 'delete')
    row = settled(here, number)
    assert row['state'] == 'failing' and row['error'] == 'the mailbox here is full', row
    assert len(wire.messages(there, 'bob')) == 6
    here.run('account', 'set', f'alice@{here.domain}', '--quota', '50M')
    assert run_again(here, number)['state'] == 'well'
    assert_same(here, sent)
    assert wire.messages(there, 'bob') == []


def test_imap_folders_and_flags(hosts):
    """Each folder to its place: special ones by their use, others by name, one as the map says; flags and dates come along."""
    here, there = hosts
    with imap.login(there, 'bob') as bob:
        for name in 'Projects/old', 'Secret', 'Plain':
            bob.command(f'CREATE "{name}"')
        for name, flags in (('Sent', r'\Seen'), ('Projects/old', r'\Flagged \Answered'), ('Secret', ''), ('Plain', '')):
            text = b'Subject: in ' + name.encode() + b'\r\n\r\nx\r\n'
            bob.command(f'APPEND "{name}" ({flags}) "03-Feb-2001 04:05:06 +0000" {{{len(text)}+}}\r\n'.encode() + text)
    number = add(here, there, 'imap', '--folders', 'INBOX,Sent,Plain,Projects/old=Kept')
    row = settled(here, number)
    assert (row['state'], row['messages']) == ('well', 3), row
    with imap.login(here, 'alice') as alice:
        for name, subject, flags in (('Sent', b'in Sent', b'(\\Seen)'), ('Kept', b'in Projects/old', b'\\Flagged'), ('Plain', b'Plain', b'()')):
            alice.command(f'SELECT {name}')
            text = repr(alice.command('FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[HEADER])')).encode().replace(b'\\\\', b'\\')
            assert subject in text and flags in text and b' 3-Feb-2001 04:05:06 +0000' in text, text
        alice.command('SELECT Secret', ok=False)


def test_imap_idles(hosts):
    """With IDLE new mail comes without waiting for the schedule."""
    here, there = hosts
    number = add(here, there, 'imap')
    assert settled(here, number)['messages'] == 0
    deliver(there, 1)
    wait_for(lambda: len(wire.messages(here, 'alice')) == 1)
    deliver(there, 1)
    wait_for(lambda: rows(here)[0]['messages'] == 2)
    assert_same(here, wire.messages(there, 'bob'))


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_killed_at_any_moment(hosts, protocol):
    """kill -9 while it collects and deletes: nothing is lost or doubled."""
    here, there = hosts
    deliver(there, 150)
    sent = wire.messages(there, 'bob')
    number = add(here, there, protocol, '--after', 'delete')
    for pause in 0.02, 0.05, 0.1, 0.2:
        here.expect_alarm = True
        here.run('collect', 'run', f'alice@{here.domain}', str(number))
        time.sleep(pause)  # wherever that is: each moment has to be right
        here.abandon()
        here.start()
    row = wait_for(lambda: next((r for r in rows(here) if r['state'] == 'well'), None))
    wait_for(lambda: run_again(here, number)['state'] == 'well')
    assert_same(here, sent)
    assert wire.messages(there, 'bob') == [], row


def test_on_a_store_at_rest(tmp_path):
    """The commands work without a server; what they say holds when it starts."""
    plain = 'auth { plaintext = "loopback" }'
    with Host(tmp_path / 'there', settings=plain, domain='there.test') as there:
        deliver(there, 1)
        with Host(tmp_path / 'here', settings=plain, serve=False) as here:
            number = add(here, there)
            assert rows(here)[0]['state'] == 'new'
            other = add(here, there, 'imap')
            here.run('collect', 'remove', f'alice@{here.domain}', str(other))
            assert [r['id'] for r in rows(here)] == [number]
            here.start()
            assert settled(here, number)['messages'] == 1


@pytest.mark.parametrize('words', [
    ['gopher', 'h.test', 'bob'], ['pop3', 'no host', 'bob'], ['pop3', 'h.test:0', 'bob'], ['pop3', 'h.test', 'bob\r\nDELE 1'],
    ['pop3', 'h.test', 'bob', '--after', 'never'], ['pop3', 'h.test', 'bob', '--tls', 'perhaps'], ['pop3', 'h.test', 'bob', '--every', '1s'],
    ['pop3', 'h.test', 'bob', '--folders', '*']])
def test_wrong_usage(penfold_server, words):
    done = penfold_server.run('collect', 'add', f'alice@{penfold_server.domain}', *words, '--password-stdin', stdin='x\n', check=False)
    assert done.returncode == 2 and 'expected' in done.stderr or 'of imap only' in done.stderr, done
