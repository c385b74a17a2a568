"""Who is logged in, as `penfold sessions` tells it; sessions that are ended from outside; how many an account may have."""
import base64
import json
import re
import threading

import pytest

from harness import imap, mails, wire

SETTINGS = '''limits { per_address = 5000  per_account = 4 }
auth { hash_memory = 1M  hash_ops = 1 }'''


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS)


def sessions(host, *what):
    return json.loads(host.run('sessions', 'list', *what, '--json'))


def until(condition, what):
    """Waits for an event that comes at its own time."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError(f'never: {what}')


def pop3(host, user, password=None):
    connection = wire.Wire(host.port('pop3'), timeout=60)
    assert connection.line().startswith('+OK')
    connection.send(f'USER {host.address(user)}\r\nPASS {password or host.passwords[user]}\r\n')
    assert connection.line().startswith('+OK')
    return connection, connection.line()


def submission(host, user):
    connection = wire.Wire(host.port('submission'), timeout=60)
    assert connection.reply()[0] == 220
    assert connection.command('EHLO client.test')[0] == 250
    text = base64.b64encode(f'\0{host.address(user)}\0{host.passwords[user]}'.encode()).decode()
    return connection, connection.command(f'AUTH PLAIN {text}')


def idle(connection):
    connection.send_command('IDLE')
    assert connection.response().startswith(b'+ ')
    return connection


def is_gone(connection):
    return connection.is_closed()


def passwd(host, user, password):
    host.run('account', 'passwd', host.address(user), '--password-stdin', stdin=password + '\n')


def test_the_list_tells_who_how_and_with_what(host):
    assert sessions(host) == []
    phone = imap.Connection(host, 'imaps')
    phone.command('ID ("version" "3.1" "name" "Pocket Mail")')
    phone.command(f'LOGIN {host.address("alice")} {host.passwords["alice"]}')
    phone.command('CREATE "Entw&APw-rfe"')
    phone.command('SELECT "Entw&APw-rfe"')
    laptop = imap.login(host, 'alice')
    laptop.command('ID ("name" "Desk")')
    box, answer = pop3(host, 'bob')
    assert answer.startswith('+OK')
    sender, answer = submission(host, 'bob')
    assert answer[0] == 235
    rows = sessions(host)
    assert [(row['address'], row['protocol'], row['mailbox'], row['client']) for row in rows] == [
        (host.address('alice'), 'imap', 'Entwürfe', 'Pocket Mail 3.1'), (host.address('alice'), 'imap', '', 'Desk'),
        (host.address('bob'), 'pop3', '', ''), (host.address('bob'), 'smtp', '', '')]
    assert rows[0]['tls'].startswith('TLSv1.3 ') and rows[1]['tls'] == ''
    for row in rows:
        assert row['peer'] == '127.0.0.1' and row['idle'] < 3600 and row['state'] == 'open'
        assert re.fullmatch(r'\d{4}-\d\d-\d\dT.*', row['since']) and re.fullmatch(r'\w+-[0-9a-f]+', row['id'])
    assert [row['id'] for row in sessions(host, host.address('bob').upper())] == [row['id'] for row in rows[2:]]
    assert [row['id'] for row in sessions(host, rows[1]['id'])] == [rows[1]['id']]
    assert sessions(host, 'imap-nobody') == []
    phone.command('UNSELECT')
    assert sessions(host)[0]['mailbox'] == ''
    laptop.command('UNAUTHENTICATE')
    box.send('QUIT\r\n')
    assert box.line().startswith('+OK')
    until(lambda: len(sessions(host)) == 2, 'the two that are left')
    for connection in (phone, laptop, box, sender):
        connection.close()
    until(lambda: sessions(host) == [], 'an empty list')


def test_a_kick_ends_sessions_of_an_address_with_their_protocols_words(host):
    idler, busy = idle(imap.login(host, 'alice')), imap.login(host, 'alice')
    box, _ = pop3(host, 'alice')
    sender, _ = submission(host, 'alice')
    other = imap.login(host, 'bob')
    busy.command('SELECT INBOX')
    assert json.loads(host.run('sessions', 'kick', host.address('alice'), '--json')) == [{'ended': 4}]
    assert idler.response().startswith(b'* BYE ') and is_gone(idler)
    assert busy.response().startswith(b'* BYE ') and is_gone(busy)
    assert box.line().startswith('-ERR [SYS/TEMP]') and is_gone(box)
    assert sender.reply()[0] == 421 and is_gone(sender)
    until(lambda: [row['address'] for row in sessions(host)] == [host.address('bob')], "bob's session alone")
    other.command('NOOP')
    assert host.log_text().count('event=session-ended') == 4
    host.run('sessions', 'kick', sessions(host)[0]['id'])
    assert other.response().startswith(b'* BYE ') and is_gone(other)
    assert host.run('sessions', 'kick', host.address('bob'), check=False).returncode == 1
    assert host.run('sessions', 'kick', check=False).returncode == 2


def test_a_kick_ends_a_session_in_the_middle_of_an_answer_that_nobody_takes(host):
    """The client asks for a big message and does not read: neither its goodbye nor the rest of the answer is waited for."""
    reader = imap.login(host, 'alice')
    reader.append('INBOX', mails.sized(16 << 20))
    stuck = imap.login(host, 'alice', buffer=4096)
    stuck.command('SELECT INBOX')
    stuck.send_command('FETCH 1:* BODY[]')
    until(lambda: sessions(host)[1]['mailbox'] == 'INBOX', 'the selected mailbox')
    host.run('sessions', 'kick', sessions(host)[1]['id'])
    until(lambda: len(sessions(host)) == 1, 'the end of the one that reads nothing')
    reader.command('NOOP')


@pytest.mark.parametrize('change', ['password', 'disabled', 'suspended', 'removed', 'renamed'])
def test_a_login_that_holds_no_longer_ends_idle_sessions_at_once(host, change):
    idler, other = idle(imap.login(host, 'alice')), idle(imap.login(host, 'bob'))
    box, _ = pop3(host, 'alice')
    sender, _ = submission(host, 'alice')
    address = host.address('alice')
    if change == 'password':
        passwd(host, 'alice', 'another one 99')
    elif change == 'disabled':
        host.run('account', 'set', address, '--enabled', 'no')
    elif change == 'suspended':
        host.run('account', 'set', address, '--suspended', 'yes')
    elif change == 'removed':
        host.run('account', 'remove', address)
    else:
        host.run('account', 'rename', address, host.address('alicia'))
    assert idler.response().startswith(b'* BYE [AUTHENTICATIONFAILED] ') and is_gone(idler)
    assert box.line().startswith('-ERR [AUTH]') and is_gone(box)
    assert sender.reply()[0] == 421 and is_gone(sender)
    until(lambda: [row['address'] for row in sessions(host)] == [host.address('bob')], "bob's session alone")
    other.send('DONE\r\n')
    assert b' OK ' in other.response()


def test_what_does_not_touch_a_login_ends_no_session(host):
    idler = idle(imap.login(host, 'alice'))
    host.run('account', 'set', host.address('alice'), '--quota', '5M')
    for n in range(5):
        host.add_account(f'new{n}')
    passwd(host, 'bob', 'another one 99')
    idler.send('DONE\r\n')
    assert b' OK ' in idler.response()
    idler.command('NOOP')


def test_an_account_has_as_many_sessions_as_it_may(host):
    held = [imap.login(host, 'alice') for _ in range(3)]
    box, answer = pop3(host, 'alice')
    assert answer.startswith('+OK')
    more = imap.Connection(host)
    answer, _ = more.command(f'LOGIN {host.address("alice")} {host.passwords["alice"]}', ok=False)
    assert answer.startswith(b'NO [LIMIT] ')
    _, answer = pop3(host, 'alice')
    assert answer.startswith('-ERR [SYS/TEMP] ')
    sender, answer = submission(host, 'alice')
    assert answer[0] == 421 and is_gone(sender)
    neighbour = imap.login(host, 'bob')
    neighbour.command('NOOP')
    held.pop().close()
    until(lambda: len(sessions(host, host.address('alice'))) == 3, 'room for one more')
    assert more.command(f'LOGIN {host.address("alice")} {host.passwords["alice"]}')[0].startswith(b'OK ')
    figures = {row['figure']: row['value'] for row in json.loads(host.run('stat', '--json'))}
    assert figures['penfold_refused_sessions_total'] == 3 and figures['penfold_login_sessions'] == 5
    assert host.log_text().count('event=session-refused') == 3


def test_many_idle_sessions_are_listed_and_ended_while_others_work(make_host):
    n = 600
    host = make_host(settings=SETTINGS.replace('per_account = 4', f'per_account = {n}'))
    crowd = [idle(imap.login(host, 'alice')) for _ in range(n)]
    other = imap.login(host, 'bob')
    assert len(sessions(host)) == n + 1
    ended = []
    kick = threading.Thread(target=lambda: ended.append(host.run('sessions', 'kick', host.address('alice'), '--json')))
    kick.start()
    for _ in range(50):
        other.command('NOOP')
    kick.join()
    assert json.loads(ended[0]) == [{'ended': n}]
    for connection in crowd:
        assert connection.response().startswith(b'* BYE ')
    until(lambda: len(sessions(host)) == 1, 'the end of the crowd')
