"""penfold migrate from a data folder into a cluster and back, killed at many moments: a client sees no difference."""
import os
import shutil

from harness import wire
from harness.load import Load
from harness.moving import USERS, carry_killed, fill, on_cluster, second, seen, serve_on


def test_there_and_back(make_cluster, make_host):
    cluster = make_cluster()
    host = make_host(users=USERS)
    with Load(host, list(USERS), threads=4, size=2048) as load:
        load.wait_for(200)
    fill(host)
    before = seen(host)
    host.stop()
    there = second(host, 'there', on_cluster(cluster.conf, 'there'))
    assert carry_killed(host, there, 0.03, 1.3)
    assert 'are the same' in host.run('migrate', there, '--verify', timeout=120)
    host.conf = there
    assert 'faults' in host.run('fsck', timeout=120)
    serve_on(host, there)
    shutil.rmtree(os.path.join(host.folder, 'data'))
    assert seen(host) == before
    wire.deliver(host, b'Subject: there\r\n\r\nx\r\n', 'alice')
    after = seen(host)
    back = second(host, 'back')
    done = host.run('migrate', back, check=False)
    assert done.returncode == 1 and 'a server is running on it' in done.stderr
    host.stop()
    assert carry_killed(host, back, 0.02, 1.3)
    assert 'are the same' in host.run('migrate', back, '--verify', timeout=120)
    serve_on(host, back)
    assert seen(host) == after
    host.stop()
    assert 'faults' in host.run('fsck')
