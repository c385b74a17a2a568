"""Guessing passwords over the wire: refusals are the same bytes whoever is asked for, blocks come and go, nobody else is kept waiting.
Loopback is not trusted here, but for one network of it that the administrator's tests come from."""
import base64
import json
import socket
import threading

import pytest

from harness import mails, wire

SETTINGS = '''limits { trusted = {"192.0.2.0/24"}  per_address = 2000 }
auth { delay_max = 1  account_failures = 6  address_failures = 4  hash_memory = 1M  hash_ops = 1 }'''


@pytest.fixture
def host(tmp_path):
    from harness.host import Host
    with Host(tmp_path / 'mail', settings=SETTINGS) as made:
        yield made


class From(wire.Wire):
    """A connection from another address of 127.0.0.0/8."""

    def __init__(self, port, source):
        self.cafile = self.name = None
        self.socket = socket.create_connection(('127.0.0.1', port), 60, (source, 0))
        self.rest = b''


def login(host, user, password, source='127.1.0.1'):
    """What POP3 answers to PASS."""
    with From(host.port('pop3'), source) as connection:
        assert connection.line().startswith('+OK')
        connection.send(f'USER {user}\r\nPASS {password}\r\n')
        assert connection.line().startswith('+OK')
        return connection.line()


def smtp_login(host, user, password, source='127.1.0.1'):
    """What SMTP answers to AUTH PLAIN, and whether it ends the session."""
    message = base64.b64encode(f'\0{user}\0{password}'.encode()).decode()
    with From(host.port('submission'), source) as connection:
        assert connection.reply()[0] == 220
        assert connection.command('EHLO client.test')[0] == 250
        answer = connection.command(f'AUTH PLAIN {message}')
        ended = answer[0] == 454 and connection.reply()[0] == 421 and connection.is_closed()
        return answer, ended


def figure(host, name):
    rows = json.loads(host.run('stat', '--json'))
    return next(row['value'] for row in rows if row['figure'] == name)


def hashes(host):
    return figure(host, 'penfold_password_hashes_total')


def test_the_same_bytes_and_one_hash_whoever_is_asked_for(host):
    """[RFC3206 5]: [AUTH] for wrong credentials, whether or not there is such an account."""
    alice, nobody = host.address('alice'), host.address('nobody')
    host.run('account', 'set', host.address('bob'), '--enabled', 'no')
    before, answers = hashes(host), set()
    for i, user in enumerate((alice, nobody, host.address('bob'), 'alice@elsewhere.test', 'alice')):
        answers.add(login(host, user, 'wrong', source=f'127.2.{i}.1'))
    assert len(answers) == 1 and answers.pop().startswith('-ERR'), answers
    assert hashes(host) - before == 5
    assert login(host, alice, host.passwords['alice'], source='127.2.9.1').startswith('+OK')
    assert login(host, alice, host.passwords['alice'], source='127.2.9.1').startswith('+OK')
    assert hashes(host) - before == 6
    assert login(host, alice, 'wrong', source='127.2.9.1').startswith('-ERR')
    assert hashes(host) - before == 7


def test_an_address_that_guesses_is_blocked_and_let_in_again(host):
    """[RFC3206 4]: [SYS/TEMP] says that the credentials were not looked at."""
    alice, password = host.address('alice'), host.passwords['alice']
    for i in range(4):
        assert not login(host, f'user{i}@example.test', 'wrong', '127.3.0.1').startswith(('+OK', '-ERR [SYS/TEMP]'))
    before = hashes(host)
    assert login(host, alice, password, '127.3.0.1').startswith('-ERR [SYS/TEMP]')
    assert hashes(host) == before
    assert login(host, alice, password, '127.3.1.1').startswith('+OK')
    rows = json.loads(host.run('blocked', 'list', '--json'))
    assert [(row['scope'], row['blocked']) for row in rows] == [('address', '127.3.0.1')]
    assert 0 < rows[0]['seconds_left'] <= 900
    assert '127.3.0.1' in host.run('blocked', 'list')
    host.run('blocked', 'remove', '127.3.0.0/24')
    assert json.loads(host.run('blocked', 'list', '--json')) == []
    assert login(host, alice, password, '127.3.0.1').startswith('+OK')
    log = host.log_text()
    assert 'event=login-blocked' in log and 'scope=address blocked=127.3.0.1 seconds=900' in log
    assert 'event=login-refused' in log and 'cause=address-blocked' in log


def test_submission_tells_no_more_and_blocks_as_well(host):
    """[RFC4954 6]: 535 5.7.8 for wrong credentials, whatever is wrong with them; a block is 454 4.7.0 [RFC4954 6] and the end."""
    before, answers = hashes(host), set()
    host.run('account', 'set', host.address('bob'), '--enabled', 'no')
    for i, user in enumerate((host.address('alice'), host.address('nobody'), host.address('bob'), 'alice@elsewhere.test')):
        answers.add(str(smtp_login(host, user, 'wrong', source=f'127.8.{i}.1')))
    assert len(answers) == 1 and answers.pop().startswith('((535, '), answers
    assert hashes(host) - before == 4
    for _ in range(3):
        assert smtp_login(host, host.address('alice'), host.passwords['alice'], '127.8.9.1')[0][0] == 235
    assert hashes(host) - before == 5
    for i in range(4):
        assert smtp_login(host, f'user{i}@example.test', 'wrong', '127.8.10.1')[0][0] == 535
    answer, ended = smtp_login(host, host.address('alice'), host.passwords['alice'], '127.8.10.1')
    assert answer[0] == 454 and answer[1][0].startswith('4.7.0') and ended
    assert hashes(host) - before == 9


def test_an_account_under_attack_stays_open_to_its_owner(host):
    """From many networks at once; the owner comes from where he has been before, also after a restart."""
    alice, password = host.address('alice'), host.passwords['alice']
    assert login(host, alice, password, '127.4.0.1').startswith('+OK')
    host.stop()
    host.start()
    for i in range(6):
        assert login(host, alice, f'guess{i}', f'127.5.{i}.1').startswith('-ERR')
    assert login(host, alice, password, '127.6.0.1').startswith('-ERR [SYS/TEMP]')
    assert login(host, alice, password, '127.4.0.77').startswith('+OK')
    host.run('blocked', 'remove', alice)
    assert login(host, alice, password, '127.6.0.1').startswith('+OK')


def test_others_are_served_in_a_storm_of_wrong_logins(host):
    """A thousand at once, from 250 networks; no time is measured here, see bench/. Whoever has logged in lately needs no turn."""
    assert wire.messages(host, 'bob') == []
    storm = [From(host.port('pop3'), f'127.7.{i % 250}.1') for i in range(1000)]
    for i, connection in enumerate(storm):
        connection.send(f'USER u{i}@example.test\r\nPASS wrong{i}\r\n')
    served = []

    def others():
        for _ in range(5):
            wire.deliver(host, mails.sized(2000), 'bob')
        served.append(len(wire.messages(host, 'bob', delete=True)))

    thread = threading.Thread(target=others)
    thread.start()
    thread.join(60)
    assert served == [5]
    for connection in storm:
        assert [connection.line()[:3] for _ in range(2)] == ['+OK', '+OK']
        assert connection.line().startswith('-ERR')
        connection.close()
    assert figure(host, 'penfold_logins_total') == 2
    assert figure(host, 'penfold_cached_logins_total') == 1


def test_a_block_outlives_the_server_and_is_gone_once_removed(host):
    """Making it start anew, even by a crash, is no way around a block."""
    address = host.address('alice')
    for n in range(4):
        login(host, address, f'wrong {n}', '127.4.0.1')
        login(host, address, f'wrong {n}', '127.5.0.1')
    for source in ('127.4.0.1', '127.5.0.1'):
        assert login(host, address, host.passwords['alice'], source).startswith('-ERR [SYS/TEMP]')
    host.expect_alarm = True
    host.abandon()  # by SIGKILL
    rows = json.loads(host.run('blocked', 'list', '127.4.0.0/16', '--json'))
    assert [(row['scope'], row['blocked']) for row in rows] == [('address', '127.4.0.1')] and 0 < rows[0]['seconds_left'] <= 900
    host.run('blocked', 'remove', '127.5.0.1')
    host.start()
    assert login(host, address, host.passwords['alice'], '127.4.0.1').startswith('-ERR [SYS/TEMP]')
    assert login(host, address, host.passwords['alice'], '127.5.0.1').startswith('+OK')
    assert {row['blocked'] for row in json.loads(host.run('blocked', 'list', '--json'))} >= {'127.4.0.1'}
    assert host.run('blocked', 'list', 'no/net', check=False).returncode == 2
    host.run('blocked', 'remove')
    assert json.loads(host.run('blocked', 'list', '--json')) == []
    host.stop()
    host.start()
    assert json.loads(host.run('blocked', 'list', '--json')) == []
