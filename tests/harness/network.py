"""Networks of a test's own: places joined by a bridge, each a network namespace that has no name and lives as long as this process holds
it or runs something in it. So nothing is left of a network whatever ends the tests, and any number of them are beside each other."""
import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
END_SECONDS = 30
libc = ctypes.CDLL(None, use_errno=True)


def check(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def die_with_parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(args, log, **options):
    """A server that ends with this process, if nobody ends it before."""
    return subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent, **options)


def end(process):
    """By SIGTERM, or SIGKILL when that does not help."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Place:
    """A network namespace. `with place.inside():` this thread, and what it starts, opens sockets there; those stay there."""

    def __init__(self, addresses=()):
        self.addresses = addresses
        here = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        try:
            check(libc.unshare(CLONE_NEWNET))
            self.fd = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        finally:
            check(libc.setns(here, CLONE_NEWNET))
            os.close(here)
        self.path = f'/proc/{os.getpid()}/fd/{self.fd}'
        self.ip('link', 'set', 'lo', 'up')

    @contextlib.contextmanager
    def inside(self):
        here = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        check(libc.setns(self.fd, CLONE_NEWNET))
        try:
            yield self
        finally:
            check(libc.setns(here, CLONE_NEWNET))
            os.close(here)

    def ip(self, *words):
        with self.inside():
            done = subprocess.run(['ip', *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, f'ip {" ".join(words)}: {done.stdout}'

    def wait_for(self, port, address='127.0.0.1', seconds=60):
        """Until somebody listens on the port there, and greets."""
        until = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError), self.inside(), socket.create_connection((address, port), timeout=seconds) as s:
                if s.recv(1):
                    return
            assert time.monotonic() < until, f'nobody greets on {address} port {port}'
            time.sleep(0.02)

    def close(self):
        os.close(self.fd)


class Network:
    """`with Network() as network:` places of it see each other; their servers have to be ended before."""

    def __init__(self):
        self.switch = Place()
        self.places = []
        self.switch.ip('link', 'add', 'bridge', 'type', 'bridge', 'mcast_snooping', '0')
        self.switch.ip('link', 'set', 'bridge', 'up')

    def place(self, *addresses):
        """One with these addresses: IPv4 of a network of 256, IPv6 of one of 2^64."""
        place = Place(addresses)
        port = f'port{len(self.places)}'
        self.places.append(place)
        self.switch.ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', place.path)
        self.switch.ip('link', 'set', port, 'master', 'bridge', 'up')
        for address in addresses:
            place.ip('address', 'add', *([f'{address}/64', 'dev', 'eth0', 'nodad'] if ':' in address else [f'{address}/24', 'dev', 'eth0']))
        place.ip('link', 'set', 'eth0', 'up')
        return place

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for place in [*self.places, self.switch]:
            place.close()
