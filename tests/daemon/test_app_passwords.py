"""App passwords, as mail programs and administrators meet them, with a server running and without."""
import base64
import json
import os
import re
import shutil
import threading

import pytest

from harness import imap, wire

SETTINGS = '''limits { per_address = 5000 }
auth { hash_memory = 1M  hash_ops = 1  address_failures = 1000  account_failures = 1000  network_failures = 1000  delay_max = 1 }'''
FORM = re.compile(r'[a-z2-9]{7}(-[a-z2-9]{7}){3}')


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS)


def add(host, user, *options):
    """What is printed is the password and nothing else."""
    password, = host.run('app-password', 'add', host.address(user), *options).splitlines()
    assert FORM.fullmatch(password)
    return password


def listed(host, user):
    return json.loads(host.run('app-password', 'list', host.address(user), '--json'))


def imap_login(host, name, password):
    connection = imap.Connection(host)
    answer, _ = connection.command(f'LOGIN {name} {password}', ok=False)
    return connection, answer


def pop3_login(host, name, password):
    connection = wire.Wire(host.port('pop3'), timeout=60)
    assert connection.line().startswith('+OK')
    connection.send(f'USER {name}\r\nPASS {password}\r\n')
    assert connection.line().startswith('+OK')
    return connection, connection.line()


def smtp_login(host, name, password):
    connection = wire.Wire(host.port('submission'), timeout=60)
    assert connection.reply()[0] == 220
    assert connection.command('EHLO client.test')[0] == 250
    return connection, connection.command('AUTH PLAIN ' + base64.b64encode(f'\0{name}\0{password}'.encode()).decode())


def until(condition, what):
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError(f'never: {what}')


def test_it_works_for_its_protocols_and_is_listed_with_its_last_use(host):
    address = host.address('alice')
    password = add(host, 'alice', '--label', 'Phone', '--protocols', 'imap,smtp')
    phone, answer = imap_login(host, address, password)
    assert answer.startswith(b'OK')
    phone.command('ID ("name" "Pocket Mail")')
    _, answer = pop3_login(host, address, password)
    assert answer.startswith('-ERR [AUTH]')
    until(lambda: 'cause=app-password-protocol' in host.log_text(), 'the line of the log')
    until(lambda: listed(host, 'alice')[0]['client'], "the client's name")  # it is written behind its back
    row, = listed(host, 'alice')
    assert row['label'] == 'phone' and row['protocols'] == 'imap,smtp' and row['expires'] == '' and row['from'] == ''
    assert row['peer'] == '127.0.0.1' and row['used_protocol'] == 'imap' and row['client'] == 'Pocket Mail' and row['used']
    assert password not in host.log_text() and password not in json.dumps(row)
    until(lambda: 'app_password=phone' in host.log_text(), 'the line of the log')
    assert imap_login(host, address, host.passwords['alice'])[1].startswith(b'OK')


def test_a_name_with_a_label_submits_as_the_account(host):
    """The session goes by the account's address: it may send for it and for nobody else."""
    address = host.address('alice')
    password = add(host, 'alice', '--label', 'laptop')
    named = address.replace('@', '+laptop@')
    connection, answer = smtp_login(host, named, password)
    assert answer[0] == 235
    assert connection.command(f'MAIL FROM:<{address}>')[0] == 250
    assert connection.command(f'RCPT TO:<{host.address("bob")}>')[0] == 250
    assert connection.command('DATA')[0] == 354
    connection.send(f'From: {address}\r\nTo: {host.address("bob")}\r\nSubject: from the laptop\r\n\r\nHello.\r\n.\r\n')
    assert connection.reply()[0] == 250
    assert connection.command(f'MAIL FROM:<{host.address("bob")}>')[0] == 550
    bob = imap.login(host, 'bob')
    until(lambda: b'EXISTS' in b''.join(bob.command('SELECT INBOX')[1]) and
          b'* 0 EXISTS' not in bob.command('SELECT INBOX')[1], 'the message')
    assert imap_login(host, named, host.passwords['alice'])[1].startswith(b'NO')
    assert imap_login(host, address.replace('@', '+other@'), password)[1].startswith(b'NO')


def test_revoking_ends_sessions_at_once_and_no_others(host):
    address = host.address('alice')
    password, other = add(host, 'alice', '--label', 'phone'), add(host, 'alice')
    idler, _ = imap_login(host, address, password)
    idler.send_command('IDLE')
    assert idler.response().startswith(b'+ ')
    box, _ = pop3_login(host, address.replace('@', '+phone@'), password)
    sender, _ = smtp_login(host, address, password)
    laptop, _ = imap_login(host, address, other)
    own = imap.login(host, 'alice')
    host.run('app-password', 'revoke', address, '--label', 'phone')
    assert idler.response().startswith(b'* BYE [AUTHENTICATIONFAILED] ') and idler.is_closed()
    assert box.line().startswith('-ERR [AUTH]') and box.is_closed()
    assert sender.reply()[0] == 421 and sender.is_closed()
    laptop.command('NOOP')
    own.command('NOOP')
    assert imap_login(host, address, password)[1].startswith(b'NO')
    assert [row['label'] for row in listed(host, 'alice')] == ['app1']


def test_expiry_ends_an_idle_session(host):
    """Nobody does anything when the time comes; the server knows by itself."""
    address = host.address('alice')
    password = add(host, 'alice', '--label', 'guest', '--expires', '20s')
    idler, answer = imap_login(host, address, password)
    assert answer.startswith(b'OK')
    idler.send_command('IDLE')
    assert idler.response().startswith(b'+ ')
    assert idler.response().startswith(b'* BYE [AUTHENTICATIONFAILED] ') and idler.is_closed()
    assert imap_login(host, address, password)[1].startswith(b'NO')
    until(lambda: 'cause=app-password-expired' in host.log_text(), 'the line of the log')


def test_a_refusal_looks_like_a_wrong_password(host):
    address = host.address('alice')
    elsewhere = add(host, 'alice', '--from', '198.51.100.0/24')
    popper = add(host, 'alice', '--protocols', 'pop3')
    answers = {imap_login(host, address, password)[1].split(b' ', 1)[1]
               for password in (elsewhere, popper, 'wrong')}
    assert len(answers) == 1
    assert smtp_login(host, address, elsewhere)[1] == smtp_login(host, address, 'wrong')[1]
    until(lambda: 'cause=app-password-network' in host.log_text(), 'the line of the log')


def test_without_a_server(make_host):
    host = make_host(serve=False, settings=SETTINGS)
    password = add(host, 'alice', '--label', 'phone', '--expires', '2040-01-31', '--from', '192.0.2.7')
    row, = listed(host, 'alice')
    assert row['expires'].startswith('2040-01-31T00:00:00') and row['from'] == '192.0.2.7' and row['used'] == ''
    assert json.loads(host.run('app-password', 'add', host.address('alice'), '--json'))[0].keys() == {'password'}
    assert password not in host.run('app-password', 'list', host.address('alice'))
    host.run('fsck')
    address = host.address('alice')
    for words, status in [(['add', address, '--label', 'PHONE'], 1), (['add', address, '--label', 'a b'], 1),
                          (['add', 'nobody@' + address.split('@')[1]], 1), (['add', address, '--protocols', 'nntp'], 2),
                          (['add', address, '--expires', '1999-01-01'], 2), (['add', address, '--from', 'home'], 2),
                          (['add', address, '--label', 'web', '--protocols', 'web'], 0), (['revoke', address], 2),
                          (['revoke', address, '--label', 'x'], 1), (['revoke', address, '--label', 'x', '--all'], 2),
                          (['list'], 2), (['revoke', address, '--all'], 0)]:
        done = host.run('app-password', *words, check=False)
        assert done.returncode == status, (words, done)
    assert listed(host, 'alice') == []


def test_a_backup_carries_them(host, tmp_path):
    address = host.address('alice')
    password = add(host, 'alice', '--label', 'phone')
    assert imap_login(host, address, password)[1].startswith(b'OK')
    host.run('backup', str(tmp_path / 'backup'))
    host.stop()
    shutil.rmtree(os.path.join(host.folder, 'data'))
    host.run('restore', str(tmp_path / 'backup'))
    assert [row['label'] for row in listed(host, 'alice')] == ['phone']
    host.start()
    assert imap_login(host, address, password)[1].startswith(b'OK')
