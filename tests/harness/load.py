"""Load with a memory: many connections hand in messages, others collect them, and a ledger remembers what the server has
promised about each."""
import base64
import hashlib
import random
import re
import socket
import threading
import time

from harness import wire


PATIENCE = 120  # seconds that a client waits for an answer: a part of a cluster may be away for a while


class Ledger:
    """What is known of each copy, (id, user): handed in, acknowledged, collected, or in doubt.

    sent: its final dot went out; acked: the server has taken it over; refused: it has said that it does not; got: how often its
    deletion was acknowledged; unsure: its deletion was asked for and the answer was lost, so it may be there or not, but not twice. A
    message is never sent twice, so a second copy is the server's doing.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.sent, self.acked, self.refused, self.unsure, self.got = set(), set(), set(), set(), {}

    def backlog(self):
        with self.lock:
            return len(self.acked) - len(self.got) - len(self.unsure)

    def verify(self, found, message):
        """`found`: {user: [message, ...]}, what the mailboxes hold in the end. The number of copies accounted for."""
        copies = dict(self.got)
        for user, messages in found.items():
            for text in messages:
                copy = identity_of(text), user
                copies[copy] = copies.get(copy, 0) + 1
                assert text.endswith(message(copy[0])), f'{copy} is not what was sent'
        lost = [c for c in self.acked if c not in copies and c not in self.unsure]
        twice = [c for c, times in copies.items() if times > 1]
        strange = [c for c in copies if c not in self.sent]
        assert not lost, f'{len(lost)} of {len(self.acked)} acknowledged messages are lost: {sorted(lost)[:5]}'
        assert not twice, f'{len(twice)} messages are there twice: {sorted(twice)[:5]}'
        assert not self.refused & copies.keys(), f'refused, and there: {sorted(self.refused & copies.keys())[:5]}'
        assert not strange, f'{len(strange)} messages were never sent there: {sorted(strange)[:5]}'
        return len(copies)


def identity_of(text):
    return text.split(b'Message-ID: <')[1].split(b'@')[0].decode()


# --- ways to hand in a message -------------------------------------------------------------------------------------------

class Refused(wire.Closed):
    """An answer that the load does not expect."""


def expect(replies, wanted):
    if [code for code, _ in replies] != wanted:
        raise Refused(f'{replies}')


def envelope(host, sender, users):
    return [f'MAIL FROM:<{sender}>'] + [f'RCPT TO:<{host.address(user)}>' for user in users]


def greet(host, service, hello):
    connection = wire.Wire(host.port(service), timeout=PATIENCE)
    try:
        expect([connection.reply()], [220])
        connection.extensions = connection.command(f'{hello} client.test')[1]
    except BaseException:
        connection.close()
        raise
    return connection


class Pipelined:
    """SMTP: the whole envelope and DATA in one packet [RFC2920 3.1]."""
    sender = 'sender@elsewhere.test'

    def open(self, host):
        return greet(host, 'smtp', 'EHLO')

    def commands(self, connection, commands):
        connection.send(''.join(c + '\r\n' for c in commands))
        return [connection.reply() for _ in commands]

    def text(self, connection, host, users, message):
        expect(self.commands(connection, envelope(host, self.sender, users) + ['DATA']), [250] * (1 + len(users)) + [354])
        return [wire.stuff(message)]

    def answers(self, connection, users):
        """{user: reply} after the last byte."""
        return dict.fromkeys(users, connection.reply())


class Stepwise(Pipelined):
    """SMTP, a command at a time."""

    def commands(self, connection, commands):
        return [connection.command(c) for c in commands]


class Chunks(Pipelined):
    """BDAT in two chunks, the second one LAST, RFC 3030."""

    def text(self, connection, host, users, message):
        expect(self.commands(connection, envelope(host, self.sender, users)), [250] * (1 + len(users)))
        half = len(message) // 3
        connection.send(f'BDAT {half}\r\n'.encode() + message[:half])
        expect([connection.reply()], [250])
        return [f'BDAT {len(message) - half} LAST\r\n'.encode(), message[half:]]


class Lmtp(Pipelined):
    """LMTP: an answer for each recipient [RFC2033 4.2]."""

    def open(self, host):
        return greet(host, 'lmtp', 'LHLO')

    def answers(self, connection, users):
        return {user: connection.reply() for user in users}


class Submission(Pipelined):
    """Submission by an account of the host, without TLS, as hosts made for tests allow from loopback, RFC 4954."""

    def open(self, host):
        connection = greet(host, 'submission', 'EHLO')
        user = sorted(host.passwords)[0]
        secret = base64.b64encode(f'\0{host.address(user)}\0{host.passwords[user]}'.encode()).decode()
        self.sender = host.address(user)
        expect([connection.command(f'AUTH PLAIN {secret}')], [235])
        return connection


def ways(host):
    """Those that this host offers."""
    found = [Pipelined(), Stepwise()]
    with Pipelined().open(host) as connection:
        if 'CHUNKING' in connection.extensions:
            found.append(Chunks())
    for way in (Lmtp(), Submission()):
        try:
            way.open(host).close()
            found.append(way)
        except (OSError, KeyError, Refused):
            pass  # not served, or not without TLS
    return found


# --- those who send ---------------------------------------------------------------------------------------------------------

class Clients:
    """Threads that work from the beginning of a `with` until its end."""

    def __init__(self, threads):
        self.ending = threading.Event()
        self.threads = threads

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(PATIENCE + 30)
            assert not thread.is_alive(), 'a client hangs'


class Load(Clients):
    """Messages with ids of their own, from `threads` connections to the users in turn, until stop().

    Each goes to one of `groups` recipients (a number of users), has one of `sizes`, and is handed in one of the `ways`; `pause` is the
    seconds between two of them on a connection.
    """

    def __init__(self, host, users, threads=8, size=4096, per_connection=50, groups=(1,), sizes=None, by=None,
                 most_waiting=None, name='', pause=0.0):
        self.host, self.users, self.per_connection = host, users, per_connection
        self.groups, self.sizes, self.ways, self.most_waiting = groups, sizes or (size,), by or [Pipelined()], most_waiting
        self.name, self.ledger, self.pause = name, Ledger(), pause
        self.refused_connects, self.refusals = [], []
        self.author = host.address(sorted(host.passwords)[0])  # an address that Submission may put into From
        self.taken_by = set()  # the ways in which something was acknowledged
        self.expect_refused_connects = False
        super().__init__([threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(threads)])

    def count(self):
        with self.ledger.lock:
            return len(self.ledger.acked)

    def wait_for(self, count, timeout=120):
        """Until so many are acknowledged."""
        end = time.monotonic() + timeout
        while self.count() < count:
            assert time.monotonic() < end, f'{self.count()} of {count} acknowledged after {timeout} s: {self.refusals[-3:]}'
            time.sleep(0.02)

    def message(self, identity):
        size = self.sizes[sum(identity.encode()) % len(self.sizes)]
        head = (f'From: <{self.author}>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{identity}@load.test>\r\n'
                f'Subject: load {identity}\r\n\r\n')
        body = (hashlib.sha256(identity.encode()).hexdigest() + '\r\n') * max(1, (size - len(head)) // 66)
        return (head + body).encode()

    def recipients(self, thread, number):
        first, n = (thread + number) % len(self.users), self.groups[number % len(self.groups)]
        return [self.users[(first + i) % len(self.users)] for i in range(n)]

    def work(self, thread):
        number = 0
        while not self.ending.is_set():
            way = self.ways[(thread + number) % len(self.ways)]
            try:
                connection = way.open(self.host)
            except (ConnectionRefusedError, socket.timeout) as error:
                if not self.expect_refused_connects:
                    self.refused_connects.append(f'{type(error).__name__}: {error}')
                time.sleep(0.05)
                continue
            except (wire.Closed, OSError, AssertionError) as error:
                self.refusals.append(str(error))
                continue  # the process that took the connection was killed before it could say anything
            with connection:
                try:
                    for _ in range(self.per_connection):
                        self.wait_for_room()
                        self.ending.wait(self.pause)
                        if self.ending.is_set():
                            break
                        number += 1
                        self.one(way, connection, f'{self.name}{thread}.{number}', self.recipients(thread, number))
                except (wire.Closed, OSError) as error:
                    self.refusals.append(str(error))
                    number += 1

    def wait_for_room(self):
        while self.most_waiting and self.ledger.backlog() > self.most_waiting and not self.ending.is_set():
            time.sleep(0.05)

    def one(self, way, connection, identity, users):
        parts = way.text(connection, self.host, users, self.message(identity))
        with self.ledger.lock:
            self.ledger.sent |= {(identity, user) for user in users}
        for part in parts:
            connection.send(part)
        answers = way.answers(connection, users)
        with self.ledger.lock:
            self.ledger.acked |= {(identity, user) for user, (code, _) in answers.items() if code == 250}
            self.ledger.refused |= {(identity, user) for user, (code, _) in answers.items() if code != 250}
            if any(code == 250 for code, _ in answers.values()):
                self.taken_by.add(way)
        self.refusals += [reply for reply in answers.values() if reply[0] != 250]

    def verify(self, found):
        """Every acknowledged message once, whole and in its mailbox; nothing else twice or strange."""
        return self.ledger.verify(found, self.message)


# --- those who collect ------------------------------------------------------------------------------------------------------

class Collectors(Clients):
    """One for each user: sessions that fetch what is there, delete some or all of it, and end with QUIT or without.

    `once`: users whose mail is deleted once collected, whatever the client asks for.
    """

    def __init__(self, load, seed=0, most=200, once=()):
        self.host, self.ledger, self.load, self.most, self.once = load.host, load.ledger, load, most, once
        self.faults = []
        super().__init__([threading.Thread(target=self.work, args=(user, random.Random(f'{seed}{user}')), daemon=True)
                          for user in load.users])

    def stop(self):
        super().stop()
        assert not self.faults, self.faults[:5]

    def work(self, user, chance):
        while not self.ending.is_set():
            try:
                with wire.login(self.host, user, timeout=30) as session:
                    self.collect(session, user, chance)
            except (wire.Closed, OSError, AssertionError, ValueError):
                pass  # it is being restarted
            time.sleep(0.02)

    def collect(self, session, user, chance):
        session.send('STAT\r\n')
        count = min(int(session.line().split()[1]), self.most)
        mode = chance.choice(('all', 'all', 'all', 'some', 'cut') + (() if user in self.once else ('reset',)))
        leaving = set()
        for n in range(1, count + 1):
            copy = self.retrieve(session, user, n)
            deletes = mode != 'some' or chance.random() < 0.5
            if deletes:
                session.send(f'DELE {n}\r\n')
                assert session.line().startswith('+OK')
            if deletes or user in self.once:
                leaving.add(copy)
        if mode == 'cut':
            return  # no QUIT: nothing is deleted [RFC1939 6]
        if mode == 'reset':
            session.send('RSET\r\n')
            assert session.line().startswith('+OK')
            leaving = set()
        self.quit(session, leaving)

    def retrieve(self, session, user, n):
        session.send(f'RETR {n}\r\n')
        assert session.line().startswith('+OK')
        text = session.data()
        identity = identity_of(text)
        if not text.endswith(self.load.message(identity)):
            self.faults.append(f'{identity} of {user} is not what was sent')
        return identity, user

    def quit(self, session, leaving):
        with self.ledger.lock:
            self.ledger.unsure |= leaving
        session.send('QUIT\r\n')
        if not session.line().startswith('+OK'):
            return
        with self.ledger.lock:
            self.ledger.unsure -= leaving
            for copy in leaving:
                self.ledger.got[copy] = self.ledger.got.get(copy, 0) + 1

    def wait_until_collected(self, timeout=60):
        """Until everything acknowledged has been collected, or is in doubt."""
        end = time.monotonic() + timeout
        while True:
            with self.ledger.lock:
                missing = self.ledger.acked - self.ledger.got.keys() - self.ledger.unsure
            if not missing:
                return
            assert time.monotonic() < end, f'{len(missing)} of {len(self.ledger.acked)} are lost: {sorted(missing)[:5]}'
            time.sleep(0.05)


def collect(host, users):
    return {user: wire.messages(host, user) for user in users}
