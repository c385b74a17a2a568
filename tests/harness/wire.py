"""A line connection for tests: SMTP and POP3 as bytes, without a library that would tidy up what is sent."""
import contextlib
import socket
import ssl
import time
import zlib


class Closed(AssertionError):
    """The peer has closed the connection."""


class Deflated:
    """A socket behind a compressor: each sendall() goes out whole."""

    def __init__(self, socket_, rest):
        self.socket, self.rest = socket_, rest
        self.out, self.into = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)

    def sendall(self, data):
        self.socket.sendall(self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, n):
        data = b''
        while not data:
            more, self.rest = self.rest or self.socket.recv(n), b''
            if not more:
                return b''
            data = self.into.decompress(more)
        return data

    def to_end(self):
        """What comes up to the end of the peer's stream, and what came behind it."""
        data = b''
        while not self.into.eof:
            more, self.rest = self.rest or self.socket.recv(65536), b''
            if not more:
                raise Closed('closed before its stream has ended')
            data += self.into.decompress(more)
        return data + self.into.unused_data

    def __getattr__(self, name):  # settimeout, shutdown, close
        return getattr(self.socket, name)


class Wire:
    def __init__(self, port, host='127.0.0.1', timeout=20, cafile=None, tls=False, name=None, buffer=None):
        self.cafile, self.name = cafile, name
        self.socket = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.socket.settimeout(timeout)
        self.socket.connect((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b''
        if tls:
            self.start_tls()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start_tls(self):
        context = ssl.create_default_context(cafile=self.cafile)
        if not self.cafile:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=self.name)

    def start_deflate(self):
        """What follows is compressed in both directions [RFC4978 3, 4]."""
        self.socket, self.rest = Deflated(self.socket, self.rest), b''

    def end_deflate(self):
        """What follows is as it is again, in both directions; the peer has ended its stream, or is about to [RFC8437 3]."""
        self.rest += self.socket.to_end()
        self.socket = self.socket.socket

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def send_slowly(self, data):
        """One byte at a time; stops when the peer has closed."""
        data = data.encode() if isinstance(data, str) else data
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            for n in range(len(data)):
                self.socket.sendall(data[n:n + 1])

    def line(self):
        """The next line without its CRLF."""
        while b'\n' not in self.rest:
            try:
                more = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError):
                more = b''
            if not more:
                raise Closed(f'closed by the server; left over: {self.rest[:200]!r}')
            self.rest += more
        line, self.rest = self.rest.split(b'\n', 1)
        assert line.endswith(b'\r'), f'a line of the server ends with a bare LF: {line!r}'
        return line[:-1].decode('utf-8', 'replace')

    def reply(self):
        """(code, [text, ...]) of one SMTP reply of any number of lines."""
        texts = []
        while True:
            line = self.line()
            assert len(line) >= 3 and line[:3].isdigit(), f'not a reply: {line!r}'
            texts.append(line[4:])
            if line[3:4] != '-':
                return int(line[:3]), texts

    def command(self, text):
        self.send(text + '\r\n')
        return self.reply()

    def multi(self):
        """The lines of a POP3 answer of many lines, dots taken out [RFC1939 3]."""
        lines = []
        while True:
            line = self.line()
            if line == '.':
                return lines
            lines.append(line[1:] if line.startswith('.') else line)

    def data(self):
        """The bytes of a POP3 answer of many lines, dots taken out [RFC1939 3]."""
        buffer = bytearray(b'\r\n' + self.rest)
        while (end := buffer.find(b'\r\n.\r\n', max(0, len(buffer) - 65600))) < 0:
            more = self.socket.recv(1 << 16)
            if not more:
                raise Closed('closed in the middle of an answer')
            buffer += more
        self.rest = bytes(buffer[end + 5:])
        return bytes(buffer[:end + 2]).replace(b'\r\n..', b'\r\n.')[2:]

    def is_closed(self, timeout=20):
        """True when the peer closes within the time; whatever it still says is passed over."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.socket.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not self.socket.recv(65536):
                    return True
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
                return True
            except (socket.timeout, TimeoutError):
                break
        return False

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.close()


def stuff(message):
    """The bytes to send after 354 [RFC5321 4.5.2]."""
    body = message if message.endswith(b'\r\n') else message + b'\r\n'
    body = body.replace(b'\r\n.', b'\r\n..')
    return (b'.' if body.startswith(b'.') else b'') + body + b'.\r\n'


def smtp(host, **options):
    """A connection that has greeted and said EHLO."""
    wire = Wire(host.port('smtp'), **options)
    code, _ = wire.reply()
    assert code == 220
    code, _ = wire.command('EHLO client.test')
    assert code == 250
    return wire


def deliver(host, message, *users, sender='sender@elsewhere.test', wire=None):
    """Hands in one message and returns after its 250."""
    own = wire is None
    wire = wire or smtp(host, timeout=60)
    try:
        assert wire.command(f'MAIL FROM:<{sender}>')[0] == 250
        for user in users:
            assert wire.command(f'RCPT TO:<{host.address(user)}>')[0] == 250
        assert wire.command('DATA')[0] == 354
        wire.send(stuff(message))
        code, text = wire.reply()
        assert code == 250, f'{code} {text}'
    finally:
        if own:
            wire.close()


def login(host, user, **options):
    """A POP3 session in TRANSACTION state."""
    wire = Wire(host.port('pop3'), **options)
    assert wire.line().startswith('+OK')
    wire.send(f'USER {host.address(user)}\r\nPASS {host.passwords[user]}\r\n')
    for _ in range(2):
        line = wire.line()
        assert line.startswith('+OK'), line
    return wire


def messages(host, user, delete=False, **options):
    """Every message of a mailbox, as POP3 gives it; deleted on request."""
    found = []
    with login(host, user, timeout=60, **options) as wire:
        wire.send('STAT\r\n')
        count = int(wire.line().split()[1])
        for n in range(1, count + 1):
            wire.send(f'RETR {n}\r\n')
            line = wire.line()
            assert line.startswith('+OK'), line
            found.append(wire.data())
            if delete:
                wire.send(f'DELE {n}\r\n')
                assert wire.line().startswith('+OK')
        wire.send('QUIT\r\n')
        line = wire.line()
        assert line.startswith('+OK'), line
    return found


def arrived(host, user, count, seconds=60):
    """messages() once there are so many: several recipients of one message get it after the answer."""
    until = time.monotonic() + seconds
    while len(found := messages(host, user)) < count and time.monotonic() < until:
        time.sleep(0.05)
    return found
