"""Many clients on one mailbox: two writers and ten readers, each with a model made from the responses alone, beside
deliveries by SMTP and a POP3 client that deletes. In the end all agree, and every acknowledged change is there.

A writer's changes to a message are counted in keywords, step0 to step59 in turn, of which a message has one at a time: a
reader may miss some, since notices coalesce, but must never see one after a later one.
"""
import random
import re
import threading
import time

import pytest

from harness import chances, imap, wire

STEPS = 60  # 64 keywords is what an account has room for
APPEND_UID = re.compile(rb'\[APPENDUID (\d+) (\d+)\]')


def step_of(flags):
    steps = [int(f[4:]) for f in flags if f.startswith('step')]
    assert len(steps) <= 1, f'two states at once: {sorted(flags)}'
    return steps[0] if steps else None


class Worker(threading.Thread):
    def __init__(self, group, name):
        super().__init__(daemon=True)
        self.group, self.chance, self.error, self.turns = group, random.Random(f'{group.seed}{name}'), None, 0
        self.start()

    def run(self):
        try:
            self.work()
        except BaseException as error:  # told by Group.run
            self.error = error
            self.group.ending.set()
            self.group.all_done.abort()

    def work(self):
        with imap.login(self.group.host, 'alice') as connection:
            mirror = imap.Mirror(connection, saw=self.saw)
            while not self.group.ending.is_set():
                self.turn(mirror)
                self.turns += 1
            self.group.all_done.wait(120)  # nobody changes anything any more
            mirror.command('NOOP')
            mirror.fill()
            self.last = mirror.state()

    def saw(self, uid, flags):
        pass


class Reader(Worker):
    """Looks by NOOP, IDLE, FETCH and SEARCH in turn, and sees each message's states in order."""

    def __init__(self, group, name):
        self.seen = {}
        super().__init__(group, name)

    def saw(self, uid, flags):
        step = step_of(flags)
        if step is None:
            return
        before = self.seen.get(uid, step)
        assert (step - before) % STEPS < STEPS // 2, f'UID {uid} went back from {before} to {step}'
        self.seen[uid] = step

    def turn(self, mirror):
        what = self.chance.choice(('noop', 'fetch', 'search', 'idle', 'check'))
        if what == 'idle':
            at = self.group.changes
            mirror.idle_until(lambda: self.group.changes != at or self.group.ending.is_set(), most=1)
        elif what == 'fetch' and mirror.messages:
            mirror.command(f'FETCH 1:{len(mirror.messages)} (UID FLAGS)')
        elif what == 'search':
            mirror.command('UID SEARCH ALL')
        else:
            mirror.command('CHECK' if what == 'check' else 'NOOP')
        mirror.fill()


class Writer(Worker):
    """Adds, changes and expunges; `acked` is what was acknowledged: {uid: step, or None once expunged}."""

    def __init__(self, group, name, own):
        self.own, self.acked = own, {}
        super().__init__(group, name)

    def turn(self, mirror):
        mine = [uid for uid, step in self.acked.items() if step is not None]
        what = self.chance.choice(('append', 'store', 'store', 'store', 'expunge'))
        if what == 'append' or not mine:
            self.append(mirror)
        elif what == 'store':
            self.store(mirror, self.chance.choice(mine))
        else:
            self.expunge(mirror, self.chance.choice(mine))
        mirror.fill()
        self.group.changes += 1

    def append(self, mirror):
        mirror.verb = 'APPEND'
        text = f'Subject: {self.own}\r\n\r\n{len(self.acked)}\r\n'.encode()
        tag = mirror.connection.send_command(b'APPEND INBOX (step0) {%d+}\r\n' % len(text) + text)
        answer = mirror.connection.answer(tag, mirror.take)
        mirror.verb = None
        self.acked[int(APPEND_UID.search(answer)[2])] = 0

    def store(self, mirror, uid):
        step = (self.acked[uid] + 1) % STEPS
        number = next((n for n, m in enumerate(mirror.messages, 1) if m.uid == uid), None)
        if number is None:
            return  # POP3 may have deleted it; the end tells
        if self.chance.random() < 0.5:
            answer = mirror.command(f'STORE {number} FLAGS (step{step})', ok=False)
        else:
            answer = mirror.command(f'UID STORE {uid} FLAGS.SILENT (step{step})', ok=False)
            self.know(mirror, uid, {f'step{step}'})
        if answer.startswith(b'OK') and uid not in mirror.gone:
            self.acked[uid] = step

    @staticmethod
    def know(mirror, uid, flags):
        """What SILENT leaves to the client; nobody else changes this message."""
        for message in mirror.messages:
            if message.uid == uid:
                message.flags = frozenset(flags)

    def expunge(self, mirror, uid):
        mirror.command(f'UID STORE {uid} +FLAGS.SILENT (\\Deleted)', ok=False)
        self.know(mirror, uid, {f'step{self.acked[uid]}', '\\Deleted'})
        mirror.command(f'UID EXPUNGE {uid}')
        assert all(m.uid != uid for m in mirror.messages), f'UID {uid} is still there'
        self.acked[uid] = None


class Collector(threading.Thread):
    """A POP3 client that deletes what came by SMTP."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.deleted, self.error = group, 0, None
        self.start()

    def run(self):
        try:
            while not self.group.ending.wait(0.3):
                self.collect()
            self.group.all_done.wait(120)
        except BaseException as error:  # told by Group.run
            self.error = error
            self.group.ending.set()
            self.group.all_done.abort()

    def collect(self):
        with wire.login(self.group.host, 'alice') as pop3:
            pop3.send('STAT\r\n')
            count, wanted = int(pop3.line().split()[1]), 0
            for n in range(1, min(count, 20) + 1):
                pop3.send(f'TOP {n} 0\r\n')
                assert pop3.line().startswith('+OK')
                if b'Subject: by smtp' in pop3.data():
                    pop3.send(f'DELE {n}\r\n')
                    assert pop3.line().startswith('+OK')
                    wanted += 1
            pop3.send('QUIT\r\n')
            assert pop3.line().startswith('+OK')
            self.deleted += wanted


class Group:
    def __init__(self, host, seed, readers, writers):
        self.host, self.seed, self.ending, self.changes, self.delivered = host, seed, threading.Event(), 0, 0
        self.all_done = threading.Barrier(readers + writers + 1)
        self.writers = [Writer(self, f'writer{n}', f'w{n}') for n in range(writers)]
        self.readers = [Reader(self, f'reader{n}') for n in range(readers)]
        self.collector = Collector(self)

    def deliver(self):
        wire.deliver(self.host, b'Subject: by smtp\r\n\r\nx\r\n', 'alice')
        self.delivered += 1

    def run(self, seconds, is_enough):
        workers, end = self.writers + self.readers, time.monotonic() + seconds
        while not self.ending.is_set() and (time.monotonic() < end or not is_enough(self)):
            self.deliver()
            time.sleep(0.1)
        self.ending.set()
        workers.append(self.collector)
        while any(w.is_alive() for w in workers) and time.monotonic() < end + 240:
            self.deliver()  # whoever idles hears of it
            time.sleep(0.1)
        assert not any(w.is_alive() for w in workers), 'a client hangs'
        for worker in workers:
            if worker.error and not isinstance(worker.error, threading.BrokenBarrierError):
                raise worker.error


def truth(host):
    with imap.login(host, 'alice') as connection:
        return imap.Mirror(connection).state()


def verify(group, final):
    """Every acknowledged change is there, and nothing else; all who have watched agree."""
    theirs = {}
    for writer in group.writers:
        theirs.update(writer.acked)
    for uid, step in theirs.items():
        assert (uid in final) == (step is not None), f'UID {uid}: expunged or lost, or there again'
        assert step is None or step_of(final[uid]) == step, f'UID {uid}: {step} was acknowledged, {sorted(final[uid])} is there'
    others = [uid for uid in final if uid not in theirs]
    assert len(others) == group.delivered - group.collector.deleted
    for worker in group.writers + group.readers:
        wrong = {uid: (flags, final.get(uid)) for uid, flags in worker.last.items() if final.get(uid) != flags}
        assert not wrong, f'{type(worker).__name__} has seen something else: {wrong}'
        assert all(uid > max(worker.last, default=0) for uid in final.keys() - worker.last.keys()), 'something was never told'


@pytest.mark.timeout(480)  # three minutes of check-full, and as long to end
def test_many_clients_agree(make_host, is_full):
    seed = chances.seed()
    host = make_host()
    group = Group(host, seed, readers=10, writers=2)
    group.run(180 if is_full else 8, lambda g: all(w.turns > 20 for w in g.writers) and all(r.turns > 5 for r in g.readers)
              and g.collector.deleted)
    final = truth(host)
    verify(group, final)
    print(f'{sum(w.turns for w in group.writers)} changes, {sum(r.turns for r in group.readers)} looks, {len(final)} messages')
    with pytest.raises(AssertionError):  # negative control: one state that nobody has told
        uid = max(final)
        verify(group, {**final, uid: final[uid] | {'step59', 'step58'}, uid + 1: frozenset()})
