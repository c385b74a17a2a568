"""A cluster for the tests that take daemons of it away; the others use the one that tools/check names in PENFOLD_TEST_CEPH."""
import shutil
import tempfile

import pytest

import cephcluster


@pytest.fixture(scope='module')
def cluster():
    """One for all tests of a file that takes no daemon away; its data lies in memory."""
    made = cephcluster.Cluster(tempfile.mkdtemp(prefix='penfold-ceph-'), memory=True)
    try:
        made.start()
        yield made
    finally:
        made.destroy()


@pytest.fixture
def make_cluster():
    """make_cluster(grace=4): clusters of a test's own, destroyed with it. Their folders have short names: sockets lie in them."""
    made = []

    def make(**options):
        cluster = cephcluster.Cluster(tempfile.mkdtemp(prefix='penfold-ceph-'), **options)
        made.append(cluster)
        cluster.start()
        return cluster

    yield make
    for cluster in made:
        cluster.destroy()
        shutil.rmtree(cluster.folder, ignore_errors=True)
