"""A host that misbehaves, for tests: an SMTP server on loopback that does one wrong thing in one state, and takes mail otherwise.

    with Rogue('rcpt', 'drop') as host: ...      closes instead of answering RCPT
    with Rogue('rcpt', 'drop', times=1) as host: it does so once, and serves from then on

States: greeting, ehlo, starttls, mail, rcpt, data (the answer to DATA or BDAT's command), end (to the whole message).
"""
import socket
import ssl
import struct
import threading
import time

from harness.sink import Session, Sink

STATES = ('greeting', 'ehlo', 'mail', 'rcpt', 'data', 'end')


def drop(session, reply):
    raise EOFError


def reset(session, reply):
    session.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    raise EOFError


def stall(session, reply):
    session.sink.released.wait()
    raise EOFError


def slow(session, reply):
    """A byte now and then, never all of them."""
    for byte in b'250-' + b'x' * 100000:
        session.connection.sendall(bytes([byte]))
        if session.sink.released.wait(0.05):
            raise EOFError


def endless(session, reply):
    """A reply of ever more lines."""
    while not session.sink.released.is_set():
        session.connection.sendall(b'250-more and more\r\n' * 1000)
    raise EOFError


def long_line(session, reply):
    session.connection.sendall(b'250 ' + b'x' * (1 << 20) + b'\r\n')


def tempfail(session, reply):
    session.say('451 4.3.0 not now')


def permfail(session, reply):
    session.say('554 5.7.1 not ever')


def farewell(session, reply):
    session.say('421 4.3.2 going down')
    raise EOFError


def nonsense(session, reply):
    session.connection.sendall(b'\x00\xff\xfeHTTP/1.1 200 OK\r\n\r\n<html>\r\n')


def controls(session, reply):
    """What must not reach a log, a listing or a report as it is."""
    session.connection.sendall(b'550 5.1.1 \x1b[2J\x1b]0;owned\x07 \x00\x08 \xc2\x85\xe2\x80\xae \xff\xfe event=forged\rX: y\r\n')


def early(session, reply):
    """All answers that could be wanted, before anything is asked."""
    session.connection.sendall((reply + '\r\n' + '250 ok\r\n' * 4 + '354 go\r\n250 taken\r\n').encode())


def other_code(session, reply):
    """A code that has no place here."""
    session.say('354 go on' if not reply.startswith('354') else '250 done already')


def mixed(session, reply):
    session.connection.sendall(b'250-well\r\n550 no\r\n')


MISDEEDS = {'drop': drop, 'reset': reset, 'stall': stall, 'slow': slow, 'endless': endless, 'long-line': long_line, 'tempfail': tempfail,
            'permfail': permfail, '421': farewell, 'nonsense': nonsense, 'controls': controls, 'early': early, 'other-code': other_code,
            'mixed': mixed}

# What is done to a client that has been told to begin TLS.
BROKEN_TLS = ('closes', 'garbage', 'silent', 'endless', 'alert', 'in-clear')


class RogueSession(Session):
    state = 'greeting'

    def is_due(self):
        sink = self.sink
        with sink.lock:
            is_due = self.state == sink.state and (sink.times is None or sink.met < sink.times)
            sink.met += is_due
        return is_due

    def say(self, text):
        if text is None or not self.is_due():
            super().say(text)
            return
        state, self.state = self.state, 'done'
        if state == 'mail':  # what was not granted in words is not granted
            self.current = None
        elif state == 'rcpt' and self.current and self.current.recipients:
            self.current.recipients.pop()
        try:
            self.sink.misdeed(self, text)
        finally:
            self.state = state

    def line(self):
        line = super().line()
        words = line.split(' ', 1)[0].lower()
        self.state = {'lhlo': 'ehlo', 'helo': 'ehlo', 'bdat': 'data'}.get(words, words)
        return line

    def finish(self, data):
        self.state = 'end'
        super().finish(data)

    def on_starttls(self, line):
        if self.sink.broken_tls:
            self.say('220 2.0.0 go')
            self.break_tls(self.sink.broken_tls)
            raise EOFError
        if not self.sink.context:
            self.unknown(line)
            return
        self.say('220 2.0.0 go')
        self.connection = self.sink.context.wrap_socket(self.connection, server_side=True)
        self.file = self.connection.makefile('rb')
        with self.sink.lock:
            self.sink.secured += 1

    def break_tls(self, how):
        connection = self.connection
        if how == 'in-clear':
            connection.sendall(b'250 bytes in clear\r\n')
        if how != 'closes':
            connection.recv(1)  # it has begun
        if how == 'garbage':
            connection.sendall(b'\x16\x03\x03\x00\x10' + b'garbage.' * 4)
        elif how == 'alert':
            connection.sendall(b'\x15\x03\x03\x00\x02\x02\x28')
        elif how == 'silent':
            self.sink.released.wait()
        elif how == 'endless':  # records that are well-formed and lead nowhere
            while not self.sink.released.wait(0.01):
                connection.sendall(b'\x16\x03\x03\x00\x04\x0e\x00\x00\x00')


class Rogue(Sink):
    """`broken_tls` is one of BROKEN_TLS and offers STARTTLS; `certificate` (chain and key files) makes TLS that works."""

    def __init__(self, state=None, misdeed='drop', times=None, broken_tls=None, certificate=None, **options):
        self.state, self.misdeed, self.times = state, MISDEEDS[misdeed], times
        self.broken_tls, self.context, self.secured, self.met = broken_tls, None, 0, 0
        self.released = threading.Event()
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        super().__init__(**options)
        if broken_tls or certificate:
            self.offers = (*self.offers, 'STARTTLS')

    def stop(self):
        self.released.set()
        super().stop()

    def session(self, connection):
        return RogueSession(self, connection)

    def wait_met(self, count=1, seconds=60):
        """Until the misdeed has been met so often."""
        end = time.monotonic() + seconds
        while self.met < count:
            assert time.monotonic() < end, f'{self.met} times it was met, not {count}'
            time.sleep(0.01)
