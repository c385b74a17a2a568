"""`penfold import imap|pop3`: Penfold itself is the other side. Killed and resumed, nothing comes twice."""
import signal
import subprocess
import time

import pytest

from harness import imap, mails, wire
from harness.host import Host


def uidls(host, user):
    with wire.login(host, user) as connection:
        connection.send('UIDL\r\n')
        connection.line()
        return [line.split()[1] for line in connection.multi()]


@pytest.fixture
def hosts(tmp_path):
    plain = 'auth { plaintext = "loopback" }'
    with Host(tmp_path / 'there', settings=plain, domain='there.test') as there, Host(tmp_path / 'here', settings=plain) as here:
        yield here, there


def command(here, there, kind, *options):
    return ['import', kind, f'127.0.0.1:{there.port(kind)}', f'alice@{here.domain}', '--login', there.address('bob'), '--tls', 'none',
            '--password-stdin', *options]


def bring(here, there, kind, *options, check=True):
    return here.run(*command(here, there, kind, *options), stdin=there.passwords['bob'] + '\n', check=check)


def fill(there, n, size=900):
    with wire.smtp(there, timeout=60) as connection:
        for i in range(n):
            wire.deliver(there, mails.sized(size + i), 'bob', wire=connection)


def test_imap_brings_everything(hosts):
    """Folders, special uses, flags and dates; a second time nothing comes."""
    here, there = hosts
    fill(there, 8)
    with imap.login(there, 'bob') as bob:
        for name in 'Projects/old', '&AOQ-rger':
            bob.command(f'CREATE "{name}"')
        for name, flags in (('Sent', r'\Seen'), ('Projects/old', r'\Flagged \Answered'), ('&AOQ-rger', r'\Draft'), ('INBOX', r'\Seen')):
            text = b'Subject: in ' + name.encode() + b'\r\n\r\nx\r\n'
            bob.command(f'APPEND "{name}" ({flags}) "03-Feb-2001 04:05:06 +0000" {{{len(text)}+}}\r\n'.encode() + text)
    assert '12 messages came in' in bring(here, there, 'imap')
    theirs, ours = imap.holds_all(there, 'bob'), imap.holds_all(here, 'alice')
    assert set(ours) == set(theirs)
    for name, messages in theirs.items():
        assert [(m.flags, m.data) for m in ours[name]] == [(m.flags, m.data) for m in messages], name
    with imap.login(here, 'alice') as alice:
        alice.command('SELECT Sent')
        assert b'" 3-Feb-2001 04:05:06 +0000"' in alice.command('FETCH 1 INTERNALDATE')[1][0]
    assert '0 messages came in' in (again := bring(here, there, 'imap')) and '12 were in already' in again
    fill(there, 1)
    assert '1 messages came in' in bring(here, there, 'imap')


def test_pop3_keeps_unique_ids(hosts):
    """Who collected there collects nothing a second time here."""
    here, there = hosts
    fill(there, 6)

    assert '6 messages came in' in bring(here, there, 'pop3')
    assert uidls(here, 'alice') == uidls(there, 'bob')
    assert wire.messages(here, 'alice') == wire.messages(there, 'bob')
    assert '0 messages came in' in bring(here, there, 'pop3')


def test_imap_makes_unique_ids_by_a_form(hosts):
    here, there = hosts
    fill(there, 3)
    bring(here, there, 'imap', '--uidl', '%v.%u')
    with imap.login(there, 'bob') as bob:
        validity = next(line for line in bob.command('SELECT INBOX')[1] if b'UIDVALIDITY' in line).split(b'UIDVALIDITY ')[1].split(b']')[0]
    assert uidls(here, 'alice') == [f'{validity.decode()}.{n}' for n in (1, 2, 3)]


@pytest.mark.parametrize('kind', ['imap', 'pop3'])
def test_killed_and_run_again(hosts, kind):
    here, there = hosts
    fill(there, 150)
    for pause in 0.1, 0.3, 0.5:
        process = subprocess.Popen([here.binary, *command(here, there, kind), '-c', here.conf], stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=here.env)
        process.stdin.write(there.passwords['bob'].encode() + b'\n')
        process.stdin.close()
        time.sleep(pause)  # wherever that is
        process.send_signal(signal.SIGKILL)
        process.wait()
    end = time.monotonic() + 60
    while (done := bring(here, there, kind, check=False)).returncode and 'already' in done.stderr:  # the last one's end is still seen to
        assert time.monotonic() < end
        time.sleep(0.1)
    assert done.returncode == 0, done.stderr
    assert sorted(wire.messages(here, 'alice')) == sorted(wire.messages(there, 'bob'))


def test_what_goes_wrong_is_said(hosts):
    here, there = hosts
    there.passwords['bob'] += 'x'
    done = bring(here, there, 'imap', check=False)
    assert done.returncode == 1 and 'the login was refused: ' in done.stderr, done
    there.stop()
    done = bring(here, there, 'pop3', check=False)
    assert done.returncode == 1 and 'cannot connect: ' in done.stderr and 'run this again' in done.stderr, done
    done = here.run('import', 'imap', 'host.test', f'alice@{here.domain}', '--password-stdin', stdin='x\n', check=False)
    assert done.returncode == 2, done
