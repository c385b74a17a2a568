#!/usr/bin/python3
"""A storm of wrong logins: what 1,000 at once do to the others.

  bench/storm.py --pop3 PORT --smtp PORT --load DIR [--domain D] [--users N]

DIR has the load tools, the server the accounts u0000... with the password "pw" and, by SMTP, no need of a login; loopback is trusted, so that
nothing is delayed or blocked and every wrong login that is not put off costs its hash. The others deliver 4 KB messages on four
connections and log in, STAT, LIST, UIDL, QUIT over POP3 on four, with credentials that were verified lately. Prints the p99 of both
without and with the storm, and how its logins were answered.
"""
import argparse
import contextlib
import os
import re
import selectors
import socket
import subprocess
import threading
import time


class Storm(threading.Thread):
    """1,000 connections that are open, then all send a wrong password; says how each was answered."""

    def __init__(self, port, count):
        super().__init__()
        self.answers, self.seconds = {}, 0.0
        self.sockets = []
        for n in range(count):
            source = (f'127.{n % 200 + 2}.{n // 200}.1', 0)
            self.sockets.append(socket.create_connection(('127.0.0.1', port), 60, source))
        for s in self.sockets:
            s.recv(1000)

    def run(self):
        started = time.monotonic()
        waiting = selectors.DefaultSelector()
        for n, s in enumerate(self.sockets):
            s.sendall(f'USER nobody{n}@bench.test\r\nPASS wrong{n}\r\n'.encode())
            waiting.register(s, selectors.EVENT_READ, [0])
        while waiting.get_map():
            for key, _ in waiting.select(60):
                line = key.fileobj.recv(4096)
                key.data[0] += line.count(b'\r\n')
                if line and key.data[0] < 2:
                    continue
                answer = line.split(b'\r\n')[-2][:15].decode() if line else 'closed'
                self.answers[answer] = self.answers.get(answer, 0) + 1
                waiting.unregister(key.fileobj)
                key.fileobj.close()
        self.seconds = time.monotonic() - started


def commands(args):
    smtp = [os.path.join(args.load, 'smtpload'), '--port', args.smtp, '--conns', '4', '--users', args.users, '--domain', args.domain,
            '--msgs', args.messages]
    pop3 = [os.path.join(args.load, 'pop3load'), '--port', args.pop3, '--conns', '4', '--users', args.users, '--domain', args.domain,
            '--sessions', args.sessions, '--no-retr']
    return smtp, pop3


def others(args, out):
    """Both loads at once: {what: p99 in microseconds}."""
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, text=True) for c in commands(args)]
    texts = [p.communicate()[0] for p in running]
    out += texts
    if any(p.returncode for p in running):
        raise RuntimeError('\n'.join(texts))
    return {'smtp': int(re.search(r'p99_us=(\d+)', texts[0])[1]),
            'pop3': int(re.search(r'session +n=\d+ +p50_us=\d+ +p99_us=(\d+)', texts[1])[1])}


def measure(args):
    """{calm, storm: p99s; answers, seconds}, and the tools' output."""
    out = []
    subprocess.run(commands(args)[1][:-3] + ['--sessions', args.users, '--no-retr'], stdout=subprocess.DEVNULL, check=True)
    calm = others(args, out)
    storm = Storm(int(args.pop3), 1000)
    storm.start()
    during = others(args, out)
    storm.join()
    return {'calm': calm, 'storm': during, 'answers': storm.answers, 'seconds': storm.seconds}, '\n'.join(out)


def arguments(pop3, smtp, load, domain='bench.test', users='100', messages='4000', sessions='16000'):
    return argparse.Namespace(pop3=str(pop3), smtp=str(smtp), load=load, domain=domain, users=users, messages=messages, sessions=sessions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ('pop3', 'smtp', 'load'):
        parser.add_argument(f'--{name}', required=True)
    parser.add_argument('--domain', default='bench.test')
    parser.add_argument('--users', default='100')
    parser.add_argument('--messages', default='4000')
    parser.add_argument('--sessions', default='16000')
    result, text = measure(parser.parse_args())
    print(text)
    for name in ('calm', 'storm'):
        print(f'{name}: p99 of a message {result[name]["smtp"] / 1000:.1f} ms, of a POP3 session {result[name]["pop3"] / 1000:.1f} ms')
    print(f'the storm: {result["answers"]} in {result["seconds"]:.1f} s')


if __name__ == '__main__':
    with contextlib.suppress(KeyboardInterrupt):
        main()
