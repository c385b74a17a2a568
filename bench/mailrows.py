"""The rows of make bench for SMTP, LMTP, POP3, start and memory, and what the store and the directory do alone."""
import glob
import os
import re
import shutil
import subprocess
import tempfile
import time

import peers
import storm
from sides import LOAD, ROOT, WORK

ON_SIDES = ('smtp', 'pop3', 'storm', 'start')  # groups of rows that --only names
GROUPS = (*ON_SIDES, 'store', 'lookup')
CELLS = [('4k', 16), ('4k', 64), ('50k', 16), ('50k', 64)]
MESSAGES = {'penfold': {'4k': 20000, '50k': 10000}, None: {'4k': 2000, '50k': 1000}}

# What the issue asks for: how many times Postfix+Dovecot's rate, and CPU microseconds a message.
BARS = {'4k': (8, 150), '50k': (5, 300)}
AIMS = {'4k': (8000, 70), '50k': (3000, 200)}

# Other ways in, 4 KB over 16 connections: the load tool's arguments, who takes part, bar and aim in CPU microseconds.
EXTRA = {
    'one': ('4 KB, one message a connection', ['--per-conn', '1'], ('penfold', 'postfix-dovecot', 'opensmtpd'), (200, 130)),
    'starttls': ('the same by STARTTLS, RSA-2048', ['--per-conn', '1', '--starttls'], ('penfold', 'postfix-dovecot', 'opensmtpd'),
                 (500, 400)),
    'lmtp': ('LMTP 4 KB', ['--lmtp'], ('penfold', 'dovecot-lmtp'), (120, 60)),
}

# POP3, of 20 users with 500 x 4 KB each: pop3load's options, what is counted, bar and aim in CPU microseconds.
POP3_USERS, POP3_MAILS = 20, 500
POP3 = {
    'retr': ('POP3 RETR all of 500 x 4 KB, 16 connections', ['--conns', '16'], 'retr', 20, 8),
    'retr ahead': ('... 16 commands ahead', ['--conns', '16', '--pipeline'], 'retr', 8, 4),
    'logins': ('POP3 login, STAT, LIST, UIDL, QUIT, empty mailbox, verified lately', ['--conns', '16', '--no-retr'], 'sessions', 120, 60),
    'dele': ('POP3 login, DELE all, QUIT: per message', ['--conns', '4', '--no-retr', '--dele'], 'dele', 12, 6),
}
POP3_QUIT = (4, 2)  # milliseconds, p50 with 500 deleted


def is_chosen(group, only):
    return only is None or group in only


def cell(side, size, connections, messages, raw, options=()):
    """One load: {rate, microseconds} until all can be read."""
    is_lmtp = side.lmtp or '--lmtp' in options
    args = [os.path.join(LOAD, 'smtpload'), '--port', str(side.lmtp_port if is_lmtp else side.port), '--conns', str(connections),
            '--msgs', str(messages), '--size', size, '--users', '100', '--ramp', str(side.ramp), '--cgroup', side.cgroup.path]
    before, started = side.cgroup.microseconds(), time.monotonic()
    args += [o for o in options if o != '--lmtp'] + (['--lmtp'] if is_lmtp else [])
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    accepted = time.monotonic() - started
    while side.queued():
        time.sleep(0.03)
    seconds, used = time.monotonic() - started, side.cgroup.microseconds() - before
    raw.write(f'$ {" ".join(os.path.basename(a) for a in args)}\n{done.stdout}'
              f'status={done.returncode} accept_s={accepted:.3f} deliver_s={seconds:.3f} cpu_us={used}\n')
    raw.flush()
    if done.returncode != 0:
        raise RuntimeError(f'smtpload: {done.stdout[-500:]}')
    return {'rate': messages / seconds, 'us': used / messages}


def pop3_run(side, options, raw):
    """One run of pop3load; its first line, the p50 of QUIT in milliseconds, CPU microseconds."""
    args = [os.path.join(LOAD, 'pop3load'), '--port', str(side.pop3_port), '--users', str(POP3_USERS), '--cgroup', side.cgroup.path]
    if side.name == 'penfold':
        args += ['--domain', peers.DOMAIN]
    before = side.cgroup.microseconds()
    done = subprocess.run(args + options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    used = side.cgroup.microseconds() - before
    raw.write(f'$ {" ".join(os.path.basename(a) for a in args + options)}\n{done.stdout}status={done.returncode} cpu_us={used}\n')
    raw.flush()
    if done.returncode != 0:
        raise RuntimeError(f'pop3load: {done.stdout[-500:]}')
    counted = {key: float(value) for key, value in re.findall(r'([\w/]+)=([\d.]+)', done.stdout.split('\n')[0])}
    quit_ms = re.search(r'quit +n=\d+ +p50_us=(\d+)', done.stdout)
    return counted, int(quit_ms[1]) / 1000 if quit_ms else None, used


def pop3(side, raw):
    """The mailboxes are emptied, filled, read and emptied again; the logins come last, when all is empty and verified."""
    pop3_run(side, ['--conns', '4', '--no-retr', '--dele'], raw)
    fill = [os.path.join(LOAD, 'smtpload'), '--port', str(side.port), '--conns', '16', '--msgs', str(POP3_USERS * POP3_MAILS),
            '--size', '4k', '--users', str(POP3_USERS), '--ramp', str(side.ramp)] + (['--lmtp'] if side.lmtp else [])
    subprocess.run(fill, stdout=raw, stderr=raw, check=True)
    pop3_run(side, ['--conns', '16', '--max', '1'], raw)  # warm up
    result = {}
    for key in ('retr', 'retr ahead', 'dele', 'logins'):
        options, what = POP3[key][1], POP3[key][2]
        if key == 'logins':  # once for each user: a second session of a user meanwhile would be told IN-USE
            runs = [pop3_run(side, options, raw) for _ in range(20)]
        else:
            runs = [pop3_run(side, options, raw)]
        n = sum(counted[what] for counted, _, _ in runs)
        result[key] = {'rate': n / sum(counted['secs'] for counted, _, _ in runs), 'us': sum(used for _, _, used in runs) / n}
        if key == 'dele':
            result[key]['quit_ms'] = runs[0][1]
    return result


def memory(side, raw):
    time.sleep(1)
    text = subprocess.run([os.path.join(LOAD, 'procmem'), '--cgroup', side.cgroup.path], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    raw.write(f'$ procmem (idle)\n{text}')
    return int(re.search(r'pss_kb=(\d+)', text)[1])


def wrong_logins(side, raw):
    """What a storm of wrong logins does to the others (bench/storm.py)."""
    result, text = storm.measure(storm.arguments(2110, side.port, LOAD, peers.DOMAIN))
    raw.write(f'$ storm of 1,000 wrong logins\n{text}\n{result}\n')
    raw.flush()
    return result


def startup(side, raw):
    """Start to first greeting after a clean stop (best of five and worst), and the memory of the idle server."""
    times = []
    for _ in range(5):
        times.append(side.start())
        if len(times) == 5:
            idle = memory(side, raw)
        side.stop()
        time.sleep(0.3)
    raw.write(f'start_ms={" ".join(f"{t * 1000:.0f}" for t in times)}\n')
    return {'start_ms': sorted(times)[2] * 1000, 'start_worst_ms': max(times) * 1000, 'idle_kb': idle}


def measure(side, only, raw, quick):
    """All chosen rows of one side."""
    result, counts = {'cells': {}}, MESSAGES.get(side.name, MESSAGES[None])
    side.prepare()
    side.start()
    if is_chosen('smtp', only):
        cell(side, '4k', 16, 300, raw)  # warm up
        for size, connections in CELLS:
            messages = counts[size] // (4 if quick else 1)
            result['cells'][f'{size} {connections}'] = cell(side, size, connections, messages, raw)
        for key, (_, options, sides, _) in EXTRA.items():
            if side.name in sides:
                result['cells'][key] = cell(side, '4k', 16, counts['4k'] // (8 if quick else 2), raw, options)
    if is_chosen('pop3', only) and hasattr(side, 'pop3_port'):
        result['pop3'] = pop3(side, raw)
    if is_chosen('storm', only) and side.name == 'penfold':
        result['storm'] = wrong_logins(side, raw)
    side.stop()
    if is_chosen('start', only) and side.name != 'dovecot-lmtp':
        if side.name == 'penfold':
            side.prepare(users=50 if quick else 1000)
        result.update(startup(side, raw))
    return result


def store_path(raw, quick):
    """The store without a network: 64 writers, 20 KB (bench/storepath.c)."""
    found = glob.glob(os.path.join(ROOT, 'build', 'bench', 'storepath'))
    if not found:
        return None
    folder = os.path.join(WORK, 'storepath')
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    done = subprocess.run([found[0], folder, '3' if quick else '10', '64', '20'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    raw.write(f'$ storepath 64 writers, 20 KB\n{done.stdout}')
    shutil.rmtree(folder, ignore_errors=True)
    return done.stdout.strip()


def lookup(raw, quick):
    """RCPT's question to the directory, 100,000 accounts in 100 domains (bench/rcptlookup.c): in memory, since making them is not what
    is measured; the second run opens what the first one made. Ends with the lines of the opening and of the lookups."""
    program = os.path.join(ROOT, 'build', 'bench', 'rcptlookup')
    if not os.path.exists(program):
        return None
    lines = []
    for accounts in (1000, 10000 if quick else 100000):
        with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
            for _ in range(2):
                done = subprocess.run([program, folder, str(accounts), '100', '5'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, check=True)
                raw.write(f'$ rcptlookup {accounts} accounts\n{done.stdout}')
            lines += [f'{accounts} accounts: ' + '; '.join(done.stdout.strip().split('\n'))]
    return lines


def row(title, cells, tail):
    """A line of the table; none for what nobody measured."""
    return [f'| {title} | ' + ' | '.join(cells) + f' | {tail} |'] if any(c != '-' for c in cells) else []


def rates(results, key, digits=0, of=lambda r: r.get('cells', {})):
    return [f'{of(r)[key]["rate"]:.0f}/s, {of(r)[key]["us"]:.{digits}f} us' if key in of(r) else '-' for r in results.values()]


def pop3_table(results):
    lines = []
    for key, (title, _, _, bar, aim) in POP3.items():
        lines += row(title, rates(results, key, 1, lambda r: r.get('pop3', {})), f' | {bar} us | {aim} us')
    cells = [f'{r["pop3"]["dele"]["quit_ms"]:.1f} ms' if 'pop3' in r else '-' for r in results.values()]
    return lines + row('POP3 QUIT with 500 deleted, p50', cells, f' | {POP3_QUIT[0]} ms | {POP3_QUIT[1]} ms')


def table(results, store, looked):
    lines = ['| work | ' + ' | '.join(results) + ' | to Postfix+Dovecot | bar | aim |',
             '|---|' + '---|' * (len(results) + 3)]
    best = results.get('postfix-dovecot', {}).get('cells', {})
    for size, connections in CELLS:
        key = f'{size} {connections}'
        own = results.get('penfold', {}).get('cells', {})
        ratio = f'{own[key]["rate"] / best[key]["rate"]:.1f} x' if key in best and key in own else '-'
        bar, aim = BARS[size], AIMS[size]
        lines += row(f'{size}B, {connections} connections', rates(results, key),
                     f'{ratio} | {bar[0]} x, {bar[1]} us | {aim[0]}/s, {aim[1]} us')
    for key, (label, _, _, (bar, aim)) in EXTRA.items():
        lines += row(f'{label}, 16 connections', rates(results, key), f' | {bar} us | {aim} us')
    lines += pop3_table(results)
    lines += row('start to first greeting (Penfold: 1,000 accounts), median',
                 [f'{r["start_ms"]:.0f} ms' if 'start_ms' in r else '-' for r in results.values()], ' | 150 ms | 30 ms')
    lines += row('idle memory (PSS)', [f'{r["idle_kb"] / 1024:.1f} MB' if 'idle_kb' in r else '-' for r in results.values()],
                 ' | 40 MB | 24 MB')
    found = results.get('penfold', {}).get('storm')
    if found:
        p99 = {when: ', '.join(f'{what.upper()} {us / 1000:.1f} ms' for what, us in found[when].items()) for when in ('calm', 'storm')}
        lines += ['', f'Storm of 1,000 wrong logins (bar 50 ms, aim 20 ms), p99 of a message and of a POP3 session: {p99["storm"]}; '
                  f'without it: {p99["calm"]}']
    if store:
        lines += ['', f'Store path alone (bar 110 us, aim 80 us): {store}']
    if looked:
        lines += ['', 'Lookup of a recipient (bar 10 us, aim 5 us), and opening:', *looked]
    return '\n'.join(lines)
