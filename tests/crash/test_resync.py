"""Many clients that go away and come back: on one mailbox they add, mark, count and expunge, lose their connections at any moment, mail
comes by SMTP, and the server is killed. Each keeps a copy; whenever it is back, by QRESYNC or CONDSTORE, its copy must be what is there (harness/resync.py
compares). In the end all copies are the same, and everything acknowledged is done, once.

The counter is a message with one keyword, step0 to step39 in turn: changed by STORE with UNCHANGEDSINCE alone, no two clients can make
the same step.
"""
import random
import re
import threading
import time

import pytest

from harness import chances, imap, resync, wire
from test_kill import kill_and_greet

STEPS = 40
WAYS = ('qresync', 'qresync compress', 'qresync', 'qresync uidonly', 'qresync uidonly compress', 'condstore', 'condstore compress',
        'qresync notify', 'qresync notify compress')
ENDS = (wire.Closed, ConnectionError, imap.Refused)
ROW = re.compile(rb'\* \d+ FETCH \((?=.*\bUID (\d+))(?=.*FLAGS \(([^)]*)\))(?=.*Subject: (\S+))', re.S)


def step_of(flags):
    steps = [int(flag[4:]) for flag in flags if flag.startswith('step')]
    assert len(steps) == 1, f'the counter has {sorted(flags)}'
    return steps[0]


class Own:
    """A message that a client has added: what was acknowledged, and what may have happened besides."""

    def __init__(self, uid):
        self.uid, self.marks, self.is_gone = uid, {False}, {False}


class Client(threading.Thread):
    def __init__(self, group, number, ways):
        super().__init__(daemon=True)
        self.group, self.ways, self.label = group, ways.split(), f'c{number}'
        self.chance = random.Random(f'{group.seed}{number}')
        self.copy, self.own, self.asked = resync.Copy(), {}, 0
        self.visits = self.turns = self.lost = 0
        self.fault = None
        self.start()

    def run(self):
        try:
            while not self.group.ending.is_set():
                self.visit()
        except BaseException as error:  # told by Group.run
            self.fault = error
            self.group.ending.set()

    def visit(self):
        session = None
        try:
            session = resync.Session(self.group.host, 'alice', self.copy, self.ways, self.chance)
            self.visits += 1
            for _ in range(self.chance.randrange(1, 25)):
                if self.group.ending.is_set():
                    break
                self.turn(session)
                self.turns += 1
            if self.chance.random() < 0.3:
                session.command('LOGOUT')
        except ENDS:
            self.lost += 1
            time.sleep(0.02)
        finally:
            if session:
                session.connection.close()

    # --- what it does ------------------------------------------------------------------------------------------------------

    def turn(self, session):
        mine = [own for own in self.own.values() if own.uid in self.copy.flags and own.is_gone == {False}]
        what = self.chance.choice(('noop', 'listen', 'append', 'mark', 'mark', 'see', 'count', 'expunge', 'numbers', 'audit', 'cut'))
        if what == 'append' or (what in ('mark', 'expunge', 'cut') and not mine):
            self.append(session)
        elif what in ('mark', 'cut'):
            self.mark(session, self.chance.choice(mine), what == 'cut')
        elif what == 'expunge':
            self.expunge(session, self.chance.choice(mine))
        elif what == 'count':
            self.count(session)
        elif what == 'see':
            uid = self.chance.choice(sorted(self.copy.flags))
            if uid != self.group.counter:
                session.command(f'UID STORE {uid} {self.chance.choice("+-")}FLAGS (\\Seen)')
        elif what == 'listen':
            session.listen(self.chance.uniform(0.01, 0.3))
        elif what == 'audit':
            session.audit()
        elif what == 'numbers' and session.is_numbered and not session.is_at_once:  # an answer that keeps back what has gone
            session.command(f'FETCH 1:{len(session.order)} (UID FLAGS MODSEQ)')
        else:
            session.command('NOOP')
        session.fill()

    def append(self, session):
        self.asked += 1
        subject = f'{self.label}.{self.asked}'
        own = self.own[subject] = Own(None)
        answer = session.append(f'Subject: {subject}\r\n\r\nx\r\n'.encode(), '')
        assert answer.startswith(b'OK'), answer
        own.uid = int(resync.APPEND_UID.search(answer)[2])

    def mark(self, session, own, is_cut):
        """Turns over a keyword that is its own, on condition that the message is as it knows; or does not wait for the answer."""
        flags, modseq = self.copy.flags[own.uid], self.copy.changed[own.uid]
        is_set = self.label not in flags
        assert (not is_set) in own.marks, f'UID {own.uid} has {sorted(flags)}: not what was acknowledged'
        before, own.marks = own.marks, {False, True}
        text = f'UID STORE {own.uid} (UNCHANGEDSINCE {modseq}) {"+" if is_set else "-"}FLAGS.SILENT ({self.label})'
        if is_cut:
            session.connection.send_command(text)
            raise wire.Closed('by the client itself')
        if self.store(session, own.uid, text, flags ^ {self.label}):
            own.marks = {is_set}
        else:
            own.marks = before

    def store(self, session, uid, text, flags):
        """Whether it was done. When not, something had changed: never is a change refused without one, and never done in spite of one."""
        modseq = self.copy.changed[uid]
        answer = session.command(text, ok=False)
        modified = resync.MODIFIED.match(answer)
        if answer.startswith(b'OK') and not modified and uid in self.copy.flags:
            assert self.copy.changed[uid] > modseq, f'{text}: no new MODSEQ was told [RFC7162 3.1.3]'
            if uid not in session.told_last:
                self.copy.flags[uid] = flags
            return True
        if not answer.startswith(b'OK') and not modified:
            raise imap.Refused(f'{text}: {answer}')
        if not modified:
            return None  # gone
        assert list(resync.numbers(modified[1])) == [uid]
        session.command(f'UID FETCH {uid} (FLAGS MODSEQ)')
        assert self.copy.changed.get(uid, modseq + 1) > modseq, f'{text}: MODIFIED, and nothing has changed'
        return False

    def count(self, session):
        counter = self.group.counter
        step = step_of(self.copy.flags[counter])
        text = f'UID STORE {counter} (UNCHANGEDSINCE {self.copy.changed[counter]}) FLAGS (step{(step + 1) % STEPS})'
        with self.group.lock:
            self.group.unsure += 1
        done = self.store(session, counter, text, frozenset({f'step{(step + 1) % STEPS}'}))
        with self.group.lock:
            self.group.unsure -= 1
            self.group.counted += bool(done)

    def expunge(self, session, own):
        own.is_gone = {False, True}
        session.command(f'UID STORE {own.uid} +FLAGS (\\Deleted)')
        session.command(f'UID EXPUNGE {own.uid}')
        assert own.uid not in self.copy.flags, f'UID {own.uid} is still there'
        own.is_gone = {True}


class Group:
    def __init__(self, host, seed, ways):
        self.host, self.seed, self.ending, self.lock = host, seed, threading.Event(), threading.Lock()
        self.counted = self.unsure = self.kills = self.delivered = 0
        with imap.login(host, 'alice') as connection:
            answer, _ = connection.append('INBOX', b'Subject: counter\r\n\r\nx\r\n', 'step0')
            self.counter = int(resync.APPEND_UID.search(answer)[2])
        self.clients = [Client(self, n, way) for n, way in enumerate(ways)]

    def run(self, seconds):
        chance, end = random.Random(f'{self.seed}kills'), time.monotonic() + seconds
        while not self.ending.is_set() and (time.monotonic() < end or any(c.visits < 5 for c in self.clients)):
            assert time.monotonic() < end + 180, f'a client does not get on: {[c.visits for c in self.clients]}'
            self.ending.wait(chance.uniform(0.5, 5.0))
            for _ in range(chance.randrange(4)):
                wire.deliver(self.host, f'Subject: smtp.{self.delivered + 1}\r\n\r\nx\r\n'.encode(), 'alice')
                self.delivered += 1
            kill_and_greet(self.host)
            self.kills += 1
        self.ending.set()
        for client in self.clients:
            client.join(180)
            assert not client.is_alive(), f'client {client.label} {client.ways} hangs'
        for client in self.clients:
            if client.fault:
                raise AssertionError(f'{client.label} {client.ways}: {client.fault}') from client.fault

    def verify(self, final):
        """{uid: (subject, flags)}: every acknowledged change, and no other."""
        assert (step_of(final[self.counter][1]) - self.counted) % STEPS <= self.unsure, \
            f'{self.counted} steps, {self.unsure} without an answer, and the counter has {sorted(final[self.counter][1])}'
        by_subject = {subject: uid for uid, (subject, _) in final.items()}
        assert len(by_subject) == len(final), 'a message is there twice'
        owns = {subject: (client, own) for client in self.clients for subject, own in client.own.items()}
        others = {'counter', *(f'smtp.{n + 1}' for n in range(self.delivered))}
        assert by_subject.keys() - owns.keys() == others, 'a message that nobody has added, or one that was delivered is lost'
        for subject, (client, own) in owns.items():
            uid = by_subject.get(subject)
            if own.uid is None:
                continue  # never acknowledged
            assert (uid is None) in own.is_gone, f'{subject}, UID {own.uid}: {"lost" if uid is None else "there again"}'
            assert uid in (None, own.uid), f'{subject} was UID {own.uid} and is {uid}'
            assert uid is None or (client.label in final[uid][1]) in own.marks, f'{subject}: {sorted(final[uid][1])}, acknowledged was {own.marks}'

    def compare(self, final):
        """Each comes back once more: its copy is what is there."""
        there = {uid: flags for uid, (_, flags) in final.items()}
        for client in self.clients:
            session = resync.Session(self.host, 'alice', client.copy, client.ways, client.chance)
            session.connection.close()
            assert client.copy.flags == there, f'{client.label} {client.ways}'


def truth(host):
    with imap.login(host, 'alice') as connection:
        connection.command('EXAMINE INBOX')
        lines = connection.command('UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
        rows = [row for row in map(ROW.match, lines) if row]
        assert len(rows) == sum(b' FETCH (' in line for line in lines)
    return {int(row[1]): (row[3].decode(), frozenset(row[2].decode().split())) for row in rows}


def offered(host):
    with imap.login(host, 'alice') as connection:
        words = connection.command('CAPABILITY')[1][0].decode().split()
    return [ways for ways in WAYS if 'notify' not in ways or 'NOTIFY' in words]


@pytest.mark.timeout(600)
def test_they_come_back(make_host, is_full):
    seed = chances.seed()
    host = make_host()
    group = Group(host, seed, offered(host))
    group.run(180 if is_full else 8)
    final = truth(host)
    group.verify(final)
    group.compare(final)
    print(f'{group.kills} kills, {sum(c.visits for c in group.clients)} visits of {len(group.clients)} clients, {sum(c.turns for c in group.clients)} '
          f'turns, {sum(c.lost for c in group.clients)} connections lost, {group.counted} steps, {len(final)} messages left')
    verify_control(group, final)


def verify_control(group, final):
    """Negative controls: each fault is seen."""
    uid = max(final)
    for wrong in ({**final, group.counter: ('counter', frozenset({f'step{(group.counted + group.unsure + 1) % STEPS}'}))},
                  {**final, uid + 1: ('nobody.1', frozenset())}):
        with pytest.raises(AssertionError):
            group.verify(wrong)
    client = group.clients[0]
    client.copy.flags[uid] ^= {'other'}  # a change that nobody has told of
    with pytest.raises(AssertionError, match='the copy of|the same mod-sequence'):
        resync.Session(group.host, 'alice', client.copy, client.ways, client.chance)
    client.copy.flags[uid] ^= {'other'}
