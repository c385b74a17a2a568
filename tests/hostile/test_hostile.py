"""Peers that mean harm or have no manners: a clear error or a clean close, bounded memory, and the others served meanwhile."""
import contextlib
import os
import select
import signal
import socket
import ssl
import time

import pytest

from harness import mails, wire

SHORT_TIMES = 'limits { command_time = 2  data_time = 2 }'
MEGABYTE = 1 << 20


def served(host):
    """A well-behaved client gets its message in and out; the seconds that took."""
    started = time.monotonic()
    wire.messages(host, 'bob', delete=True)
    wire.deliver(host, mails.sized(2000), 'bob')
    assert len(wire.messages(host, 'bob', delete=True)) == 1
    return time.monotonic() - started


# --- clients that say nothing, or not enough -------------------------------------------------------------------------

@pytest.fixture(scope='module')
def impatient(tmp_path_factory):
    from harness.host import Host
    with Host(tmp_path_factory.mktemp('impatient') / 'mail', settings=SHORT_TIMES) as host:
        yield host


def test_silent_smtp_connection_is_told_and_closed(impatient):
    """[RFC5321 4.5.3.2] and 421 as [RFC5321 3.8] has it."""
    with wire.Wire(impatient.port('smtp')) as connection:
        assert connection.reply()[0] == 220
        assert served(impatient) < 2
        assert connection.reply()[0] == 421
        assert connection.is_closed()


def test_silent_connections_are_closed_everywhere(impatient):
    for service in ('pop3', 'pop3s'):
        with wire.Wire(impatient.port(service)) as connection:
            assert connection.is_closed(8), service


def test_silence_in_data_ends_the_connection(impatient):
    with wire.smtp(impatient) as connection:
        connection.send('MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n')
        assert [connection.reply()[0] for _ in range(3)] == [250, 250, 354]
        connection.send('Subject: silence\r\n\r\n')
        assert connection.is_closed(8)
    assert wire.messages(impatient, 'alice') == []


@pytest.mark.parametrize('service', ['smtp', 'pop3'])
def test_slow_loris(impatient, service):
    """A command that comes byte by byte and never ends runs into the time for a whole command."""
    with wire.Wire(impatient.port(service)) as connection:
        connection.line()
        started = time.monotonic()
        closed = False
        while not closed and time.monotonic() - started < 15:
            try:
                connection.send(b'N')
            except OSError:
                closed = True
            readable, _, _ = select.select([connection.socket], [], [], 0.1)
            if readable:
                try:
                    closed = not connection.socket.recv(4096) or closed
                except ConnectionResetError:
                    closed = True
        assert closed and time.monotonic() - started < 10
        assert served(impatient) < 2


def test_tls_handshake_that_never_comes(impatient):
    with wire.Wire(impatient.port('pop3s')) as connection:
        connection.send(b'\x16\x03\x01')
        assert connection.is_closed(8)


def test_garbage_instead_of_tls(penfold_server):
    with wire.Wire(penfold_server.port('pop3s')) as connection:
        connection.send(b'USER alice@example.test\r\n' * 10)
        assert connection.is_closed(5)
    with wire.smtp(penfold_server) as connection:
        assert connection.command('STARTTLS')[0] == 220
        connection.send(b'EHLO in the clear\r\n' * 10)
        assert connection.is_closed(5)
    served(penfold_server)


@pytest.mark.parametrize('service', ['smtp', 'pop3', 'pop3s'])
def test_half_closed(penfold_server, service):
    """A client that closes its side and waits is let go at once, not at a time-out."""
    with wire.Wire(penfold_server.port(service)) as connection:
        connection.half_close()
        assert connection.is_closed(5)


def test_resets_in_every_state(penfold_server):
    """RST after each step of a delivery and of a POP3 session."""
    linger = b'\x01\0\0\0\0\0\0\0'
    steps = {'smtp': ['EHLO x.test', 'MAIL FROM:<>', 'RCPT TO:<alice@example.test>', 'DATA', 'Subject: reset', '.'],
             'pop3': ['USER alice@example.test', f'PASS {penfold_server.passwords["alice"]}', 'STAT', 'QUIT']}
    for service, lines in steps.items():
        for upto in range(len(lines) + 1):
            with wire.Wire(penfold_server.port(service)) as connection:
                connection.line()
                for line in lines[:upto]:
                    connection.send(line + '\r\n')
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert served(penfold_server) < 5


@pytest.mark.parametrize('service', ['smtp', 'pop3'])
def test_reset_together_with_input(penfold_server, service):
    """Half a command and a reset that the server sees at the same moment: the connection ends now and not at a time-out."""
    host = penfold_server
    server = host.server_pid()
    connections = [wire.Wire(host.port(service)) for _ in range(10)]
    for connection in connections:
        connection.line()
    os.kill(server, signal.SIGSTOP)
    try:
        for connection in connections:
            connection.send('HALF A COMM')
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\x01\0\0\0\0\0\0\0')
            connection.close()
    finally:
        os.kill(server, signal.SIGCONT)
    assert wait_until(lambda: open_connections(host) == 1), 'connections that are gone are kept'


def open_connections(host):
    """The one that asks is among them."""
    return int(next(line for line in host.run('stat').splitlines() if 'open_connections' in line).split()[1])


# --- too much --------------------------------------------------------------------------------------------------------

def open_many(host, service, count, timeout=120):
    """So many connections at once, each greeted."""
    poll = select.epoll()
    waiting, greeted = {}, []
    end = time.monotonic() + timeout
    started = 0
    while len(greeted) < count:
        assert time.monotonic() < end, f'{len(greeted)} of {count} greeted'
        while started < count and len(waiting) < 500:
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(('127.0.0.1', host.port(service)))
            poll.register(s, select.EPOLLIN)
            waiting[s.fileno()] = s
            started += 1
        for handle, _ in poll.poll(1):
            s = waiting.pop(handle)
            poll.unregister(handle)
            text = s.recv(512)
            assert text.startswith((b'220', b'+OK')), text
            greeted.append(s)
    poll.close()
    return greeted


def hold_many(make_host, count, per_connection):
    host = make_host(settings=f'limits {{ connections = {count + 100} }}')
    served(host)
    before = host.pss()
    held = open_many(host, 'smtp', count // 2) + open_many(host, 'pop3', count - count // 2)
    try:
        each = (host.pss() - before) / count
        print(f'{count} connections held, {each / 1024:.1f} KB each')
        assert each < per_connection
        assert served(host) < 5
        for s in held[::50]:
            s.setblocking(True)
            s.settimeout(10)
            s.sendall(b'NOOP\r\n')
            assert s.recv(512).startswith((b'250', b'-ERR'))
    finally:
        for s in held:
            s.close()
    assert served(host) < 5


def test_2000_connections(make_host):
    hold_many(make_host, 2000, 32 * 1024)


@pytest.mark.full
def test_10000_connections(make_host):
    hold_many(make_host, 10000, 24 * 1024)


def test_over_the_limit_of_connections(make_host):
    """New work gets "try later", old work goes on."""
    host = make_host(settings='limits { connections = 20 }')
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(wire.smtp(host)) for _ in range(20)]
        with wire.Wire(host.port('smtp')) as late:
            assert late.reply()[0] == 421
            assert late.is_closed()
        with wire.Wire(host.port('pop3')) as late:
            with contextlib.suppress(wire.Closed):
                assert late.line().startswith('-ERR')
            assert late.is_closed()
        assert all(connection.command('NOOP')[0] == 250 for connection in held)


def test_limit_per_address(make_host):
    host = make_host(settings='limits { per_address = 5  trusted = {"192.0.2.0/24"} }')
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(wire.smtp(host)) for _ in range(5)]
        with wire.Wire(host.port('smtp')) as late:
            assert late.reply()[0] == 421
        assert held[0].command('QUIT')[0] == 221
        held[0].close()
        assert wait_until(lambda: greeted(host)), 'a place that was given back is not given out'


def greeted(host):
    with wire.Wire(host.port('smtp')) as connection:
        return connection.reply()[0] == 220


def wait_until(claim, timeout=5):
    end = time.monotonic() + timeout
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_large_messages_leave_files_to_the_store(make_host, tmp_path):
    """Few files and many large messages under way: some are told to try later, the store writes on and stays whole."""
    host = make_host(settings='store { memory = 1M }  limits { memory = 1G }', serve=False)
    few_files = tmp_path / 'few-files'
    few_files.write_text(f'#!/bin/sh\nulimit -n 512\nexec {host.binary} "$@"\n', encoding='utf-8')
    few_files.chmod(0o755)
    host.binary = str(few_files)
    host.start()
    body = wire.stuff(mails.sized(300_000))[:-3]
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(wire.smtp(host, timeout=60))
        held = []
        for _ in range(245):
            connection = stack.enter_context(wire.smtp(host))
            connection.send('MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n')
            assert [connection.reply()[0] for _ in range(3)] == [250, 250, 354]
            connection.send(body)
            held.append(connection)
        for _ in range(300):
            wire.deliver(host, mails.sized(400), 'bob', wire=own)
        for connection in held:
            connection.send(b'.\r\n')
        codes = [connection.reply()[0] for connection in held]
        assert set(codes) == {250, 451}
    assert len(wire.messages(host, 'alice')) == codes.count(250)
    assert 'event=store-readonly' not in host.log_text()


def test_too_many_recipients(make_host):
    """[RFC5321 4.5.3.1.10] 452 for those over the limit; the first ones stand."""
    host = make_host(settings='limits { recipients = 100 }')
    with wire.smtp(host) as connection:
        assert connection.command('MAIL FROM:<>')[0] == 250
        codes = [connection.command('RCPT TO:<alice@example.test>' if n % 2 else 'RCPT TO:<bob@example.test>')[0]
                 for n in range(110)]
        assert set(codes) <= {250, 452} and codes[0] == 250
        assert connection.command('NOOP')[0] == 250


def test_reader_that_never_reads_pop3(penfold_server):
    """200 large answers asked for and none read: the server holds little of them, and serves the others."""
    host = penfold_server
    wire.messages(host, 'alice', delete=True)
    wire.deliver(host, mails.sized(2 * MEGABYTE), 'alice')
    served(host)
    before = host.pss()
    with contextlib.ExitStack() as stack:
        greedy = stack.enter_context(wire.login(host, 'alice', buffer=4096))
        greedy.send('RETR 1\r\n' * 200)
        time.sleep(0.5)
        assert served(host) < 5
        grown = host.pss() - before
        assert grown < 32 * MEGABYTE, f'grown by {grown // MEGABYTE} MB'
    assert wait_until(lambda: can_login(host, 'alice')), 'the mailbox stays locked'
    wire.messages(host, 'alice', delete=True)


def can_login(host, user):
    try:
        wire.login(host, user).close()
        return True
    except AssertionError:
        return False


def test_reader_that_never_reads_smtp(penfold_server):
    """Commands without end whose answers nobody reads: memory does not grow, and the connection is ended."""
    host = penfold_server
    served(host)
    before = host.pss()
    with wire.Wire(host.port('smtp'), buffer=4096) as greedy:
        greedy.socket.setblocking(False)
        end, grown, is_ended = time.monotonic() + 30, 0, False
        while time.monotonic() < end and not is_ended:
            try:
                greedy.socket.send(b'NOOP\r\n' * 10000)
            except BlockingIOError:
                time.sleep(0.05)
                grown = max(grown, host.pss() - before)
            except (BrokenPipeError, ConnectionResetError):
                is_ended = True
        assert grown < 16 * MEGABYTE
        assert is_ended, 'the server reads on without anybody reading it'
    assert served(host) < 5


def test_endless_line(penfold_server):
    """A line without an end is not kept."""
    host = penfold_server
    served(host)
    before = host.pss()
    for service in ('smtp', 'pop3'):
        with wire.Wire(host.port(service)) as connection:
            connection.line()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError, socket.timeout, TimeoutError):
                for _ in range(64):
                    connection.send(b'x' * MEGABYTE)
            with contextlib.suppress(wire.Closed, OSError):
                assert connection.line().startswith(('500', '-ERR', '421'))
    assert host.pss() - before < 16 * MEGABYTE
    assert served(host) < 5


def test_many_unknown_commands(penfold_server):
    """Each gets its error until the server has heard enough and says so."""
    with wire.Wire(penfold_server.port('smtp')) as connection:
        connection.reply()
        codes = []
        with contextlib.suppress(wire.Closed, BrokenPipeError, ConnectionResetError):
            for n in range(500):
                codes.append(connection.command(f'NONSENSE{n}')[0])
        assert set(codes) <= {500, 502, 421} and codes[0] in (500, 502)
    served(penfold_server)


# --- messages made to hurt ---------------------------------------------------------------------------------------------

def nested(depth):
    parts, ends = [], []
    for n in range(depth):
        parts.append(f'Content-Type: multipart/mixed; boundary="b{n}"\r\n\r\n--b{n}\r\n')
        ends.append(f'\r\n--b{n}--\r\n')
    return ('MIME-Version: 1.0\r\n' + ''.join(parts) + '\r\ntext' + ''.join(reversed(ends))).encode()


MONSTERS = {
    'deep nesting': nested(5000),
    'many parts': b'Content-Type: multipart/mixed; boundary=b\r\n\r\n' + b'--b\r\n\r\nx\r\n' * 100000 + b'--b--\r\n',
    'many header lines': b'X: y\r\n' * 200000 + b'\r\nbody\r\n',
    'one header line': b'Subject: ' + b'x' * (2 * MEGABYTE) + b'\r\n\r\nbody\r\n',
    'a folded header': b'Subject: a\r\n' + b' folded\r\n' * 200000 + b'\r\nbody\r\n',
    'no header': b'\r\n' * 1000,
    'nothing': b'\r\n',
    'a long line': b'Subject: long\r\n\r\n' + b'x' * (4 * MEGABYTE) + b'\r\n',
    'boundaries': b'Content-Type: multipart/mixed; boundary="' + b'x' * 100000 + b'"\r\n\r\nbody\r\n',
    'parameters': b'Content-Type: text/plain' + b'; a=b' * 50000 + b'\r\n\r\nbody\r\n',
    'comments': b'From: ' + b'(' * 100000 + b'\r\n\r\nbody\r\n',
    'only dots': b'.\r\n' * 100000,
}


@pytest.mark.parametrize('name', MONSTERS)
def test_monster(penfold_server, name):
    """Taken and given back as it is, or refused with a permanent error; never a crash, never slow."""
    host, message = penfold_server, MONSTERS[name]
    wire.messages(host, 'alice', delete=True)
    started = time.monotonic()
    with wire.smtp(host, timeout=30) as connection:
        connection.send('MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n')
        assert [connection.reply()[0] for _ in range(3)] == [250, 250, 354]
        connection.send(wire.stuff(message))
        code, text = connection.reply()
    assert code == 250 or 550 <= code <= 559, (code, text)
    assert time.monotonic() - started < 10
    found = wire.messages(host, 'alice', delete=True)
    assert len(found) == (code == 250)
    if found:
        assert mails.same(message, found[0])


def test_old_tls_is_refused(penfold_server):
    """TLS 1.2 at least, and the certificate is init's for the host's name."""
    with wire.Wire(penfold_server.port('pop3s'), tls=True, cafile=penfold_server.certificate(),
                   name=penfold_server.hostname) as connection:
        assert connection.socket.version() in ('TLSv1.2', 'TLSv1.3')
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers('ALL:@SECLEVEL=0')
    with socket.create_connection(('127.0.0.1', penfold_server.port('pop3s'))) as plain:
        with pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(plain)
