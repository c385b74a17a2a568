"""Fixtures of all tests that talk to a running server.

PENFOLD_BIN names the program (default: the one in build/); PENFOLD_FULL=1 also runs what only make check-full has time for.
With --store rados all hosts keep their mail in the cluster whose ceph.conf PENFOLD_TEST_CEPH names (see tools/cluster).
"""
import os
import sys

import pytest

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
sys.path[:0] = [TESTS, os.path.join(ROOT, 'tools')]
sys.dont_write_bytecode = True

import builds  # noqa: E402
from harness.host import Host  # noqa: E402

FULL = os.environ.get('PENFOLD_FULL') == '1'


def pytest_addoption(parser):
    parser.addoption('--store', choices=('local', 'rados'), default='local', help='the engine of all hosts')


def pytest_configure(config):
    os.environ.pop('PENFOLD_STORE_CEPH', None)
    if config.getoption('--store') == 'rados':
        if not os.environ.get('PENFOLD_TEST_CEPH'):
            raise pytest.UsageError('--store rados: PENFOLD_TEST_CEPH has to name the ceph.conf of a cluster; see tools/cluster')
        os.environ['PENFOLD_STORE_CEPH'] = os.environ['PENFOLD_TEST_CEPH']
    config.addinivalue_line('markers', 'full: takes too long for make check; runs in make check-full')
    os.environ.setdefault('PENFOLD_BUILD', 'build')
    if 'PENFOLD_BIN' not in os.environ:
        try:
            os.environ['PENFOLD_BIN'] = builds.penfold(os.environ['PENFOLD_BUILD'])
        except SystemExit:
            pass  # the tests of tools/ need none; the others say what is missing


def pytest_collection_modifyitems(config, items):
    if not FULL:
        left_out = [i for i in items if i.get_closest_marker('full')]
        items[:] = [i for i in items if not i.get_closest_marker('full')]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope='session')
def is_full():
    return FULL


@pytest.fixture(scope='module')
def penfold_server(tmp_path_factory):
    """A host with alice and bob, served for all tests of a file."""
    with Host(tmp_path_factory.mktemp('host') / 'mail') as host:
        yield host


@pytest.fixture
def make_host(tmp_path):
    """Hosts of a test's own: make_host(users=..., settings=...); all are ended with the test."""
    made = []

    def make(name='mail', **options):
        host = Host(tmp_path / name, **options)
        made.append(host)
        host.__enter__()
        return host

    yield make
    failure = None
    for host in made:
        try:
            host.stop()
        except AssertionError as error:
            failure = error
        finally:
            host.ports.release()
    if failure:
        raise failure


@pytest.fixture
def new_user(penfold_server, request):
    """new_user() adds an account with an empty mailbox to the server of the file; its name."""
    def add():
        name = f'user{len(penfold_server.passwords)}'
        penfold_server.add_account(name)
        return name
    return add
