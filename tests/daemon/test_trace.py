"""`penfold trace`: the story of a message, with a server running and without, for people and for programs."""
import json
import re
import smtplib

import pytest

from harness.host import DOMAIN, Host

ALICE, BOB, NOBODY = f'alice@{DOMAIN}', f'bob@{DOMAIN}', f'nobody@{DOMAIN}'


@pytest.fixture(name='host', scope='module')
def host_fixture(tmp_path_factory):
    with Host(tmp_path_factory.mktemp('trace') / 'mail', settings='relay { connections = 0 }') as host:
        yield host


def submit(host, message_id, *recipients, sender=ALICE, subject='x'):
    with smtplib.SMTP('127.0.0.1', host.port('submission')) as s:
        s.login(ALICE, host.passwords['alice'])
        return s.sendmail(sender, recipients, f'From: {ALICE}\r\nTo: {BOB}\r\nMessage-ID: <{message_id}>\r\n'
                                              f'Subject: {subject}\r\n\r\nsecret words\r\n')


def trace(host, *words):
    return json.loads(host.run('trace', *words, '--json'))


def wait_for(host, what, event, n=1):
    """The events of a story as soon as it has so many of them; each look is a look at what is there by then."""
    for _ in range(2000):
        done = host.run('trace', what, '--json', check=False)
        rows = json.loads(done.stdout) if done.returncode == 0 else []
        if sum(row['event'] == event for row in rows) >= n:
            return rows
    raise AssertionError(rows)


def test_a_story_from_the_login_to_the_mailbox(host):
    submit(host, 'one@client.test', BOB)
    accepted, delivered = wait_for(host, '<one@client.test>', 'delivered')
    assert accepted['event'] == 'accepted' and accepted['sender'] == ALICE and accepted['to'] == BOB
    assert accepted['login'] == ALICE and '[127.0.0.1] by submission' in accepted['peer'] and accepted['session']
    assert 'sender=own author=own here=1 elsewhere=0' in accepted['checks']
    assert delivered['message'] == accepted['message'] and re.fullmatch(r'INBOX of account \d+, UID 1', delivered['mailbox'])
    assert delivered['to'] == BOB
    for name in (BOB, ALICE, BOB.upper(), accepted['message'], 'one@client.test'):
        assert accepted in trace(host, name), name
    assert host.run('trace', 'two@client.test', check=False).returncode == 1


def test_several_recipients_and_their_mailboxes(host):
    submit(host, 'several@client.test', ALICE, BOB)
    rows = wait_for(host, 'several@client.test', 'delivered', 2)
    assert rows[0]['event'] == 'accepted' and rows[0]['to'] == f'{ALICE}, {BOB}'
    assert sorted(row['to'] for row in rows if row['event'] == 'delivered') == [ALICE, BOB]


def test_refusals(host):
    with smtplib.SMTP('127.0.0.1', host.port('smtp')) as s:
        s.ehlo('probe.test')
        s.mail('stranger@elsewhere.test')
        assert s.rcpt(NOBODY)[0] == 550
        assert s.rcpt('x@not-ours.test')[0] == 550
    row, other = trace(host, NOBODY)  # both belong to one transaction
    assert row['event'] == 'refused' and row['to'] == NOBODY and row['reply'].startswith('550 5.1.1 ') and row['sender'] == 'stranger@elsewhere.test'
    assert row['peer'] == 'probe.test [127.0.0.1] by smtp' and row['login'] == ''
    assert other['to'] == 'x@not-ours.test' and other['reply'].startswith('550 ')
    assert trace(host, 'x@not-ours.test') == [row, other]
    with pytest.raises(smtplib.SMTPSenderRefused):
        submit(host, 'forged@client.test', ALICE, sender='boss@elsewhere.test')
    row, = trace(host, 'boss@elsewhere.test')
    assert row['event'] == 'refused' and row['login'] == ALICE


def test_for_people(host):
    submit(host, 'people@client.test', BOB)
    rows = wait_for(host, 'people@client.test', 'delivered')
    said = host.run('trace', 'people@client.test').splitlines()
    assert said[0] == f'message {rows[0]["message"]} <people@client.test>'
    assert re.fullmatch(rf'  \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{{4}}  accepted from {ALICE} for {BOB}', said[1])
    assert re.search(rf'  delivered for {BOB}: INBOX of account \d+, UID \d+$', said[-1])


def test_never_content_nor_a_password(host):
    submit(host, 'content@client.test', BOB, subject='very private')
    wait_for(host, 'content@client.test', 'delivered')
    for words in (host.run('trace', ALICE, '--json'), host.run('trace', ALICE)):
        assert 'private' not in words and 'secret words' not in words and host.passwords['alice'] not in words


def test_since_and_limit(host):
    submit(host, 'late@client.test', BOB)
    wait_for(host, 'late@client.test', 'delivered')
    assert {row['message_id'] for row in trace(host, BOB, '--limit', '1')} == {'late@client.test', ''}
    assert len({row['message'] for row in trace(host, BOB, '--since', '1d')}) >= 4
    assert host.run('trace', BOB, '--since', '2100-01-01', check=False).returncode == 1
    for words in (('--since', 'yesterday'), ('--limit', '0'), ('--limit', '1001')):
        assert host.run('trace', BOB, *words, check=False).returncode == 2, words


def test_an_administrator_is_part_of_it(host):
    alias = f'all@{DOMAIN}'
    host.run('alias', 'add', alias, ALICE, 'x@elsewhere.test')
    submit(host, 'held@client.test', alias)
    waiting, = json.loads(host.run('queue', 'list', '--json'))
    host.run('queue', 'hold', waiting['id'])
    host.run('queue', 'remove', waiting['id'])
    notes = [row['note'] for row in wait_for(host, 'held@client.test', 'changed', 2) if row['event'] == 'changed']
    assert notes == ['held', 'taken out of the queue']


def test_it_outlives_the_server(host):
    before = trace(host, ALICE)
    host.stop()
    assert trace(host, ALICE) == before
    host.start()
    assert trace(host, ALICE) == before


def test_nothing_is_noted_when_nothing_is_kept(tmp_path):
    with Host(tmp_path / 'mail', settings='trace { keep = 0 }') as host:
        submit(host, 'one@client.test', BOB)
        done = host.run('trace', BOB, check=False)
        assert done.returncode == 1 and 'nothing is noted' in done.stderr
