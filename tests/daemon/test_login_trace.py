"""What was decided about logins, as `penfold trace ADDRESS` tells it; a flood of guesses hides neither the mail nor the owner's logins."""
import json
import socket

import pytest

from harness import imap, mails, wire

SETTINGS = '''limits { trusted = {"127.9.0.0/24"}  per_address = 5000 }
auth { hash_memory = 1M  hash_ops = 1  delay_max = 1  address_failures = 4  account_failures = 1000000 }'''


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS)


def pop3(host, address, password, source):
    """What POP3 answers to a login from an address of loopback."""
    connection = wire.Wire.__new__(wire.Wire)
    connection.cafile = connection.name = None
    connection.socket = socket.create_connection(('127.0.0.1', host.port('pop3')), 60, (source, 0))
    connection.rest = b''
    with connection:
        connection.line()
        connection.send(f'USER {address}\r\nPASS {password}\r\n')
        connection.line()
        return connection.line()


def logins(host, address, *options):
    rows = json.loads(host.run('trace', address, '--json', *options))
    return [row for row in rows if row['story'] == 'logins']


def test_all_that_is_decided_is_told_with_peer_protocol_and_cause(host):
    alice, right = host.address('alice'), host.passwords['alice']
    assert pop3(host, alice, right, '127.1.0.1').startswith('+OK')
    assert pop3(host, alice, right, '127.2.0.1').startswith('+OK')
    for n in range(4):
        assert pop3(host, alice, f'wrong {n}', '127.3.0.1').startswith('-ERR [AUTH]')
    assert pop3(host, alice.upper(), right, '127.3.0.1').startswith('-ERR [SYS/TEMP]')
    session = imap.Connection(host)
    session.command(f'LOGIN {alice} {right}')
    host.run('sessions', 'kick', alice)
    assert session.response().startswith(b'* BYE')
    rows = logins(host, alice)
    told = [(row['event'], row['peer'], row['note']) for row in rows]
    for event in (('login', '127.1.0.1', ''), ('login', '127.2.0.1', ''), ('new-place', '127.2.0.1', 'to-be-sent'),
                  ('login-failed', '127.3.0.1', 'password'), ('login-blocked', '127.3.0.1', 'address 127.3.0.1 for 900 s'),
                  ('login-refused', '127.3.0.1', 'address-blocked'), ('session-ended', '127.0.0.1', 'an administrator')):
        assert told.count(event) >= 1, (event, told)
    assert [row['time'] for row in rows] == sorted(row['time'] for row in rows)
    failed = [row for row in rows if row['event'] == 'login-failed']
    assert [row['checks'] for row in failed] == ['protocol=pop3', 'protocol=pop3 times=3'], 'the first, and how many followed'
    text = host.run('trace', alice)
    assert f'logins of {alice}' in text and 'login-failed by pop3 from 127.3.0.1: password' in text
    assert 'nothing is known' in host.run('trace', host.address('bob'), check=False).stderr


def test_a_flood_of_guesses_pushes_out_neither_mail_nor_logins(make_host):
    """Small files: mail has 1 MB and logins an eighth of that. What is guessed is noted at a bounded rate, in files of its own."""
    host = make_host(settings=SETTINGS + '\ntrace { disk = 1M }')
    alice, right = host.address('alice'), host.passwords['alice']
    with wire.Wire(host.port('smtp'), timeout=60) as smtp:
        smtp.reply()
        for line in ('EHLO client.test', 'MAIL FROM:<x@elsewhere.test>', f'RCPT TO:<{alice}>', 'DATA'):
            smtp.command(line)
        smtp.send(mails.sized(600) + b'.\r\n')
        assert smtp.reply()[0] == 250
    assert pop3(host, alice, right, '127.9.0.1').startswith('+OK')
    for n in range(20):
        for name in range(10):
            pop3(host, f'nobody{n}-{name}@example.test', 'guess', f'127.{n % 50 + 20}.{n}.1')
        pop3(host, alice, f'guess {n}', f'127.{n + 100}.1.1')
    assert pop3(host, alice, right, '127.9.0.1').startswith('+OK'), 'the owner logs in meanwhile'
    rows = json.loads(host.run('trace', alice, '--json', '--limit', '1000'))
    assert {'accepted', 'delivered'} <= {row['event'] for row in rows}
    assert [row['event'] for row in rows if row['peer'] == '127.9.0.1'] == ['login', 'login']
    assert sum(row['event'] == 'login-failed' for row in rows) == 20
