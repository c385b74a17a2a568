"""Parts of the cluster go away under load: each OSD crashes and hangs in turn, two at once, the monitor, Penfold itself.

Nothing acknowledged may be lost, nothing done twice: mail comes by SMTP and LMTP and is counted by harness/load.py's ledger; owners of
mailboxes change them by IMAP, each with a model of its own (harness/owner.py). While a fault lasts, sessions wait; a refusal has to say
"later". The seed of a run is printed and can be given as PENFOLD_SEED.
"""
import contextlib
import json
import os
import random
import re
import signal
import time

import pytest

from harness import chances
from harness.load import Load, collect, ways
from harness.owner import Owner, Wrong

MAIL_USERS = [f'mail{n}' for n in range(6)]
OWNERS = [f'owner{n}' for n in range(4)]
SETTINGS = 'auth { plaintext = loopback  hash_ops = 1  hash_memory = 1M }\n'
SIZES = (600, 4096, 20000, 300 * 1000)
PAUSE = 0.05  # between two changes of a client: what comes while a part is away has to be brought to it afterwards
GRACE = 4  # seconds until an OSD that hangs is reported down; 20 in earnest


class Work:
    """What goes on during the faults: deliveries and owners. `marks` are (when, acknowledged so far)."""

    def __init__(self, host, seed):
        self.load = Load(host, MAIL_USERS, threads=8, sizes=SIZES, groups=(1, 1, 2), by=ways(host), pause=PAUSE)
        self.owners = [Owner(host, user, seed, PAUSE) for user in OWNERS]
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for one in (self.load, *self.owners):
                stack.enter_context(one)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def counts(self):
        return [self.load.count(), *(owner.changes for owner in self.owners)]

    def wait_for_progress(self, seconds=90):
        """Until deliveries and every owner have gone on since now."""
        wanted, end = [n + 3 for n in self.counts()], time.monotonic() + seconds
        while any(now < then for now, then in zip(self.counts(), wanted)):
            assert time.monotonic() < end, f'{self.counts()} acknowledged, and {wanted} were waited for'
            faults = [owner.fault for owner in self.owners if owner.fault]
            if faults:
                raise faults[0]
            time.sleep(0.05)

    def look_at_numbers(self):
        for owner in self.owners:
            owner.look_at_numbers()

    def verify(self, host):
        self.look_at_numbers()
        wait_for_queue(host)
        found = when_it_can(lambda: collect(host, MAIL_USERS))
        copies = self.load.verify(found)
        kept = sum(when_it_can(owner.verify) for owner in self.owners)
        later = [reply for reply in self.load.refusals if isinstance(reply, tuple)]
        assert all(400 <= code < 500 for code, _ in later), later[:5]
        assert not self.load.refused_connects, self.load.refused_connects[:5]
        print(f'{copies} copies delivered, {len(later)} told to come later; {sum(self.counts()[1:])} changes of owners, '
              f'{sum(o.refusals for o in self.owners)} refused, {sum(o.reconnects for o in self.owners)} cut off, {kept} messages kept; '
              f'longest wait {max(o.longest for o in self.owners):.1f} s')


def when_it_can(ask, seconds=120):
    """What ask() finds, once it is not told to come later."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except AssertionError as error:
            if isinstance(error, Wrong) or not re.search('SYS/TEMP|UNAVAILABLE', str(error)) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def wait_for_queue(host, seconds=120):
    """Until what is for several recipients has reached all of them."""
    end = time.monotonic() + seconds
    while json.loads(host.run('queue', 'list', '--limit', '1', '--json')):
        assert time.monotonic() < end, 'the queue does not become empty'
        time.sleep(0.2)


# --- the faults ------------------------------------------------------------------------------------------------------------

def crash(*names, away=2.0):
    def fault(cluster, work, host):
        for name in names:
            cluster.kill(name)
        time.sleep(away)
        for name in names:
            cluster.launch(name)
    return fault


def hang(*names, away):
    """Longer than it takes to be reported down, so that the others go on without it."""
    def fault(cluster, work, host):
        for name in names:
            cluster.hang(name)
        time.sleep(away)
        for name in names:
            cluster.resume(name)
    return fault


def hang_until_others_go_on(name):
    def fault(cluster, work, host):
        cluster.wait_clean(300)  # else the others may be one copy short of what they need to go on
        cluster.hang(name)
        try:
            cluster.wait_down(name)
            work.wait_for_progress()
        finally:
            cluster.resume(name)
    return fault


def kill_server(cluster, work, host):
    os.kill(host.server_pid(), signal.SIGKILL)


def kill_all_of_penfold(cluster, work, host):
    """Supervisor and all, while an OSD hangs: what was on its way may arrive after the next start."""
    cluster.hang('osd.0')
    time.sleep(0.5)
    work.load.expect_refused_connects = True
    host.abandon()
    cluster.resume('osd.0')
    host.start()
    work.load.expect_refused_connects = False


OSDS = ('osd.0', 'osd.1', 'osd.2')
SHORT = [
    *((f'{name} crashes', crash(name)) for name in OSDS),
    ('osd.1 hangs', hang_until_others_go_on('osd.1')),
    ('the server is killed', kill_server),
    ('two crash at once', crash('osd.0', 'osd.2', away=3)),
    ('the monitor crashes', crash('mon.a')),
    ('all of Penfold is killed', kill_all_of_penfold),
]
WHOLE = [
    *SHORT, *((f'{name} hangs', hang_until_others_go_on(name)) for name in OSDS),
    ('two hang at once', hang('osd.1', 'osd.2', away=12)), ('the monitor hangs', hang('mon.a', away=8)),
    ('osd.0 hangs for a moment', hang('osd.0', away=1.5)),
    *((f'{name} crashes for long', crash(name, away=20)) for name in OSDS),
]


def endure(cluster, host, faults, seed, rests=True):
    """`rests`: until all copies are alike again; else the next fault comes while they are not."""
    with Work(host, seed) as work:
        work.wait_for_progress()
        for name, fault in faults:
            began = time.monotonic()
            fault(cluster, work, host)
            work.wait_for_progress()
            work.look_at_numbers()
            print(f'{name}: going on after {time.monotonic() - began:.1f} s, {work.counts()}')
            if rests:
                cluster.wait_clean(300)
    work.verify(host)
    return work


def test_faults_under_load(make_cluster, make_host, is_full):
    cluster = make_cluster(grace=GRACE, gigabytes=4)
    host = make_host(users=MAIL_USERS + OWNERS, settings=SETTINGS, ceph=cluster.conf)
    seed = chances.seed()
    faults = list(WHOLE) if is_full else list(SHORT)
    random.Random(seed).shuffle(faults)
    endure(cluster, host, faults, seed, rests=is_full)
    host.stop()
    host.run('fsck', timeout=300)


@pytest.mark.full
def test_a_hung_osd_with_the_usual_grace(make_cluster, make_host):
    """20 seconds until it is reported: sessions wait about 26, and nobody is cut off."""
    cluster = make_cluster(grace=20, gigabytes=4)
    host = make_host(users=MAIL_USERS + OWNERS, settings=SETTINGS, ceph=cluster.conf)
    work = endure(cluster, host, [(f'{name} hangs', hang_until_others_go_on(name)) for name in OSDS], chances.seed())
    assert sum(owner.reconnects + owner.refusals for owner in work.owners) == 0
    host.stop()
    host.run('fsck', timeout=300)
