"""A mail host for one test or many: made by `penfold init` in a temporary folder, on free ports, ended by pid."""
import contextlib
import fcntl
import os
import re
import secrets
import signal
import socket
import subprocess
import tempfile
import threading
import time

import builds
import cephcluster

DOMAIN = 'example.test'
STANDARD = {'smtp': 25, 'submission': 587, 'submissions': 465, 'lmtp': 24, 'pop3': 110, 'pop3s': 995, 'imap': 143, 'imaps': 993,
            'admin': 81}
RESERVED = (24, 25, 80, 81, 110, 143, 443, 465, 587, 993, 995, 4190)
BASES = range(10000, 28000, 250)  # no port of one base is a port of another: see test_no_base_has_a_port_of_another
NOBODY_TO_ASK = '\ndns { resolver = {"127.0.0.1:1"} trust_anchor = "none" }'  # no test asks the resolvers of the machine it runs on
READY_SECONDS = 30
STOP_SECONDS = 30

# What never stands in the log of a healthy server.
ALARMS = re.compile(r'ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w+Sanitizer'
                    r'|event=(server|signer)-ended how=(?!"?signal 9)|Assertion .* failed|\*\*\* .* \*\*\*: terminated')


class ServerError(AssertionError):
    """The server did what no test allows: it did not start, crashed, or said so in its log."""


class PortBase:
    """A base of free ports below the range of ephemeral ones, held against other tests by a lock on a file."""

    def __init__(self):
        folder = os.path.join(tempfile.gettempdir(), f'penfold-ports-{os.getuid()}')
        os.makedirs(folder, mode=0o700, exist_ok=True)
        first = os.getpid() % len(BASES)
        for base in (*BASES[first:], *BASES[:first]):
            lock = open(os.path.join(folder, str(base)), 'w', encoding='ascii')
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                continue
            if all(self.is_free(base + port) for port in RESERVED):
                self.base, self.lock = base, lock
                return
            lock.close()
        raise RuntimeError('no free ports')

    @staticmethod
    def is_free(port):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(('127.0.0.1', port))
            except OSError:
                return False
        return True

    def release(self):
        self.lock.close()


def on_ceph(conf):
    """What `penfold init` is told for a store of its own in a cluster of tools/cluster; nothing without one."""
    if not conf:
        return []
    return ['--store', 'rados', '--ceph-conf', conf, '--ceph-keyring', os.path.join(os.path.dirname(conf), 'penfold.keyring'),
            '--ceph-user', cephcluster.USER, '--pool', cephcluster.INDEX, '--body-pool', cephcluster.BODIES,
            '--store-name', f'host-{secrets.token_hex(6)}', '--plugin', builds.plugin(os.environ['PENFOLD_BUILD'])]


class Host:
    """`with Host(folder) as host:` makes, serves and ends one; `serve=False` only makes it. `ceph` is the ceph.conf of the cluster that
    it keeps its mail in; given to pytest by --store rados, all hosts use that of PENFOLD_TEST_CEPH."""

    def __init__(self, folder, users=('alice', 'bob'), binary=None, settings='', env=None, serve=True, init_options=(), ceph=None,
                 domain=DOMAIN, hostname=None):
        self.folder = str(folder)
        self.binary = binary or os.environ.get('PENFOLD_BIN') or builds.penfold('build')
        self.ports = PortBase()
        self.env = dict(os.environ, **(env or {}))
        self.conf = os.path.join(self.folder, 'penfold.conf')
        self.log_path = os.path.join(os.path.dirname(self.folder), os.path.basename(self.folder) + '.log')
        self.passwords = {}
        self.process = None
        self.start_serving = serve
        self.expect_alarm = False
        self.domain = domain
        self.hostname = hostname or f'mail.{domain}'
        try:
            self.run('init', self.folder, '--domain', domain, '--hostname', self.hostname, '--port-base',
                     str(self.ports.base), *on_ceph(ceph or os.environ.get('PENFOLD_STORE_CEPH')), *init_options, conf=False)
            if not re.search(r'\bdns *{', settings):
                settings += NOBODY_TO_ASK
            with open(self.conf, 'a', encoding='utf-8') as f:
                f.write('\n' + settings + '\n')
            for user in users:
                self.add_account(user)
        except BaseException:
            self.ports.release()
            raise

    def __enter__(self):
        if self.start_serving:
            try:
                self.start()
            except BaseException:
                self.abandon()
                raise
        return self

    def __exit__(self, kind, value, trace):
        try:
            if kind is None:
                self.stop()
            else:
                self.abandon()
        finally:
            self.ports.release()

    # --- commands ------------------------------------------------------------------------------------------------

    def run(self, *args, conf=True, check=True, stdin='', timeout=60):
        """One penfold command; its output. AssertionError with what it said when it fails."""
        command = [self.binary, *args] + (['-c', self.conf] if conf else [])
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=timeout, env=self.env, check=False)
        if ALARMS.search(done.stderr):
            raise ServerError(f'{" ".join(args)}: {done.stderr}')
        if check and done.returncode != 0:
            raise AssertionError(f'{" ".join(command)}: status {done.returncode}: {done.stderr}')
        return done if not check else done.stdout

    def add_account(self, user, password=None):
        password = password or secrets.token_urlsafe(12)
        self.run('account', 'add', self.address(user), '--password-stdin', stdin=password + '\n')
        self.passwords[user] = password

    def address(self, user):
        return f'{user}@{self.domain}'

    def port(self, service):
        return self.ports.base + STANDARD[service]

    # --- the running server --------------------------------------------------------------------------------------

    def start(self):
        """Starts and waits for event=ready; returns the seconds that took."""
        assert self.process is None
        started = time.monotonic()
        self.log = open(self.log_path, 'ab')
        self.process = subprocess.Popen([self.binary, 'serve', '-c', self.conf], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=self.env,
                                        start_new_session=True)
        self.ready = threading.Event()
        self.reader = threading.Thread(target=self.copy_log, daemon=True)
        self.reader.start()
        while not self.ready.wait(0.02):
            if self.process.poll() is not None or time.monotonic() - started > READY_SECONDS:
                raise ServerError(f'no event=ready after {time.monotonic() - started:.1f} s\n{self.log_tail()}')
        return time.monotonic() - started

    def copy_log(self):
        for line in self.process.stderr:
            self.log.write(line)
            self.log.flush()
            if b'event=ready' in line.split():
                self.ready.set()

    def log_text(self):
        try:
            with open(self.log_path, encoding='utf-8', errors='replace') as f:
                return f.read()
        except FileNotFoundError:
            return ''

    def log_tail(self, lines=40):
        return '\n'.join(self.log_text().splitlines()[-lines:])

    def children(self):
        """{pid: name} of the supervisor's children; the name is the last word of the process's own title."""
        found = {}
        for pid in filter(str.isdigit, os.listdir('/proc')):
            with contextlib.suppress(OSError, IndexError):
                with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
                    comm, rest = f.read().rsplit(')', 1)
                if int(rest.split()[1]) == self.process.pid and rest.split()[0] != 'Z':
                    found[int(pid)] = comm.split('(', 1)[1]
        return found

    def server_pid(self, timeout=10):
        """The process that holds the connections and the store: the child with the store's lock or most threads."""
        end = time.monotonic() + timeout
        while True:
            candidates = {}
            for pid in self.children():
                with contextlib.suppress(OSError):
                    candidates[pid] = len(os.listdir(f'/proc/{pid}/task'))
            best = max(candidates, key=candidates.get, default=None)
            if best and candidates[best] > 1:
                return best
            if time.monotonic() > end:
                raise ServerError(f'no serving process below {self.process.pid}: {self.children()}')
            time.sleep(0.005)

    def all_pids(self):
        return [self.process.pid, *self.children()]

    def pss(self):
        """Bytes of memory of the whole server, shared pages counted once."""
        total = 0
        for pid in self.all_pids():
            with contextlib.suppress(OSError), open(f'/proc/{pid}/smaps_rollup', encoding='ascii') as f:
                total += sum(int(line.split()[1]) for line in f if line.startswith('Pss:'))
        return total * 1024

    def stop(self):
        """A clean stop by SIGTERM; an error when it hangs, ends badly, or its log shows an alarm."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise ServerError(f'did not stop within {STOP_SECONDS} s\n{self.log_tail()}') from None
        self.reap()
        if status != 0 and not self.expect_alarm:
            raise ServerError(f'serve ended with status {status}\n{self.log_tail()}')
        self.check_log()

    def abandon(self):
        """Ends all its processes at once; for tests that have failed already."""
        if self.process is None:
            return
        for pid in self.all_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reap()

    def reap(self):
        self.reader.join(5)
        self.process.stderr.close()
        self.log.close()
        self.process = None

    def check_log(self):
        found = [line for line in self.log_text().splitlines() if ALARMS.search(line)]
        if found and not self.expect_alarm:
            raise ServerError('the log shows:\n' + '\n'.join(found[:5]) + f'\n{self.log_tail(80)}')

    def certificate(self):
        """The self-signed certificate that init made: what a client takes as its CA."""
        with open(self.conf, encoding='utf-8') as f:
            named = re.search(r'^[^#\n]*certificate\s*=\s*"([^"]+)"', f.read(), re.M)
        return os.path.join(self.folder, named[1] if named else 'tls/certificate.pem')
