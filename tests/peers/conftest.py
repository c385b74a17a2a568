"""A small Internet for the tests of this folder: a name server with a signed root, an authority for certificates, and two Penfolds,
mx.near.example with alice and bob, mx.far.example with carol and dave. Each test adds the hosts and the names it needs."""
import functools
import itertools
import os

import pytest

from harness.mailhost import Mailhost
from harness.network import Network
from harness.zones import Authority, Zones
from harness.sink import Sink


class World:
    """`zones`, `authority`, `near`, `far`, and places and hosts on demand."""

    def __init__(self, folder, network, zones):
        self.folder, self.network, self.zones = str(folder), network, zones
        self.authority = Authority(os.path.join(self.folder, 'authority'))
        self.numbers = itertools.count(100)
        self.sinks = []

    def address(self):
        """One that nobody has."""
        return f'192.0.2.{next(self.numbers)}'

    def sink(self, *addresses, **options):
        """A host that takes mail, in clear only; it is ended with the test."""
        place = self.network.place(*(addresses or [self.address()]))
        with place.inside():
            sink = Sink(address='::' if any(':' in a for a in place.addresses) else '0.0.0.0', port=25, **options)
        sink.place, sink.at = place, place.addresses[0]
        self.sinks.append(sink)
        return sink

    @staticmethod
    def again(sink):
        with sink.place.inside():
            sink.start()


@pytest.fixture(scope='module')
def module_world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    with Network() as network, Zones(network.place('192.0.2.53'), folder / 'names') as zones:
        yield World(folder, network, zones)


@pytest.fixture(scope='module')
def hosts(module_world):
    """Both Penfolds, running."""
    w = module_world
    near = functools.partial(Mailhost, w.network.place('192.0.2.10', '2001:db8::10'), os.path.join(w.folder, 'near'), 'near.example')
    far = functools.partial(Mailhost, w.network.place('192.0.2.11', '2001:db8::11'), os.path.join(w.folder, 'far'), 'far.example')
    with near(w.zones, w.authority, settings='relay { accept = {"held.example"} }') as n, \
            far(w.zones, w.authority, users=('carol', 'dave')) as f:
        w.near, w.far = n, f
        w.zones.set({**n.names(), **f.names()})
        yield n, f


@pytest.fixture
def world(module_world, hosts):
    yield module_world
    for sink in module_world.sinks:
        sink.stop()
    module_world.sinks.clear()
