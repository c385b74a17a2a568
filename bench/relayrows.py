"""The rows of make bench for what goes out: Penfold beside Postfix, the sink for both Postfix's smtp-sink.

Handed in over 64 connections, passed on to one host, until that has all of it: as for a relay domain (no login), and submitted by TLS
and login, unsigned and signed. Then Penfold alone: what dead hosts cost the living, a start with a full queue, and the commands that
look into it. The sink runs in the side's network and outside of its cgroup: it shares the machine, and is not counted.
"""
import contextlib
import os
import re
import shlex
import socket
import subprocess
import time

import peers
from sides import LOAD, ROOT, WORK, greeting

POSTFIX = os.path.expanduser('~/.cache/penfold/fetched/postfix')  # tools/deps fetch
LIVE, DEAD = 31999, 31998
OUT = 'out.test'  # where mail goes
MESSAGES = {'penfold': 40000, 'postfix': 3000}
BAR, AIM = '6 x, 350 us', '12 x, 150 us'

# How it comes in and what is done with it: title, what Penfold signs with (None: submitted by nobody), the port at Postfix.
WAYS = {
    'pass': ('for a relay domain: no login, not signed', None, 'port'),
    'login': ('submitted by STARTTLS and login, not signed', 'none', 'submission_port'),
    'ed25519': ('... signed with Ed25519', 'ed25519', None),
    'rsa': ('... signed with RSA-2048 (Postfix: OpenDKIM)', 'rsa', 'signing_port'),
    'both': ('... signed with both, as Penfold does when it is not told otherwise', 'both', None),
}
ALONE = ('dead', 'start', 'look')  # of Penfold
ROWS = (*WAYS, *ALONE)


def chosen(only):
    """The names of the rows that --only names: 'relay', or single ones as relay.dead."""
    return [row for row in ROWS if only is None or 'relay' in only or f'relay.{row}' in only]


# --- the other ends -----------------------------------------------------------------------------------------------------------

class Sink:
    """smtp-sink, which says on its output how many messages it has."""

    def __init__(self, side):
        self.path = os.path.join(WORK, f'sink-{side.name}')
        with open(self.path, 'wb') as out:
            self.process = subprocess.Popen([f'{POSTFIX}/usr/sbin/smtp-sink', '-c', '-u', 'nobody', f'127.0.0.1:{LIVE}', '1000'],
                                            stdout=out, env=dict(os.environ, LD_LIBRARY_PATH=f'{POSTFIX}/usr/lib/postfix'))
        greeting(LIVE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def count(self):
        with open(self.path, 'rb') as f:
            f.seek(max(os.fstat(f.fileno()).st_size - 200, 0))
            found = re.findall(rb'mesg=(\d+)\r', f.read())
        return int(found[-1]) if found else 0

    def wait(self, messages, seconds=900):
        """Until it has so many in all."""
        end = time.monotonic() + seconds
        while self.count() < messages:
            if time.monotonic() > end:
                raise RuntimeError(f'{self.count()} of {messages} messages after {seconds} s')
            time.sleep(0.005)

    def cpu_seconds(self):
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii') as f:
            words = f.read().rsplit(')', 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')


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


def route(domain, host, port):
    return f'relay {{ route "{domain}" {{ host = "{host}:{port}" tls = "never" }} }}\n'


# --- in, queued, out ----------------------------------------------------------------------------------------------------------

def passing(side, sink, way, messages, raw):
    """{rate, microseconds}: the time until the sink has all of them, the processor until none is queued any more."""
    _, key, port = WAYS[way]
    port = getattr(side, port or 'submission_port')
    args = [os.path.join(LOAD, 'smtpload'), '--port', str(port), '--conns', '64', '--msgs', str(messages), '--size', '4k', '--users', '64',
            '--domain', OUT, '--cgroup', side.cgroup.path, *(['--starttls', '--auth', 'pw', '--own', peers.DOMAIN] if key else [])]
    had, busy, before, started = sink.count(), sink.cpu_seconds(), side.cgroup.microseconds(), time.monotonic()
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    accepted = time.monotonic() - started
    if done.returncode == 0:
        sink.wait(had + messages)
    seconds, busy = time.monotonic() - started, sink.cpu_seconds() - busy
    while side.queued():
        time.sleep(0.03)
    used = side.cgroup.microseconds() - before
    raw.write(f'# {way}\n$ {" ".join(os.path.basename(a) for a in args)}\n{done.stdout}status={done.returncode} accept_s={accepted:.3f} '
              f'there_s={seconds:.3f} cpu_us={used} sink_busy={busy / seconds:.2f} sink_messages={sink.count() - had}\n')
    raw.flush()
    if done.returncode != 0:
        raise RuntimeError(f'smtpload: {done.stdout[-500:]}')
    return {'rate': messages / seconds, 'us': used / messages}


def all_passing(side, rows, raw, quick):
    result, messages = {}, MESSAGES[side.name] // (4 if quick else 1)
    side.prepare(route('*', '127.0.0.1', LIVE) + f'relay {{ accept = {{"{OUT}"}} }}\n')
    side.start()
    with Sink(side) as sink:
        for way in rows:
            _, key, port = WAYS[way]
            if side.name != 'penfold' and port is None:
                continue
            if key:
                side.sign_with(key)
            passing(side, sink, way, 640, raw)  # warm up: every user has logged in
            result[way] = passing(side, sink, way, messages, raw)
    side.stop()
    return result


# --- the dead and the living --------------------------------------------------------------------------------------------------

def bench_program(name, *args, raw):
    done = subprocess.run([os.path.join(ROOT, 'build', 'bench', name), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=True)
    raw.write(f'$ {name} {" ".join(args).replace(ROOT + "/", "")}\n{done.stdout}')
    raw.flush()


def fill(side, messages, domains, raw):
    bench_program('queuebench', os.path.join(side.folder, 'data'), 'fill', str(messages), str(domains), '300', raw=raw)


def draining(side, messages, domains, kind, raw):
    """From the start of the server until the sink has what is for the living."""
    dead = range(0, domains, 10) if kind != 'live' else ()
    side.prepare(route('*', '127.0.0.1', LIVE) +
                 ''.join(route(f'd{n}.bench.test', f'127.9.{n // 250}.{n % 250 + 1}', DEAD) for n in dead))
    fill(side, messages, domains, raw)
    with Sink(side) as sink, silence() if kind == 'silent' else contextlib.nullcontext():
        started = time.monotonic()
        side.start()
        sink.wait(messages - len(dead) * (messages // domains))
        seconds = time.monotonic() - started
        side.stop()
    raw.write(f'{messages} messages to {domains} domains, {len(dead)} of them dead ({kind}): {seconds:.2f} s\n')
    return seconds


def dead(side, raw, quick):
    """Without the dead there is a tenth less to send: so many messages are the same for all."""
    messages, domains = (20000, 2000) if quick else (100000, 10000)
    alone = [draining(side, messages * 9 // 10, domains * 9 // 10, 'live', raw)]
    seconds = {kind: draining(side, messages, domains, kind, raw) for kind in ('refusing', 'silent')}
    alone.append(draining(side, messages * 9 // 10, domains * 9 // 10, 'live', raw))
    return {'alone': sum(alone) / 2, 'messages': messages, 'domains': domains, **seconds}


# --- a million queued ---------------------------------------------------------------------------------------------------------

def memory(side):
    """PSS of all its processes in kB."""
    text = subprocess.run([os.path.join(LOAD, 'procmem'), '--cgroup', side.cgroup.path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(re.search(r'pss_kb=(\d+)', text)[1])


def starting(side, raw, quick):
    """The most memory of the first five seconds, in which it sends as fast as it can."""
    messages = 100000 if quick else 1000000
    side.prepare(route('*', '127.0.0.1', LIVE))
    fill(side, messages, 10000, raw)
    with Sink(side) as sink:
        started = time.monotonic()
        ready = side.start()
        sink.wait(1)
        first = time.monotonic() - started
        most = 0
        while time.monotonic() - started < 5:
            most = max(most, memory(side))
            time.sleep(0.2)
        sent = sink.count()
        side.stop()
    raw.write(f'{messages} queued: ready {ready:.3f} s, first delivery {first:.3f} s, {most} kB at most, {sent} sent in 5 s\n')
    return {'messages': messages, 'ready': ready, 'first': first, 'kb': most}


def looking(side, raw, quick):
    """The commands as an administrator types them, whole processes, while the server has its million and tries some of it."""
    messages = 100000 if quick else 1000000
    side.prepare(route('*', '127.0.0.1', DEAD))
    fill(side, messages, 10000, raw)
    bench_program('tracebench', os.path.join(side.folder, 'data'), str(messages), raw=raw)
    middle = messages // 2
    commands = {
        'queue list --domain X --limit 50': f'queue list --domain d{middle % 10000}.bench.test --limit 50',
        'trace MESSAGE-ID': f'trace {middle}.{middle * 0x9e3779b97f4a7c15 % 2 ** 64:016x}@client.example.org',
        'trace ADDRESS': f'trace recipient{middle % 200000}@destination{middle % 10000}.example',
    }
    result = {}
    side.start()
    time.sleep(5)
    for name, command in commands.items():
        times, out = [], ''
        for _ in range(11):
            started = time.monotonic()
            out = side.command(*shlex.split(command), '-c', side.conf)
            times.append((time.monotonic() - started) * 1000)
        if len(out.split('\n')) < 3:
            raise RuntimeError(f'{command}: {out}')
        raw.write(f'$ penfold {command}\n{out[:600]}\nms: {" ".join(f"{t:.1f}" for t in times)}\n')
        result[name] = {'median': sorted(times)[5], 'worst': max(times)}
    side.stop()
    return {'messages': messages, 'commands': result}


# --- all of it ----------------------------------------------------------------------------------------------------------------

def measure(side, only, raw, quick):
    """All chosen rows of one side; one that fails is named in 'failed', and the others are measured."""
    rows, result, failed = chosen(only), {}, {}
    parts = {'ways': lambda: all_passing(side, [row for row in rows if row in WAYS], raw, quick)} if set(rows) & set(WAYS) else {}
    if side.name == 'penfold':
        alone = {'dead': dead, 'start': starting, 'look': looking}
        parts.update({name: lambda f=f: f(side, raw, quick) for name, f in alone.items() if name in rows})
    for name, part in parts.items():
        try:
            result[name] = part()
        except (RuntimeError, subprocess.SubprocessError) as error:
            failed[name] = str(error)
            if side.cgroup.processes():
                side.stop()
    return {**result, 'failed': failed}


def row_of_way(way, results):
    cells = [r.get('ways', {}).get(way) for r in results.values()]
    if not any(cells):
        return []
    own, theirs = (results.get(name, {}).get('ways', {}).get(way) for name in ('penfold', 'postfix'))
    times = f'{own["rate"] / theirs["rate"]:.1f} x' if own and theirs else '-'
    texts = [f'{c["rate"]:.0f}/s, {c["us"]:.0f} us' if c else '-' for c in cells]
    return [f'| {WAYS[way][0]} | {" | ".join(texts)} | {times} | {BAR} | {AIM} |']


def table(results):
    lines = [line for way in WAYS for line in row_of_way(way, results)]
    if lines:
        lines = ['| in, queued, out to smtp-sink: 4 KB, 64 connections in, until all are there | ' + ' | '.join(results) +
                 ' | to Postfix | bar | aim |', '|---|' + '---|' * (len(results) + 3), *lines, '']
    own = results.get('penfold', {})
    if 'dead' in own:
        d = own['dead']
        for kind in ('refusing', 'silent'):
            lines.append(f'{d["messages"]} messages to {d["domains"]} domains, a tenth of them {kind}: the live ones in {d[kind]:.1f} s, '
                         f'{d["alone"]:.1f} s without the dead: {d[kind] / d["alone"]:.2f} x (bar 1.2, aim 1.05)')
    if 'start' in own:
        s = own['start']
        lines.append(f'Start with {s["messages"]} queued: ready after {s["ready"]:.2f} s, first delivery after {s["first"]:.2f} s, '
                     f'{s["kb"] / 1024:.0f} MB at most in the first 5 s (bars 2 s, 3 s, 300 MB; aims 0.3 s, 0.5 s, 100 MB)')
    if 'look' in own:
        s = own['look']
        lines += [f'With {s["messages"]} queued, `penfold {name}`: {t["median"]:.0f} ms, worst of 11 {t["worst"]:.0f} ms (bar 100 ms)'
                  for name, t in s['commands'].items()]
    return '\n'.join(lines)
