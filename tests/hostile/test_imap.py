"""IMAP clients that mean harm or have no manners."""
import threading

import pytest

from harness import imap, mails, wire

CONNECTIONS = 400
KIB = 1 << 10


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    from harness.host import Host
    with Host(tmp_path_factory.mktemp('imap') / 'mail', settings='limits { message_size = 1M }') as made:
        for n in range(200):
            wire.deliver(made, mails.sized(50000), 'alice')
        yield made


def test_before_the_login_a_connection_holds_little(host):
    """Half a command each: a literal under way and the beginning of a line. Under 64 KB."""
    before, connections = host.pss(), []
    try:
        for _ in range(CONNECTIONS):
            connection = imap.Connection(host)
            connections.append(connection)
            connection.send(b'a LOGIN {4096+}\r\n' + b'x' * 4096 + b' {4096+}\r\n' + b'y' * 4096 + b' ' + b'z' * 7000)
        with imap.login(host, 'bob') as other:
            other.command('NOOP')
        assert (host.pss() - before) / CONNECTIONS < 64 * KIB
    finally:
        for connection in connections:
            connection.close()


def test_a_literal_over_the_limit_is_refused_before_its_bytes(host):
    with imap.login(host, 'alice') as connection:
        for command in ('APPEND INBOX {1048577}', 'APPEND INBOX {99999999999}', 'CREATE {2000000}'):
            answer, _ = connection.command(command, ok=False)
            assert answer.startswith((b'NO [TOOBIG]', b'BAD [TOOBIG]')), answer
        connection.command('NOOP')


def test_a_hundred_thousand_commands_at_once(host):
    with imap.login(host, 'alice') as connection:
        sender = threading.Thread(target=connection.send, args=(b''.join(b'n%d NOOP\r\n' % n for n in range(100000)),))
        sender.start()
        for n in range(100000):
            assert connection.response() == b'n%d OK NOOP completed' % n
        sender.join(60)


def test_fetch_everything_and_never_read(host):
    before, connections = host.pss(), []
    try:
        for _ in range(20):
            connection = imap.login(host, 'alice', buffer=4096)
            connections.append(connection)
            connection.command('SELECT INBOX')
            connection.send_command('FETCH 1:* (FLAGS BODY.PEEK[])')
        with imap.login(host, 'bob') as other:
            other.command('NOOP')
        assert (host.pss() - before) / len(connections) < 1024 * KIB  # of 10 MB each
        connection = connections[0]  # and it all comes when it is read
        tag, sizes = b'a%d' % connection.number, []
        answer = connection.answer(tag, lambda got: sizes.append(len(got)))
        assert answer.startswith(b'OK') and len(sizes) == 200 and min(sizes) > 50000
    finally:
        for connection in connections:
            connection.close()


def test_cut_in_the_middle_of_everything(host):
    for text in (b'', b'a', b'a LOGIN {5}\r\n', b'a LOGIN {5+}\r\nal', b'a AUTHENTICATE PLAIN\r\n', b'a AUTHENTICATE PLAIN\r\nAG'):
        with imap.Connection(host) as connection:
            connection.send(text)
    for text in (b'a SELECT INB', b'a IDLE\r\n', b'a APPEND INBOX {500}\r\nhalf', b'a FETCH 1:* BODY[]\r\n', b'a SELECT INBOX\r\nb IDLE\r\n'):
        with imap.login(host, 'alice') as connection:
            connection.send(text)
    with imap.login(host, 'alice') as connection:
        assert connection.command('STATUS INBOX (MESSAGES)')[1] == [b'* STATUS INBOX (MESSAGES 200)']
