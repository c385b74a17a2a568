"""kill -9 under load: no acknowledged message is lost, none is there twice, and the door stays open meanwhile."""
import contextlib
import os
import random
import signal
import time

import pytest

from harness import wire
from harness.load import Load, collect
from harness.owner import Owner

USERS = [f'user{n}' for n in range(8)]
GREETING_SECONDS = 2.0


def kill_and_greet(host):
    """Kills the serving process; seconds until a connection made right then is greeted."""
    os.kill(host.server_pid(), signal.SIGKILL)
    killed = time.monotonic()
    while True:
        with wire.Wire(host.port('smtp'), timeout=20) as connection:  # refused: the listeners are closed, an error
            try:
                code, _ = connection.reply()
            except wire.Closed:
                assert time.monotonic() - killed < 20, 'no greeting'
                continue  # taken by the process that was being killed
            assert code == 220
            return time.monotonic() - killed


def kill_often(host, kills, seed, threads=8, size=4096):
    """Load, `kills` kills at random moments; (messages found, worst time to the first greeting)."""
    chance = random.Random(seed)
    worst = 0.0
    with Load(host, USERS, threads=threads, size=size) as load:
        load.wait_for(20)
        for _ in range(kills):
            time.sleep(chance.uniform(0.0, 0.4))
            before = load.count()
            worst = max(worst, kill_and_greet(host))
            load.wait_for(before + chance.randrange(1, 60))
        load.stop()
    assert load.refused_connects == []
    return load.verify(collect(host, USERS)), worst


def test_kill_of_the_server_under_load(make_host, is_full):
    host = make_host(users=USERS)
    found, worst = kill_often(host, 200 if is_full else 12, seed=1)
    print(f'{found} messages, first greeting after at most {worst:.2f} s')
    assert worst < GREETING_SECONDS


def test_kills_while_mailboxes_are_changed(make_host, is_full):
    """Owners of mailboxes add, mark and expunge: what was acknowledged is done, what was not is done once or not at all."""
    host, chance = make_host(users=USERS), random.Random(3)
    with contextlib.ExitStack() as stack:
        owners = [stack.enter_context(Owner(host, user)) for user in USERS]
        for _ in range(60 if is_full else 6):
            seen = [owner.changes for owner in owners]
            while any(owner.changes < n + 3 and not owner.fault for owner, n in zip(owners, seen)):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.2))
            kill_and_greet(host)
    assert all(owner.reconnects for owner in owners)
    print(f'{sum(owner.changes for owner in owners)} changes, {sum(owner.verify() for owner in owners)} messages kept')


def test_kill_with_large_messages(make_host, is_full):
    """Over the size that is kept in memory: bodies in files of their own."""
    host = make_host(users=USERS)
    _, worst = kill_often(host, 40 if is_full else 4, seed=2, threads=4, size=400 * 1000)
    assert worst < GREETING_SECONDS


def test_kill_of_everything(make_host, is_full):
    """Supervisor and all: what was acknowledged is there when the host is started again."""
    host = make_host(users=USERS)
    for _ in range(10 if is_full else 2):
        with Load(host, USERS) as load:
            load.wait_for(200)
            host.abandon()
            load.ending.set()
        host.start()
        found = collect(host, USERS)
        load.verify(found)
        for user in USERS:
            wire.messages(host, user, delete=True)


def written_then_killed(host, megabytes):
    """The first greeting after a kill with so much written and nothing flushed on purpose."""
    with Load(host, USERS, threads=4, size=200 * 1000) as load:
        load.wait_for(megabytes * 5, timeout=600)
        seconds = kill_and_greet(host)
        load.stop()
    load.verify(collect(host, USERS))
    return seconds


def test_first_greeting_after_100_megabytes(make_host):
    assert written_then_killed(make_host(users=USERS), 100) < GREETING_SECONDS


@pytest.mark.full
def test_first_greeting_after_1_gigabyte(make_host):
    assert written_then_killed(make_host(users=USERS), 1000) < GREETING_SECONDS


def test_a_clean_stop_answers_what_is_in_hand(make_host):
    """TERM under load: whatever was acknowledged is there after the next start, and the server ends by itself."""
    host = make_host(users=USERS)
    with Load(host, USERS) as load:
        load.wait_for(100)
        host.stop()
        load.ending.set()
    host.start()
    load.verify(collect(host, USERS))


def test_the_check_sees_what_is_lost_and_what_is_twice(make_host):
    """Negative control of verify(): a message taken out, one doubled, one never sent."""
    host = make_host(users=USERS[:1])
    with Load(host, USERS[:1], threads=1) as load:
        load.wait_for(5)
    good = collect(host, USERS[:1])
    user, messages = next(iter(good.items()))
    load.verify(good)
    for bad in ({user: messages[1:]}, {user: messages + messages[:1]}, {user: messages + [load.message('9.9')]},
                {user: messages[:-1] + [messages[-1][:-10]]}):
        with pytest.raises(AssertionError):
            load.verify(bad)
