#!/usr/bin/python3
"""How fast mail is collected: 10,000 messages of 4 KB by POP3 from Dovecot (Maildir, in a root of its own), beside what pop3load reaches
from it over one connection, with and without commands sent ahead.

  sudo bench/collect.py [--messages N] [--size BYTES] [--repeats N] [--build DIR]
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(ROOT, 'tests'), os.path.join(ROOT, 'tools')]
import builds  # noqa: E402
from harness import stores  # noqa: E402
from harness.host import Host  # noqa: E402


def texts(n, size):
    for i in range(n):
        head = f'From: Sender <s{i}@elsewhere.test>\r\nTo: bob@there.test\r\nSubject: message {i}\r\nMessage-ID: <{i}@elsewhere.test>\r\n\r\n'
        yield (head + ('y' * 70 + '\r\n') * ((size - len(head)) // 72)).encode()


def load(there, *options):
    """What pop3load says of one session that retrieves all."""
    line = [os.path.join(ROOT, 'bench/load/pop3load'), '--port', str(there.port('pop3')), '--pass', stores.PASSWORD, *options]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout.strip().splitlines()[0]


def collected(folder, there, n):
    """Seconds from the first connection to the end of the try, as the log tells."""
    with Host(folder) as here:
        here.run('collect', 'add', here.address('alice'), 'pop3', f'127.0.0.1:{there.port("pop3")}', stores.USER, '--tls', 'none',
                 '--password-stdin', stdin=stores.PASSWORD + '\n')
        while (row := json.loads(here.run('collect', 'list', here.address('alice'), '--json'))[0])['state'] == 'new':
            time.sleep(0.2)
        assert (row['state'], row['messages']) == ('well', n), row
        log = here.log_text()
        times = [re.search(r'T(\d\d):(\d\d):([\d.]+)Z', next(line for line in log.splitlines() if mark in line)) for mark in
                 ('verb=add', 'event=collect-done')]
        first, last = (int(t[1]) * 3600 + int(t[2]) * 60 + float(t[3]) for t in times)
        return (last - first) % 86400


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--messages', type=int, default=10000)
    parser.add_argument('--size', type=int, default=4096)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--build', default='build')
    args = parser.parse_args()
    os.environ['PENFOLD_BUILD'] = args.build
    os.environ['PENFOLD_BIN'] = builds.penfold(args.build)
    subprocess.run(['make', '-s', '-C', os.path.join(ROOT, 'bench/load')], check=True)
    with tempfile.TemporaryDirectory() as folder:
        there = stores.Dovecot(os.path.join(folder, 'there'))
        there.put(texts(args.messages, args.size))
        with there:
            load(there)  # Dovecot makes its index
            for options in [], ['--pipeline']:
                for _ in range(args.repeats):
                    print('pop3load', *options, load(there, *options), flush=True)
            rates = [args.messages / collected(os.path.join(folder, f'here{i}'), there, args.messages) for i in range(args.repeats)]
            print(f'collected: {statistics.median(rates):.0f} messages/s of {[round(r) for r in rates]}')


if __name__ == '__main__':
    main()
