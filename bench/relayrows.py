#!/usr/bin/python3
"""What the relay costs, and what dead hosts cost the living.

  bench/relayrows.py pass [MESSAGES]              4 KB over 64 connections in, out to a sink, until all are there
  bench/relayrows.py dead [MESSAGES [DOMAINS]]    a full queue drained: all hosts live, a tenth refusing, a tenth silent
  bench/relayrows.py start [MESSAGES]             start with a full queue: ready, first delivery, memory

Everything is on loopback; PENFOLD_BUILD names a build without a sanitizer. The sink is Postfix's smtp-sink, see tests/harness/clients.py.
"""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), 'tools')]
import builds  # noqa: E402
import sides  # noqa: E402

BUILD = os.environ.get('PENFOLD_BUILD', 'build')
POSTFIX = os.path.expanduser('~/.cache/penfold/fetched/postfix')
BASE, LIVE, DEAD = 31000, 31999, 31998


@contextlib.contextmanager
def sink(port=LIVE):
    process = subprocess.Popen([f'{POSTFIX}/usr/sbin/smtp-sink', '-u', 'nobody', f'127.0.0.1:{port}', '1000'],
                               env=dict(os.environ, LD_LIBRARY_PATH=f'{POSTFIX}/usr/lib/postfix'))
    sides.greeting(port)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def silence():
    """A port on which no connection ever comes about: its backlog is full."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(('0.0.0.0', DEAD))
        full.listen(0)
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(('127.0.0.1', DEAD))
        time.sleep(0.2)
        yield


class Relay:
    def __init__(self, settings):
        self.folder = tempfile.mkdtemp(prefix='penfold-relay-', dir=os.environ.get('TMPDIR'))
        os.chmod(self.folder, 0o755)
        self.home, self.binary = os.path.join(self.folder, 'host'), builds.penfold(BUILD)
        subprocess.run([self.binary, 'init', self.home, '--domain', 'here.test', '--hostname', 'mail.here.test', '--port-base', str(BASE)],
                       check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(self.home, 'penfold.conf'), 'a', encoding='utf-8') as f:
            f.write('\nlimits { per_address = 1000 }\n' + settings + '\n')
        self.cgroup = sides.Cgroup('relay')

    def fill(self, messages, domains):
        data = os.path.join(self.home, 'data')
        owner = os.stat(data)
        subprocess.run([os.path.join(BUILD, 'bench', 'queuebench'), data, 'fill', str(messages), str(domains), '300'], check=True)
        for folder, folders, files in os.walk(data):
            for name in [*folders, *files]:
                os.chown(os.path.join(folder, name), owner.st_uid, owner.st_gid, follow_symlinks=False)

    def start(self):
        self.log = open(os.path.join(self.folder, 'log'), 'wb')
        self.started = time.monotonic()
        self.process = subprocess.Popen([self.binary, 'serve', '-c', os.path.join(self.home, 'penfold.conf')], stderr=self.log,
                                        preexec_fn=self.cgroup.enter)
        sides.greeting(BASE + 25)
        return time.monotonic() - self.started

    def figure(self, name):
        text = urllib.request.urlopen(f'http://127.0.0.1:{BASE + 81}/metrics', timeout=120).read().decode()
        return int(re.search(rf'^{name} (\d+)$', text, re.M)[1])

    def wait(self, messages, seconds=900):
        """Until so many have been taken; the time since the start of the server when the last one was."""
        end = time.monotonic() + seconds
        while self.figure('penfold_relayed_total') < messages:
            if time.monotonic() > end:
                raise RuntimeError(f'{self.figure("penfold_relayed_total")} of {messages} after {seconds} s')
            time.sleep(0.05)
        return time.monotonic() - self.started

    def stop(self):
        self.process.terminate()
        self.process.wait(90)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def to(domain, host, port):
    return f'relay {{ route "{domain}" {{ host = "{host}:{port}" tls = "never" }} }}'


def passing(messages):
    load = os.path.join(sides.LOAD, 'smtpload')
    if not os.path.exists(load):
        shutil.copytree(os.path.join(HERE, 'load'), sides.LOAD, dirs_exist_ok=True)
        subprocess.run(['make', '-s', '-C', sides.LOAD, 'smtpload'], check=True)
    relay = Relay('relay { accept = {"bench.test"} }\n' + to('bench.test', '127.0.0.1', LIVE))
    with sink():
        relay.start()
        before, begun = relay.cgroup.microseconds(), time.monotonic()
        subprocess.run([load, '--port', str(BASE + 25), '--conns', '64', '--msgs', str(messages), '--size', '4k', '--users', '100'],
                       check=True, stdout=subprocess.DEVNULL)
        relay.wait(messages)
        seconds, used = time.monotonic() - begun, relay.cgroup.microseconds() - before
        relay.stop()
    print(f'in, queued, out: {messages} x 4 KB in {seconds:.2f} s, {messages / seconds:.0f}/s, {used / messages:.0f} us of processor each '
          '(bar 350, aim 150)')


def draining(messages, domains, kind):
    dead = [] if kind == 'live' else [to(f'd{n}.bench.test', f'127.9.{n // 250}.{n % 250 + 1}', DEAD) for n in range(0, domains, 10)]
    relay = Relay('\n'.join([to('*', '127.0.0.1', LIVE), *dead]))
    relay.fill(messages, domains)
    with sink(), silence() if kind == 'silent' else contextlib.nullcontext():
        relay.start()
        seconds = relay.wait(messages if kind == 'live' else messages - len(range(0, domains, 10)) * (messages // domains))
        relay.stop()
    return seconds


def dead(messages, domains):
    """Without the dead there is a tenth less to send: so many messages are the same for all."""
    alone = draining(messages * 9 // 10, domains * 9 // 10, 'live')
    for kind in ('refusing', 'silent'):
        seconds = draining(messages, domains, kind)
        print(f'{messages} messages, {domains} domains, a tenth {kind}: the live ones in {seconds:.1f} s, {alone:.1f} s without the dead: '
              f'{seconds / alone:.2f} x (bar 1.2, aim 1.05)')


def starting(messages):
    relay = Relay(to('*', '127.0.0.1', LIVE))
    relay.fill(messages, 10000)
    with sink():
        ready = relay.start()
        first = relay.wait(1)
        with open(f'/proc/{relay.cgroup.processes()[-1]}/statm', encoding='ascii') as f:
            pages = max(int(f.read().split()[1]), 0)
        memory = relay.figure('penfold_memory_bytes')
        relay.stop()
    print(f'start with {messages} queued: ready after {ready:.2f} s, first delivery after {first:.2f} s, {memory >> 20} MB '
          f'({pages * 4 >> 10} MB of the youngest process; bars 2 s, 3 s, 300 MB; aims 0.3 s, 0.5 s, 100 MB)')


def main():
    what, numbers = sys.argv[1] if len(sys.argv) > 1 else '', [int(n) for n in sys.argv[2:]]
    if what == 'pass':
        passing(*(numbers or [20000]))
    elif what == 'dead':
        dead(*(numbers + [100000, 10000][len(numbers):]))
    elif what == 'start':
        starting(*(numbers or [1000000]))
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main()
