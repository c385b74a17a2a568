"""The IMAP rows of make bench: Penfold beside Dovecot (mdbox, Maildir) and Cyrus.

A row is a measurement of one side: {'value': what is compared, 'text': the cell}. Mailboxes are filled before by the server's own fast
way, and only those that the chosen rows need. Each short run is repeated; the median counts.
"""
import os
import re
import subprocess
import time

from sides import LOAD

# Mailboxes: first user, users, messages in all, size, options of the load tool that fills it.
BOXES = {
    'many': (100, 64, 64 * 300, '4k'),
    '10k': (200, 1, 10000, '2k-64k'),
    '100k': (201, 1, 100000, '4k'),
    '18k': (205, 1, 5000, '18k'),
    '1k': (202, 1, 1000, '4k'),
    'threads': (204, 1, 100000, '2k', '--threads'),
    '1m': (203, 1, 1000000, '1k'),
}
EMPTY, IDLERS = 250, 10000  # a user that has nothing; the first of those that idle
MILLION = ('penfold', 'dovecot-mdbox')  # Maildir and Cyrus take an hour: their growth is from 1,000 to 100,000


class Load:
    """One side's runs of the load tools."""

    def __init__(self, side, raw, quick):
        self.side, self.raw, self.quick = side, raw, quick
        self.repeats, self.seconds = (1, '1') if quick else (3, '2')

    def imap(self, *args, port=None):
        """The summary line's values and {command: p50 in microseconds} of one run of imapload."""
        line = [os.path.join(LOAD, 'imapload'), '--port', str(port or self.side.imap_port), *self.side.options, '--cgroup',
                self.side.cgroup.path, *(str(a) for a in args)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.raw.write(f'$ {re.sub(r"/[^ ]*/", "", " ".join(line))}\n{done.stdout}status={done.returncode}\n')
        self.raw.flush()
        if done.returncode != 0:
            raise RuntimeError(f'{" ".join(line[1:])}: {done.stdout[-500:]}')
        summary = re.search(r'^imapload .*', done.stdout, re.M)[0]
        found = {key: float(value) for key, value in re.findall(r'([\w/]+)=([\d.]+)', summary)}
        found['p50'] = {op: float(us) for op, us in re.findall(r'^  ([\w-]+) +n=.* p50_us=(\d+)', done.stdout, re.M)}
        found['out'] = done.stdout
        return found

    def median(self, key, *args, port=None, repeats=None):
        """The run whose value is the median one."""
        runs = [self.imap(*args, port=port) for _ in range(repeats or self.repeats)]
        return sorted(runs, key=lambda run: key(run) if callable(key) else run[key])[len(runs) // 2]

    def cold(self):
        """The server anew, nothing of the disk in memory; then another user's session, since programs are not what is measured."""
        self.side.stop()
        subprocess.run(['sync'], check=True)
        with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as f:
            f.write('3')
        self.side.start()
        self.imap('--mode', 'session', '--ops', 1, '--user-base', EMPTY)

    def resident(self):
        time.sleep(1)
        return resident_of(subprocess.run([os.path.join(LOAD, 'procmem'), '--cgroup', self.side.cgroup.path], stdout=subprocess.PIPE,
                                          text=True, check=True).stdout)


def resident_of(text):
    """PSS of all processes in KiB, as procmem says."""
    return int(re.search(r'pss_kb=(\d+)', text)[1])


def user(box):
    return ['--user-base', BOXES[box][0]]


def micro(us):
    return f'{us:.1f} us' if us < 100 else f'{us:.0f} us'


def short(us):
    return f'{us / 1e6:.2f} s' if us >= 1e6 else f'{us / 1e3:.1f} ms' if us >= 1000 else micro(us)


def per_second(rate):
    return f'{rate:.0f}/s' if rate < 10000 else f'{rate / 1000:.0f}k/s'


# --- kinds of rows: each makes a function of a Load ---------------------------------------------------------------------------------

def cpu(*args, users=None, over_tls=False):
    """CPU microseconds an operation, and the rate."""
    def measure(load):
        port = load.side.imaps_port if over_tls else None
        run = load.median('srv_cpu_us/op', *args, *(users or []), '--secs', load.seconds, *(['--tls'] if over_tls else []), port=port)
        return {'value': run['srv_cpu_us/op'], 'text': f'{micro(run["srv_cpu_us/op"])}, {per_second(run["ops/s"])}'}
    return measure


def time_of(op, *args):
    """Time from command to answer, the median of all; CPU beside it when it is not a moment."""
    def measure(load):
        run = load.median(lambda r: r['p50'][op], *args)
        us = run['p50'][op]
        beside = f', CPU {short(run["srv_cpu_us/op"])}' if us > 5000 else ''
        return {'value': us, 'text': short(us) + beside}
    return measure


def select_cold(load):
    times = []
    for _ in range(load.repeats):
        load.cold()
        times.append(load.imap('--mode', 'session', '--ops', 1, *user('100k'))['p50']['select'])
    us = sorted(times)[len(times) // 2]
    return {'value': us, 'text': short(us)}


def rows_of(run):
    return {'value': run['srv_cpu_us/row'], 'text': f'{run["srv_cpu_us/row"]:.2f} us, {per_second(run["rows/s"])}'}


def fetch_first(load):
    """Once: a peer has its cache afterwards."""
    load.cold()
    return rows_of(load.imap('--mode', 'envelopes', '--ops', 1, *user('100k')))


def fetch_warm(load):
    return rows_of(load.median('srv_cpu_us/row', '--mode', 'envelopes', '--ops', 2, *user('100k')))


def bodies(over_tls):
    def measure(load):
        run = load.median('body_MB/s', '--mode', 'fetch-all-bodies', '--ops', 2, *user('10k'), *(['--tls'] if over_tls else []),
                          port=load.side.imaps_port if over_tls else None)
        return {'value': run['body_MB/s'], 'text': f'{run["body_MB/s"]:.0f} MB/s, {run["srv_cpu_us/op"] / 10000:.1f} us a message'}
    return measure


def bodies_compressed(load):
    """By CPU: the client expands what it gets on the same machine. Beside it the rate, and how much less is sent."""
    load.side.plug_in('deflate')
    run = load.median('srv_cpu_us/op', '--mode', 'fetch-all-bodies', '--ops', 2, *user('10k'), '--compress')
    load.side.plug_in('')
    rate = run['body_MB'] * 1e6 / (run['srv_cpu_us/op'] * 2)
    return {'value': rate, 'text': f'{rate:.0f} MB/s of CPU, {run["body_MB/s"]:.0f} MB/s, '
                                   f'{run["srv_cpu_us/op"] / 10000:.0f} us a message, to {100 * run["wire_MB"] / run["body_MB"]:.0f}%'}


def resync(load):
    """One connection SELECTs again and again as a client that comes back and has missed the changes of ten messages."""
    run = load.median('srv_cpu_us/op', '--mode', 'resync', '--ops', 50, *user('100k'))
    return {'value': run['srv_cpu_us/op'], 'text': f'CPU {short(run["srv_cpu_us/op"])}, {short(run["p50"]["resync"])}'}


def ordered(mode, key, is_first):
    """CPU of a SORT or THREAD of all; first: of a server that has just been started, and of a peer that has not cached what is asked for."""
    args = ['--mode', mode, '--key', f'{key} UTF-8 ALL', *user('threads')]

    def measure(load):
        if is_first:
            load.cold()
        run = load.imap(*args, '--ops', 1)
        if not is_first:
            run = load.median('srv_cpu_us/op', *args, '--ops', 3)
        return {'value': run['srv_cpu_us/op'], 'text': f'CPU {short(run["srv_cpu_us/op"])}, {short(run["p50"][mode])}'}
    return measure


def indexed(op, key, hits):
    """With the index that the server has, made before."""
    def measure(load):
        if not load.side.has_index:
            return None
        load.side.index(BOXES['100k'][0])
        return time_of(op, '--mode', op.replace('-header', ''), '--key', key, '--expect', hits, '--ops', 20, *user('100k'))(load)
    return measure


def indexing(load):
    """CPU of making the index, a message."""
    if not load.side.has_index:
        return None
    each = load.side.index(BOXES['18k'][0]) / BOXES['18k'][2]
    load.raw.write(f'indexing: srv_cpu_us/message={each:.1f}\n')
    return {'value': each, 'text': micro(each)}


def random_bodies(connections):
    """Of a mailbox that has been read once: the first reading is that of a disk."""
    measured = cpu('--mode', 'random-body', '--conns', connections, users=user('100k'))

    def measure(load):
        load.imap('--mode', 'fetch-all-bodies', '--ops', 1, *user('100k'))
        return measured(load)
    return measure


def logins(kind=None):
    """By TLS with a key of this kind, or plain."""
    args = ['--mode', 'login', '--conns', 16, '--users', 100]
    measured = cpu(*args, over_tls=kind is not None)

    def measure(load):
        if kind:
            load.side.stop()
            load.side.certify(kind)
            load.side.start()
        load.imap(*args, '--ops', 100)  # each password verified once
        return measured(load)
    return measure


def idle(over_tls):
    def measure(load):
        count = load.side.held // (5 if load.quick else 1)
        load.side.stop()
        load.side.start()  # nothing left of other connections
        before = load.resident()
        load.raw.write(f'before: pss_kb={before}\n')
        held = load.imap('--mode', 'idle', '--conns', count, '--users', count, '--user-base', IDLERS, '--ramp', load.side.ramp, '--hold', 1,
                         '--on-held', f'sleep 1; {LOAD}/procmem --cgroup {load.side.cgroup.path}', *(['--tls'] if over_tls else []),
                         port=load.side.imaps_port if over_tls else None)
        each = (resident_of(held['out']) - before) / count
        return {'value': each, 'text': f'{each:.1f} KB ({count:,} held)'}
    return measure


def told(load):
    """Thousands of connections in IDLE, each on a mailbox of its own; then one message to each."""
    count = load.side.told // (5 if load.quick else 1)
    send = [os.path.join(LOAD, 'smtpload'), '--lmtp', '--port', load.side.lmtp_port, '--conns', 64, '--ramp', load.side.ramp, '--msgs', count,
            '--users', count, '--user-base', IDLERS]
    run = load.imap('--mode', 'idle', '--conns', count, '--users', count, '--user-base', IDLERS, '--ramp', load.side.ramp, '--timeout', 300,
                    '--then', ' '.join(str(word) for word in send))
    sent = float(re.search(r'^smtpload .* secs=([\d.]+)', run['out'], re.M)[1])
    return {'value': run['told_last_ms'] * 1000, 'text': f'{run["told_last_ms"] / 1000:.2f} s ({count:,}; sending took {sent:.2f} s)'}


def growth(results):
    """How many times the CPU of a STORE grows with the mailbox: by one connection, since 64 on a small mailbox change the same few
    pages together, and each hears of the others' changes; that beside it."""
    at = '1m' if 'store1-1m' in results else '100k'
    if f'store1-{at}' not in results or 'store1-1k' not in results:
        return None
    times = results[f'store1-{at}']['value'] / results['store1-1k']['value']
    many = [results[f'store-{box}']['value'] for box in (at, '1k') if f'store-{box}' in results]
    beside = f'64 connections: {many[0] / many[1]:.2f} x' if len(many) == 2 else ''
    return {'value': times, 'text': f'{times:.2f} x ({"; ".join(part for part in ("at 100,000" * (at == "100k"), beside) if part)})'}


STORE1 = ['--mode', 'store']
STORE = [*STORE1, '--conns', 64]
SENDER, NUMBER, RARE = 'FROM sender009', 'SUBJECT 00031415', 'TEXT zebrafishery'

# key: title, mailboxes, measurement, bar, aim. In the order in which they are measured: what a later one would spoil comes first.
ROWS = {
    'select-cold': ('SELECT 100,000 messages, cold', ['100k'], select_cold, '20 ms', '4 ms'),
    'fetch-first': ('FETCH 1:* of 100,000 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE), CPU a row, first', ['100k'],
                    fetch_first, '2.0 us', '1.5 us'),
    'fetch-warm': ('FETCH of the same, CPU a row, warm', ['100k'], fetch_warm, '1.5 us', '0.9 us'),
    'select-warm': ('SELECT 100,000 messages, warm, p50', ['100k'], time_of('select', '--mode', 'select', '--ops', 200, *user('100k')), '60 us',
                    '40 us'),
    'bodies': ('all bodies of 10,000 x 2-64 KB', ['10k'], bodies(False), '1.2 x', '1.5 x'),
    'bodies-tls': ('all bodies of 10,000 x 2-64 KB, TLS', ['10k'], bodies(True), '4 x', '6 x'),
    'bodies-deflate': ('all bodies of 10,000 x 2-64 KB, COMPRESS=DEFLATE', ['10k'], bodies_compressed, '1.5 x', '2 x'),
    'resync': ('SELECT (QRESYNC ...) of 100,000, 10 changed since', ['100k'], resync, '1 ms CPU', '0.1 ms'),
    'sort-date-first': ('SORT (DATE) of 100,000, first', ['threads'], ordered('sort', '(DATE)', True), '', ''),
    'sort-date': ('SORT (DATE) of 100,000', ['threads'], ordered('sort', '(DATE)', False), '100 ms', '30 ms'),
    'sort-subject-first': ('SORT (SUBJECT) of 100,000, first', ['threads'], ordered('sort', '(SUBJECT)', True), '', ''),
    'sort-subject': ('SORT (SUBJECT) of 100,000', ['threads'], ordered('sort', '(SUBJECT)', False), '100 ms', '30 ms'),
    'sort-arrival': ('SORT (ARRIVAL) of 100,000', ['threads'], ordered('sort', '(ARRIVAL)', False), '100 ms', '30 ms'),
    'thread-refs-first': ('THREAD REFS of 100,000, first', ['threads'], ordered('thread', 'REFS', True), '', ''),
    'thread-refs': ('THREAD REFS of 100,000', ['threads'], ordered('thread', 'REFS', False), '100 ms', '30 ms'),
    'thread-references': ('THREAD REFERENCES of 100,000', ['threads'], ordered('thread', 'REFERENCES', False), '100 ms', '30 ms'),
    'thread-subject': ('THREAD ORDEREDSUBJECT of 100,000', ['threads'], ordered('thread', 'ORDEREDSUBJECT', False), '100 ms', '30 ms'),
    'body-1': ('random BODY.PEEK[] 4 KB of 100,000, 1 connection', ['100k'], random_bodies(1), '30 us', '20 us'),
    'body-64': ('random BODY.PEEK[] 4 KB of 100,000, 64 connections', ['100k'], random_bodies(64), '25 us', '15 us'),
    'search-from': ('SEARCH FROM, 100,000', ['100k'],
                    time_of('search-header', '--mode', 'search', '--key', SENDER, '--expect', 100, '--ops', 5, *user('100k')), '30 ms', '8 ms'),
    'search-text': ('SEARCH TEXT, 100,000 x 4 KB, no index', ['100k'],
                    time_of('search-text', '--mode', 'search-text', '--key', RARE, '--expect', 100, '--ops', 1, *user('100k')), '0.80 s',
                    '0.50 s'),
    'indexed-from': ('SEARCH FROM, 100,000, with index', ['100k'], indexed('search-header', SENDER, 100), '5 ms', '1 ms'),
    'indexed-subject': ('SEARCH SUBJECT, 100,000, with index', ['100k'], indexed('search-header', NUMBER, 1), '5 ms', '1 ms'),
    'indexed-text': ('SEARCH TEXT of a rare word, 100,000 x 4 KB, with index', ['100k'], indexed('search-text', RARE, 100), '10 ms', '1 ms'),
    'indexing': ('index of a message of 18 KB, CPU', ['18k'], indexing, '200 us', '150 us'),
    'store-many': ('STORE one flag, 64 connections, 64 users', ['many'], cpu(*STORE, '--users', 64, users=user('many')), '45 us', '30 us'),
    'store-100k': ('STORE one flag, 64 connections, one mailbox of 100,000', ['100k'], cpu(*STORE, users=user('100k')), '150 us', '100 us'),
    'store-1k': ('STORE one flag, 64 connections, one mailbox of 1,000', ['1k'], cpu(*STORE, users=user('1k')), '', ''),
    'store1-1k': ('STORE one flag, 1 connection, mailbox of 1,000', ['1k'], cpu(*STORE1, users=user('1k')), '', ''),
    'store1-100k': ('STORE one flag, 1 connection, mailbox of 100,000', ['100k'], cpu(*STORE1, users=user('100k')), '', ''),
    'append-1': ('APPEND 4 KB, 1 connection', [], cpu('--mode', 'append', '--user-base', 64), '150 us', '90 us'),
    'append-64': ('APPEND 4 KB, 64 connections, 64 users', [], cpu('--mode', 'append', '--conns', 64, '--users', 64), '80 us', '50 us'),
    'login': ('connect, LOGIN, LOGOUT, 16 connections, password verified lately', [], logins(), '80 us', '50 us'),
    'login-tls': ('connect, LOGIN, LOGOUT by TLS, key as init makes it (P-256)', [], logins('P-256'), '400 us', '350 us'),
    'login-rsa': ('connect, LOGIN, LOGOUT by TLS, RSA-2048', [], logins('RSA-2048'), '400 us', '350 us'),
    'noop': ('NOOP, 64 connections', [], cpu('--mode', 'noop', '--conns', 64, '--users', 64), '12 us', '7 us'),
    'idle': ('connection in IDLE, PSS each', [], idle(False), '16 KB', '8 KB'),
    'idle-tls': ('connection in IDLE, PSS each, TLS', [], idle(True), '40 KB', '24 KB'),
    'told': ('connections in IDLE, then a message to each mailbox: all told', [], told, '2 s', '1 s'),
    'store1-1m': ('STORE one flag, 1 connection, mailbox of 1,000,000', ['1m'], cpu(*STORE1, users=user('1m')), '', ''),
    'store-1m': ('STORE one flag, 64 connections, one mailbox of 1,000,000', ['1m'], cpu(*STORE, users=user('1m')), '', ''),
    'growth': ('STORE one flag, 1 connection, at 1,000,000 to at 1,000 messages', [], None, '1.3 x', '1.0 x'),
}
FRESH = ('idle', 'idle-tls')  # first of all: the memory of a server that has done nothing else
HIGHER = {'bodies', 'bodies-tls', 'bodies-deflate'}  # is better


def chosen(only):
    """The keys of the rows that --only names: 'imap', or single ones as imap.store-1k."""
    if only is None or 'imap' in only:
        return list(ROWS)
    keys = {name.removeprefix('imap.') for name in only}
    if 'growth' in keys:
        keys |= {key for key in ROWS if key.startswith('store') and key != 'store-many'}
    return [key for key in ROWS if key in keys]


def fill(side, boxes, raw):
    """By a server that is started for it: on the one that is measured nothing is left of it."""
    side.stop()
    for box in boxes:
        started = time.monotonic()
        side.fill(*BOXES[box])
        raw.write(f'filled {box}: {BOXES[box][2]} messages in {time.monotonic() - started:.1f} s\n')
        raw.flush()
    side.start()


def measure(side, only, raw, quick):
    """All chosen rows of one side; a row that fails is named in 'failed', and the others are measured."""
    rows = [key for key in chosen(only) if '1m' not in ROWS[key][1] or side.name in MILLION]
    rows.sort(key=lambda key: key not in FRESH)
    wanted = [box for box in BOXES if any(box in ROWS[key][1] for key in rows)]
    results, failed = {}, {}
    side.prepare()
    side.start()
    load = Load(side, raw, quick)
    for key in rows:
        started = time.monotonic()
        try:
            if any(box in wanted for box in ROWS[key][1]):  # all at once but the largest: it takes minutes
                now = ['1m'] if '1m' in ROWS[key][1] else [box for box in wanted if box != '1m']
                wanted = [box for box in wanted if box not in now]
                fill(side, now, raw)
            result = ROWS[key][2](load) if ROWS[key][2] else growth(results)
            if result:
                results[key] = result
        except (RuntimeError, subprocess.SubprocessError, KeyError) as error:
            failed[key] = str(error)
        print(f'bench: {side.name} imap.{key}: {results[key]["text"] if key in results else "-"} ({time.monotonic() - started:.0f} s)',
              flush=True)
    side.stop()
    return {'imap': results, 'failed': failed}


def echo(raw, quick):
    """The floor: a round trip of 64 bytes by TCP, and the CPU of the side that answers."""
    lines = []
    for connections in (1, 64):
        done = subprocess.run(['unshare', '--net', 'sh', '-ec', f'ip link set lo up; exec {LOAD}/limits echo --conns {connections} --secs '
                               f'{1 if quick else 2}'], stdout=subprocess.PIPE, text=True, check=True)
        raw.write(done.stdout)
        lines.append(float(re.search(r'server_cpu_us/rt=([\d.]+)', done.stdout)[1]))
    return lines


def ratio(key, results):
    """How many times better Penfold is than the best peer."""
    own = results.get('penfold', {}).get('imap', {}).get(key)
    theirs = [r['imap'][key]['value'] for name, r in results.items() if name != 'penfold' and key in r.get('imap', {})]
    if not own or not theirs or not own['value']:
        return ''
    times = own['value'] / max(theirs) if key in HIGHER else min(theirs) / own['value']
    return f'{times:.1f} x' if times >= 1 else f'{times:.2f} x'


def table(results, only, floor):
    lines = ['| IMAP | ' + ' | '.join(results) + ' | to the best peer | bar | aim |', '|---|' + '---|' * (len(results) + 3)]
    for key in chosen(only):
        title, _, _, bar, aim = ROWS[key]
        cells = [r['imap'][key]['text'] if key in r.get('imap', {}) else '-' for r in results.values()]
        lines.append(f'| {title} | ' + ' | '.join(cells) + f' | {ratio(key, results)} | {bar} | {aim} |')
    lines += ['', f'TCP echo alone, 1 / 64 connections: {floor[0]:.1f} / {floor[1]:.1f} us. us are CPU time of the server, ms and s are time. '
              'Dovecot acknowledges flags before they are on disk.']
    return '\n'.join(lines)

