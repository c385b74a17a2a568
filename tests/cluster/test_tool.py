"""tools/cluster: what it makes works, its daemons go and come, data stays, and the user of a Penfold may do what it must and no more."""
import contextlib
import os
import subprocess
import sys

import pytest
import rados

import cephcluster

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


@contextlib.contextmanager
def pool(cluster, name=cephcluster.INDEX, user=cephcluster.USER):
    """A pool, opened as that user."""
    with rados.Rados(conffile=cluster.conf, name=user, conf={'rados_osd_op_timeout': '60'}) as handle:
        with handle.open_ioctx(name) as opened:
            yield opened


def tool(*args):
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'tools', 'cluster'), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def test_a_cluster_from_start_to_end(make_cluster):
    cluster = make_cluster(gigabytes=2)
    for name in cephcluster.INDEX, cephcluster.BODIES:
        with pool(cluster, name) as opened:
            opened.write_full('kept', b'data')
    assert tool('start', cluster.folder)[0] == 0  # nothing to do
    status, text = tool('status', cluster.folder)
    assert status == 0 and '3 of 3 OSDs up; groups: 16 active+clean' in text, text

    assert tool('kill', cluster.folder, 'osd.1')[0] == 0
    cluster.wait_down('osd.1')
    status, text = tool('status', cluster.folder)
    assert status == 1 and 'osd.1: does not run' in text and '2 of 3 OSDs up' in text, text
    for name in cephcluster.INDEX, cephcluster.BODIES:  # one may be away
        with pool(cluster, name) as opened:
            opened.write_full('meanwhile', b'more')
    assert tool('launch', cluster.folder, 'osd.1')[0] == 0 and tool('wait', cluster.folder)[0] == 0

    assert tool('stop', cluster.folder)[0] == 0 and not any(map(cluster.pid, cluster.daemons))
    assert tool('start', cluster.folder)[0] == 0
    with pool(cluster, cephcluster.BODIES) as opened:
        assert opened.read('kept') == b'data' and opened.read('meanwhile') == b'more'
    pids = [cluster.pid(name) for name in cluster.daemons]
    assert tool('destroy', cluster.folder)[0] == 0 and not os.path.exists(cluster.folder)
    assert not any(map(cephcluster.start_ticks, pids))


def test_the_user_of_a_penfold_stays_in_its_pools(cluster):
    with cluster.admin() as ask:
        ask({'prefix': 'osd pool create', 'pool': 'of-others', 'pg_num': 1, 'pgp_num': 1})
    cluster.wait_clean()
    with pool(cluster, 'of-others') as opened, pytest.raises(rados.PermissionError):
        opened.write_full('mine', b'now')
    with rados.Rados(conffile=cluster.conf, name=cephcluster.USER) as handle:
        status, _, why = handle.mon_command('{"prefix": "osd pool rm", "pool": "penfold"}', b'')
        assert status != 0 and 'denied' in why.lower(), why


def test_what_the_tool_refuses(tmp_path):
    (tmp_path / 'precious').write_text('data')
    assert 'holds no cluster' in tool('destroy', str(tmp_path))[1]
    assert 'not empty' in tool('start', str(tmp_path))[1]
    assert (tmp_path / 'precious').read_text() == 'data'
