"""Delivering to several recipients, collecting and deleting at once, through orderly restarts and kills: what was
acknowledged is collected, and once, except where the answer to a QUIT was lost."""
import os
import re
import signal
import threading
import time

from harness import wire

USERS = [f'user{n}' for n in range(4)]
SETTINGS = 'store { undelete = 0s }'


class Senders:
    """Each message goes to one user, two or all; acked: {(id, user)}."""

    def __init__(self, host, threads):
        self.host, self.lock, self.ending = host, threading.Lock(), threading.Event()
        self.acked, self.sent = set(), set()
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(threads)]

    def work(self, thread):
        number = 0
        while not self.ending.is_set():
            try:
                with wire.smtp(self.host, timeout=30) as connection:
                    for _ in range(20):
                        number += 1
                        self.one(connection, f'{thread}.{number}', USERS[:(1, 2, len(USERS))[number % 3]][::(-1) ** number])
            except (wire.Closed, OSError, AssertionError):
                time.sleep(0.02)  # it is being restarted

    def one(self, connection, identity, users):
        with self.lock:
            self.sent |= {(identity, user) for user in users}
        wire.deliver(self.host, f'Message-ID: <{identity}@load.test>\r\n\r\nhello\r\n'.encode(), *users, wire=connection)
        with self.lock:
            self.acked |= {(identity, user) for user in users}


class Collectors:
    """One for each user. got: {(id, user): times its deletion was acknowledged}; unsure: deleted without an answer."""

    def __init__(self, host):
        self.host, self.lock, self.ending = host, threading.Lock(), threading.Event()
        self.got, self.unsure = {}, set()
        self.threads = [threading.Thread(target=self.work, args=(user,), daemon=True) for user in USERS]

    def work(self, user):
        while not self.ending.is_set():
            try:
                with wire.login(self.host, user, timeout=30) as session:
                    self.collect(session, user)
            except (wire.Closed, OSError, AssertionError, ValueError):
                pass  # it is being restarted
            time.sleep(0.02)

    def collect(self, session, user):
        session.send('STAT\r\n')
        here = set()
        for n in range(1, int(session.line().split()[1]) + 1):
            session.send(f'RETR {n}\r\n')
            assert session.line().startswith('+OK')
            here.add((re.search(rb'Message-ID: <([^@]*)@', session.data())[1].decode(), user))
            session.send(f'DELE {n}\r\n')
            assert session.line().startswith('+OK')
        with self.lock:
            self.unsure |= here
        session.send('QUIT\r\n')
        if session.line().startswith('+OK'):
            with self.lock:
                self.unsure -= here
                for message in here:
                    self.got[message] = self.got.get(message, 0) + 1

    def wait_for(self, messages, timeout=60):
        end = time.monotonic() + timeout
        while True:
            with self.lock:
                missing = messages - self.got.keys() - self.unsure
            if not missing:
                return
            assert time.monotonic() < end, f'{len(missing)} of {len(messages)} are lost: {sorted(missing)[:5]}'
            time.sleep(0.05)


def run_for_a_while(senders, collectors, count):
    """Until so many more have been acknowledged and half as many collected."""
    end, acked, got = time.monotonic() + 60, len(senders.acked) + count, len(collectors.got) + count // 2
    while len(senders.acked) < acked or len(collectors.got) < got:
        assert time.monotonic() < end, 'nothing is acknowledged any more'
        time.sleep(0.02)


def test_collect_while_mail_comes_and_the_server_goes(make_host, is_full):
    host = make_host(users=USERS, settings=SETTINGS)
    senders, collectors = Senders(host, 4), Collectors(host)
    for thread in senders.threads + collectors.threads:
        thread.start()
    for turn in range(12 if is_full else 4):
        run_for_a_while(senders, collectors, 100)
        if turn % 2:
            os.kill(host.server_pid(), signal.SIGKILL)
        else:
            host.stop()
            host.start()
    run_for_a_while(senders, collectors, 100)
    senders.ending.set()
    for thread in senders.threads:
        thread.join(60)
    collectors.wait_for(senders.acked)
    collectors.ending.set()
    for thread in collectors.threads:
        thread.join(60)
    twice = [m for m, times in collectors.got.items() if times > 1 and m not in collectors.unsure]
    assert not twice, f'{len(twice)} were collected twice: {sorted(twice)[:5]}'
    assert collectors.got.keys() <= senders.sent
    print(f'{len(senders.acked)} acknowledged, {len(collectors.got)} collected, {len(collectors.unsure)} without an answer')
    host.stop()
    host.run('fsck')
