"""A store in a cluster as an administrator meets it: the commands of docs/ops/ceph.md, what init and serve refuse, and why."""
import os
import re
import subprocess

import pytest

import cephcluster
from harness import wire
from harness.host import Host
from harness.load import Load, collect

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def caps_of_the_manual():
    with open(os.path.join(ROOT, 'docs', 'ops', 'ceph.md'), encoding='utf-8') as f:
        found = re.search(r"ceph auth get-or-create client\.penfold mon '([^']+)' \\\n *osd '([^']+)'", f.read())
    return ['mon', found[1], 'osd', found[2]]


@pytest.fixture(scope='module')
def narrow(cluster):
    """The options of init for a user that may do what the manual says, and no more."""
    with cluster.admin() as ask:
        key = ask({'prefix': 'auth get-or-create', 'entity': 'client.narrow', 'caps': caps_of_the_manual()})[0]['key']
    path = os.path.join(cluster.folder, 'narrow.keyring')
    cephcluster.write(path, f'[client.narrow]\n\tkey = {key}\n')
    os.chmod(path, 0o644)
    return ['--ceph-user', 'client.narrow', '--ceph-keyring', path]


def test_the_caps_of_the_manual_are_enough(cluster, narrow, tmp_path):
    with Host(tmp_path / 'mail', ceph=cluster.conf, init_options=[*narrow, '--store-name', 'penfold']) as host:
        with Load(host, ['alice', 'bob'], threads=4, sizes=(600, 300 * 1000)) as load:
            load.wait_for(30)
            os.kill(host.server_pid(), 9)
            load.wait_for(60)
        for user in 'alice', 'bob':
            assert wire.messages(host, user, delete=True)
        load.ledger.acked.clear()
        load.verify(collect(host, ['alice', 'bob']))
        host.stop()
        host.run('fsck')


def test_the_caps_of_the_manual_are_for_one_store(cluster, narrow, tmp_path):
    with pytest.raises(AssertionError, match='Operation not permitted'):
        Host(tmp_path / 'mail', users=(), ceph=cluster.conf, init_options=[*narrow, '--store-name', 'another'], serve=False)


def test_init_leaves_a_store_alone_that_is_there(cluster, tmp_path):
    Host(tmp_path / 'one', users=('alice',), ceph=cluster.conf, init_options=['--store-name', 'taken'], serve=False)
    with pytest.raises(AssertionError, match='taken: the pool holds a mail host of this name'):
        Host(tmp_path / 'two', users=(), ceph=cluster.conf, init_options=['--store-name', 'taken'], serve=False)


def test_the_same_configuration_on_another_machine(cluster, tmp_path):
    """Nothing of the store is in the data folder: an empty one will do."""
    with Host(tmp_path / 'mail', ceph=cluster.conf) as host:
        with Load(host, ['alice', 'bob'], threads=2) as load:
            load.wait_for(20)
        host.abandon()
        data = os.path.join(host.folder, 'data')
        subprocess.run(['find', data, '-mindepth', '1', '-delete'], check=True)
        host.start()
        load.verify(collect(host, ['alice', 'bob']))


@pytest.mark.parametrize('key, value, said', [
    ('plugin', '/nowhere/penfold-rados.so', 'event=plugin-missing file=/nowhere/penfold-rados.so package=penfold-rados'),
    ('plugin', '/lib/x86_64-linux-gnu/libc.so.6', 'has no symbol kv_plugin'),
    ('pool', 'nowhere', 'event=cluster-refused step=pool what=nowhere'),
    ('ceph_user', 'client.nobody', 'event=cluster-refused step=connect'),
    ('ceph_conf', '/nowhere/ceph.conf', 'event=cluster-refused step=configuration what=/nowhere/ceph.conf'),
])
def test_what_is_wrong_is_named(cluster, tmp_path, key, value, said):
    host = Host(tmp_path / 'mail', users=(), ceph=cluster.conf, serve=False)
    with open(host.conf, 'a', encoding='utf-8') as f:
        f.write(f'store {{ {key} = "{value}" }}\n')
    done = host.run('domain', 'list', check=False)
    assert done.returncode == 1 and said in done.stderr, done.stderr
    if value.startswith('/nowhere'):
        assert re.search(rf'penfold\.conf:\d+: {value}: No such file', host.run('check', check=False).stderr)


def test_options_of_a_store_on_ceph_want_one(tmp_path):
    done = subprocess.run([os.environ['PENFOLD_BIN'], 'init', str(tmp_path / 'mail'), '--domain', 'example.test', '--pool', 'x'],
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and '--store rados' in done.stderr
    done = subprocess.run([os.environ['PENFOLD_BIN'], 'init', str(tmp_path / 'mail'), '--domain', 'example.test', '--store', 'x'],
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and 'expected local or rados' in done.stderr
