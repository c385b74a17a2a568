"""While too few copies are there, for as long as it lasts: what is on its way waits, new work beyond a bound is told to come later, and
in the end everything acknowledged is there once and nothing that was refused."""
import time

from harness import imap
from harness.load import Load, collect
from harness.owner import Owner
from test_faults import when_it_can

USERS = [f'mail{n}' for n in range(4)]
CROWD = 120  # connections, each with a message of a size that is over what may wait together
SETTINGS = 'auth { hash_ops = 1  hash_memory = 1M }\nlimits { memory = 8M  per_address = 1000 }\nstore { queue = 4M }\n'


class Crowd(Load):
    """One message for each connection, all at the same time, again and again."""

    def __init__(self, host):
        super().__init__(host, USERS, threads=CROWD, per_connection=1, sizes=(200 * 1000,), name='crowd')

    def told_later(self):
        return sum(isinstance(reply, tuple) and reply[0] in (421, 451, 452) for reply in self.refusals)


def wait_for(what, is_true, seconds=60):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f'{what}: not within {seconds} s'
        time.sleep(0.1)


def test_a_bound_for_what_waits(make_cluster, make_host):
    cluster = make_cluster(grace=4, gigabytes=2)
    host = make_host(users=[*USERS, 'owner'], settings=SETTINGS, ceph=cluster.conf)
    with Owner(host, 'owner') as owner, Load(host, USERS, threads=2, pause=0.1) as load:
        wait_for('changes and deliveries', lambda: owner.changes > 10 and load.count() > 10)
        idle = imap.login(host, 'owner')  # a session that was there before, and reads what is in memory
        for name in 'osd.0', 'osd.2':
            cluster.hang(name)
        wait_for('a line in the log', lambda: 'event=cluster-stalled' in host.log_text())
        with Crowd(host) as crowd:
            wait_for('somebody told to come later', lambda: crowd.told_later() > 20)
            before = load.count(), owner.changes, crowd.count()
            idle.command('NOOP')
            memory = host.pss()
            time.sleep(3)
            assert (load.count(), owner.changes, crowd.count()) == before, 'acknowledged with one copy'
            for name in 'osd.0', 'osd.2':
                cluster.resume(name)
            wait_for('deliveries and changes go on', lambda: crowd.count() > 20 and owner.changes > before[1] + 5 and load.count() > before[0])
    assert memory < 300 << 20, f'{memory >> 20} MiB while {CROWD} messages wait'
    assert not owner.reconnects, 'a session was cut off'
    found = when_it_can(lambda: collect(host, USERS))
    mine = {user: [text for text in texts if b'Message-ID: <crowd' not in text] for user, texts in found.items()}
    load.verify(mine)
    crowd.verify({user: [text for text in texts if b'Message-ID: <crowd' in text] for user, texts in found.items()})
    owner.verify()
    print(f'{crowd.told_later()} told to come later, {crowd.count()} delivered; {memory >> 20} MiB')
    wait_for('a line in the log', lambda: 'event=cluster-goes-on' in host.log_text())
