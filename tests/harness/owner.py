"""IMAP clients that each have a mailbox for themselves, change it without pause, and know what it must hold whatever happens to the
server: acknowledged is done, refused is not done, and what was never answered is done or not, but not half and not twice."""
import json
import random
import re
import threading
import time

from harness import imap, wire

APPEND_UID = re.compile(rb'\[APPENDUID (\d+) (\d+)\]')
ROW = re.compile(rb'\* \d+ FETCH \((?=.*\bUID (\d+))(?=.*FLAGS \(([^)]*)\))(?=.*Subject: (\S+))', re.S)
FLAGS = ('\\Seen', '\\Flagged', '\\Answered', 'one', 'two')
MOST = 40  # messages that an owner keeps


class Wrong(AssertionError):
    """The mailbox is not what it must be."""


class Model:
    """What a mailbox holds: {uid: (subject, flags)}; and the highest UID there ever was. `open`: what may have happened besides.
    `moves` counts acknowledged changes that changed anything: each has a modseq of its own, larger than all before it."""

    def __init__(self):
        self.held, self.highest, self.open = {}, 0, None
        self.moves, self.seen = 0, None  # seen: (the account's modseq, moves by then)

    def begin(self, *change):
        """('append', subject, flags), ('flags', uid, flags) or ('expunge', uid)."""
        self.open = change

    def refused(self):
        self.open = None

    def done(self, uid=None):
        """uid: which an append got."""
        kind, subject, *rest = self.open
        if kind == 'append':
            if uid <= self.highest:
                raise Wrong(f'{subject} became UID {uid} after UID {self.highest}')
            self.held[uid], self.highest = (subject, rest[0]), uid
            self.moves += 1
        elif kind == 'flags':
            self.moves += self.held[subject][1] != rest[0]
            self.held[subject] = (self.held[subject][0], rest[0])
        else:
            del self.held[subject]
            self.moves += 1
        self.open = None

    def numbers(self, before, modseq):
        """The account's modseq, asked for when `before` moves had been acknowledged. One more may have been done by the last time, and
        acknowledged since."""
        if self.seen and modseq < self.seen[0] + max(0, before - self.seen[1] - 1):
            raise Wrong(f'modseq {modseq} after {self.seen[0]}, with {before - self.seen[1]} changes acknowledged in between')
        self.seen = (modseq, self.moves)

    def settle(self, found):
        """Compares with what there is, [(uid, subject, flags)] in its order, and finds out what became of `open`."""
        uids = [uid for uid, _, _ in found]
        if uids != sorted(set(uids)):
            raise Wrong(f'UIDs that do not grow: {uids}')
        there = {uid: (subject, flags) for uid, subject, flags in found}
        if there != self.held and self.open:
            new = [uid for uid, (subject, _) in there.items() if uid not in self.held and subject == self.open[1]]
            self.done(*new[:1] or [0])
        self.open = None
        if there != self.held:
            wrong = {uid: (self.held.get(uid), there.get(uid)) for uid in there.keys() | self.held.keys()
                     if self.held.get(uid) != there.get(uid)}
            raise Wrong(f'of {len(self.held)} messages these differ, {{uid: (must be, is)}}: {wrong}')


class Owner(threading.Thread):
    """One of them, until stop(). `changes` counts what was acknowledged, `longest` the seconds of the longest wait for an answer;
    `pause` is the seconds between two changes."""

    def __init__(self, host, user, seed=0, pause=0.0):
        super().__init__(daemon=True)
        self.host, self.user, self.pause, self.chance = host, user, pause, random.Random(f'{seed}{user}')
        self.model, self.ending, self.fault = Model(), threading.Event(), None
        self.changes = self.refusals = self.reconnects = self.appended = 0
        self.longest = 0.0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        self.join(300)
        assert not self.is_alive(), 'a client hangs'
        if self.fault:
            raise self.fault

    def run(self):
        while not self.ending.is_set():
            try:
                with imap.login(self.host, self.user) as connection:
                    self.settle(connection)
                    while not self.ending.is_set():
                        self.turn(connection)
                        self.ending.wait(self.pause)
            except Wrong as error:
                self.fault = error
                return
            except (wire.Closed, OSError, imap.Refused):
                self.reconnects += 1  # the server went, or does not want to be asked now
                time.sleep(0.05)

    def look_at_numbers(self):
        """Any time: UIDs are looked at with each answer, modseqs, which IMAP does not tell, here."""
        end = time.monotonic() + 120
        while True:
            before = self.model.moves
            done = self.host.run('account', 'show', self.host.address(self.user), '--json', check=False)
            if done.returncode == 0:
                break
            assert time.monotonic() < end, done.stderr
            time.sleep(0.5)
        try:
            self.model.numbers(before, json.loads(done.stdout)[0]['modseq'])
        except Wrong as error:
            raise Wrong(f'{self.user}: {error}') from None

    def verify(self):
        """After stop(): the number of messages, all of them as they must be."""
        with imap.login(self.host, self.user) as connection:
            self.settle(connection)
        return len(self.model.held)

    def settle(self, connection):
        connection.command('SELECT INBOX')
        _, lines = connection.command('UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')
        rows = [row for row in map(ROW.match, lines) if row]
        assert len(rows) == sum(b' FETCH (' in line for line in lines), lines[:3]
        self.model.settle([(int(row[1]), row[3].decode(), flags_of(row[2].decode().split())) for row in rows])

    def turn(self, connection):
        what = self.chance.choice(('append', 'flags', 'flags', 'flags', 'expunge'))
        if not self.model.held or (what == 'append' and len(self.model.held) < MOST):
            self.append(connection)
        elif what == 'expunge' or len(self.model.held) >= MOST:
            self.expunge(connection, self.chance.choice(sorted(self.model.held)))
        else:
            self.store(connection, self.chance.choice(sorted(self.model.held)))

    def ask(self, connection, command, *change):
        """One change; what the server said when it was done."""
        self.model.begin(*change)
        began = time.monotonic()
        answer, _ = command()
        self.longest = max(self.longest, time.monotonic() - began)
        if not answer.startswith(b'OK'):
            self.refusals += 1
            self.model.refused()
            time.sleep(0.05)
            return None
        self.changes += 1
        return answer

    def append(self, connection):
        self.appended += 1
        subject, flags = f'{self.user}.{self.appended}', self.some_flags()
        text = f'Subject: {subject}\r\n\r\n{"x" * self.chance.randrange(3000)}\r\n'.encode()
        answer = self.ask(connection, lambda: connection.append('INBOX', text, ' '.join(flags), ok=False), 'append', subject, flags)
        if answer:
            self.model.done(int(APPEND_UID.search(answer)[2]))

    def store(self, connection, uid):
        flags = self.some_flags()
        if self.ask(connection, lambda: connection.command(f'UID STORE {uid} FLAGS.SILENT ({" ".join(flags)})', ok=False),
                    'flags', uid, flags):
            self.model.done()

    def expunge(self, connection, uid):
        """Two changes: the flag, then the message."""
        flags = self.model.held[uid][1] | {'\\Deleted'}
        if not self.ask(connection, lambda: connection.command(f'UID STORE {uid} +FLAGS.SILENT (\\Deleted)', ok=False),
                        'flags', uid, flags):
            return
        self.model.done()
        if self.ask(connection, lambda: connection.command(f'UID EXPUNGE {uid}', ok=False), 'expunge', uid):
            self.model.done()

    def some_flags(self):
        return frozenset(flag for flag in FLAGS if self.chance.random() < 0.4)


def flags_of(words):
    return frozenset(words) - {'\\Recent'}
