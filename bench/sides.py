"""The sides of make bench: each server is started inside namespaces and a cgroup of its own, on the same disk."""
import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path[:0] = [HERE, os.path.join(ROOT, 'tools')]
import builds  # noqa: E402
import peers  # noqa: E402

WORK = os.path.join(ROOT, 'build', 'bench-work')
LOAD = os.path.join(WORK, 'load')


def build_tools():
    shutil.copytree(os.path.join(HERE, 'load'), LOAD, dirs_exist_ok=True)
    subprocess.run(['make', '-s', '-C', LOAD], check=True)


class Cgroup:
    """A cgroup of this run: version 1 with cpuacct, or version 2."""

    def __init__(self, name):
        v1 = '/sys/fs/cgroup/cpuacct'
        self.path = os.path.join(v1 if os.path.isdir(v1) else '/sys/fs/cgroup', 'penfold-bench', f'{name}-{os.getpid()}')
        os.makedirs(self.path, exist_ok=True)

    def enter(self):
        with open(os.path.join(self.path, 'cgroup.procs'), 'w', encoding='ascii') as f:
            f.write('0')

    def processes(self):
        with open(os.path.join(self.path, 'cgroup.procs'), encoding='ascii') as f:
            return [int(pid) for pid in f.read().split()]

    def end(self, seconds=10):
        """Waits for the last process; those that stay (Cyrus leaves them their connections) are killed."""
        end = time.monotonic() + seconds
        while self.processes():
            for pid in self.processes() if time.monotonic() > end else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def microseconds(self):
        old = os.path.join(self.path, 'cpuacct.usage')
        if os.path.exists(old):
            with open(old, encoding='ascii') as f:
                return int(f.read()) // 1000
        with open(os.path.join(self.path, 'cpu.stat'), encoding='ascii') as f:
            return int(re.search(r'usage_usec (\d+)', f.read())[1])


def greeting(port, timeout=60):
    """Waits for the first greeting on the port."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), timeout=timeout) as s:
            if s.recv(1):
                return
        time.sleep(0.001)
    raise RuntimeError(f'no greeting on port {port}')


def raise_file_limit():
    """Ten thousand connections need as many descriptors, of the server and of the load tools."""
    with contextlib.suppress(ValueError, OSError):
        hard = max(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Side:
    ramp = 64
    lmtp = False
    root_name = None  # of the peer's root; Penfold has none

    def __init__(self, name, cgroup, log):
        self.name, self.cgroup, self.log = name, cgroup, log
        self.processes = []
        self.root = os.path.join(WORK, 'peers', self.root_name) if self.root_name else None

    def mount(self):
        if self.root:
            subprocess.run(['mount', '-t', 'proc', 'proc', os.path.join(self.root, 'proc')], check=True)
            subprocess.run(['mount', '--rbind', '/dev', os.path.join(self.root, 'dev')], check=True)

    def prepare(self, users=100):
        """A peer's users are in its root already."""

    def spawn(self, args):
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, preexec_fn=self.cgroup.enter)
        self.processes.append(child)
        return child

    def certify(self, kind):
        """Before it is started."""
        peers.certify(kind, os.path.join(self.root, 'etc/ssl/bench.crt'), os.path.join(self.root, 'etc/ssl/bench.key'))

    def stop(self):
        for process in self.processes[:1]:
            process.terminate()
            process.wait(60)
        self.processes = []
        self.cgroup.end()

    def queued(self):
        return 0

    def files_in(self, *folders):
        return sum(len(files) for f in folders for _, _, files in os.walk(os.path.join(self.root, f)))


def figure(name):
    """Of Penfold's /metrics."""
    text = urllib.request.urlopen('http://127.0.0.1:2081/metrics', timeout=60).read().decode()
    return int(re.search(rf'^{name} (\d+)$', text, re.M)[1])


class Penfold(Side):
    port = 2025
    lmtp_port = 2024
    pop3_port = 2110

    def prepare(self, users=100):
        self.init()
        self.start()
        for n in range(users):
            self.command('account', 'add', f'u{n:04}@{peers.DOMAIN}', '--password-stdin', '-c', self.conf, stdin='pw\n')
        self.stop()

    def init(self):
        self.folder = os.path.join(WORK, 'penfold')
        shutil.rmtree(self.folder, ignore_errors=True)
        self.binary = builds.penfold('build')
        self.conf = os.path.join(self.folder, 'penfold.conf')
        self.command('init', self.folder, '--domain', peers.DOMAIN, '--hostname', f'mail.{peers.DOMAIN}', '--port-base', '2000')
        self.certify('RSA-2048')

    def certify(self, kind):
        tls = os.path.join(self.folder, 'tls')
        peers.certify(kind, os.path.join(tls, 'certificate.pem'), os.path.join(tls, 'key.pem'))

    def add_accounts(self, first, count):
        """To a server at rest, with a cheap hash."""
        subprocess.run([os.path.join(ROOT, 'build', 'bench', 'accounts'), os.path.join(self.folder, 'data'), peers.DOMAIN, str(first),
                        str(count), 'pw'], stdout=self.log, stderr=self.log, check=True)

    def command(self, *args, stdin=''):
        done = subprocess.run([self.binary, *args], input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False)
        if done.returncode != 0:
            raise RuntimeError(f'{" ".join(args)}: {done.stderr}')
        return done.stdout

    def start(self):
        started = time.monotonic()
        self.server = self.spawn([self.binary, 'serve', '-c', self.conf])
        greeting(self.port)
        return time.monotonic() - started

    def stop(self):
        self.server.send_signal(signal.SIGTERM)  # nothing when it has ended already
        self.server.wait(60)


class PostfixDovecot(Side):
    port = 10025
    root_name = 'postfix-dovecot'
    dovecot = 'mdbox.conf'

    def start(self):
        started = time.monotonic()
        self.spawn(['chroot', self.root, '/usr/sbin/dovecot', '-F', '-c', f'/etc/dovecot-bench/{self.dovecot}'])
        self.spawn(['chroot', self.root, '/usr/sbin/postfix', 'start'])
        greeting(self.port)
        return time.monotonic() - started

    def stop(self):
        subprocess.run(['chroot', self.root, '/usr/sbin/postfix', 'stop'], stdout=self.log, stderr=self.log, check=False)
        super().stop()

    def queued(self):
        return self.files_in(*(f'var/spool/postfix/{f}' for f in ('incoming', 'active', 'maildrop', 'deferred')))


class DovecotLmtp(Side):
    port = lmtp_port = 10024
    pop3_port = 10110
    lmtp = True
    root_name = 'postfix-dovecot'

    def start(self):
        started = time.monotonic()
        self.spawn(['chroot', self.root, '/usr/sbin/dovecot', '-F', '-c', '/etc/dovecot-bench/mdbox.conf'])
        greeting(self.port)
        return time.monotonic() - started


class OpenSmtpd(Side):
    port = 12025
    ramp = 4
    root_name = 'opensmtpd'

    def start(self):
        started = time.monotonic()
        self.spawn(['chroot', self.root, '/usr/sbin/smtpd', '-d'])
        greeting(self.port)
        return time.monotonic() - started

    def queued(self):
        return self.files_in('var/spool/smtpd/queue', 'var/spool/smtpd/incoming')


# --- IMAP: `held` connections in IDLE and `told` ones at most; fill() works on a server that is stopped and leaves it so -----------

class Imap(Side):
    options = []  # of imapload
    held, told = 1000, 1000
    has_index = False  # of words, for SEARCH

    def appended(self, user, users, messages, size, *options):
        """Filled by MULTIAPPEND of 100, by a server that need not sync. Few at once: Cyrus fails now and then with 64."""
        self.start(is_filling=True)
        together = min(users, 8)
        for first in range(user, user + users, together):
            subprocess.run([os.path.join(LOAD, 'imapload'), '--port', str(self.imap_port), *self.options, '--mode', 'append', '--multi', '100',
                            '--ops', str(messages * together // users // 100), '--size', size, '--users', str(together), '--conns',
                            str(together), '--user-base', str(first), '--timeout', '1500', *options], stdout=self.log,
                           stderr=self.log, check=True)
        self.stop()

    fill = appended

    def plug_in(self, what):
        """Starts the server anew with 'deflate', or with nothing, where it does not have that always."""

    def index(self, user):
        """Makes the search index of the user's INBOX complete. Microseconds of CPU."""
        raise NotImplementedError


class PenfoldImap(Imap, Penfold):
    """Filled by LMTP. Passwords have a cheap hash: no row measures the first login of an account."""
    imap_port, imaps_port = 2143, 2993
    options = ['--domain', peers.DOMAIN]
    held, told = 5000, 10000
    has_index = True
    accounts = ((0, 300), (10000, 10000))

    def prepare(self, users=100):
        self.init()
        for first, count in self.accounts:
            self.add_accounts(first, count)

    def fill(self, user, users, messages, size, *options):
        self.start()
        subprocess.run([os.path.join(LOAD, 'smtpload'), '--port', str(self.lmtp_port), '--lmtp', '--conns', '64', '--msgs', str(messages),
                        '--size', size, '--users', str(users), '--user-base', str(user), '--timeout', '1500', *options], stdout=self.log,
                       stderr=self.log, check=True)
        self.settle()
        self.stop()

    def index(self, user):
        """By the operator's word, and until nothing waits and the last small pieces have been joined."""
        before = self.cgroup.microseconds()
        self.command('account', 'reindex', f'u{user:04}@{peers.DOMAIN}', '-c', self.conf)
        while figure('penfold_index_waiting_messages') >= 16:
            time.sleep(0.2)
        self.settle(3)
        return self.cgroup.microseconds() - before

    def settle(self, seconds=11):
        """A server that runs packs the rows of new messages within ten seconds; waits until it has done nothing for longer."""
        before = -1000000
        while self.cgroup.microseconds() - before > 20000:
            before = self.cgroup.microseconds()
            time.sleep(seconds)


class DovecotImap(Imap):
    imap_port, imaps_port, lmtp_port = 10143, 10993, 10024
    plugin = ''

    def conf(self, variant):
        return f'/etc/dovecot-bench/{self.name.removeprefix("dovecot-")}{"-" if variant else ""}{variant}.conf'

    def start(self, is_filling=False):
        started = time.monotonic()
        self.spawn(['chroot', self.root, '/usr/sbin/dovecot', '-F', '-c', self.conf('fill' if is_filling else self.plugin)])
        greeting(self.imap_port)
        return time.monotonic() - started

    def plug_in(self, what):
        self.stop()
        self.plugin = what
        self.start()


class DovecotMdbox(DovecotImap):
    root_name = 'dovecot-mdbox'


class DovecotMaildir(DovecotImap):
    root_name = 'dovecot-maildir'


class Cyrus(Imap):
    """Its sockets leave Nagle on; it has a process of 3 MB for each connection; /run is memory, as on a running system."""
    imap_port, imaps_port, lmtp_port = 11143, 11993, 11024
    options = ['--quickack']
    root_name = 'cyrus'
    ramp = 16
    held, told = 500, 500
    has_index = True

    def mount(self):
        super().mount()
        subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', os.path.join(self.root, 'run')], check=True)
        subprocess.run(['chroot', self.root, 'install', '-d', '-o', 'cyrus', '-g', 'mail', '/run/cyrus', '/run/cyrus/proc', '/run/cyrus/lock',
                        '/run/cyrus/socket'], check=True)

    def start(self, is_filling=False):
        started = time.monotonic()
        self.spawn(['chroot', self.root, *(['/usr/bin/eatmydata'] if is_filling else []), '/usr/lib/cyrus/bin/master', '-p',
                    '/run/cyrus-master.pid', '-C', '/etc/imapd.conf', '-M', '/etc/cyrus.conf'])
        greeting(self.imap_port)
        return time.monotonic() - started

    def index(self, user):
        before = self.cgroup.microseconds()
        subprocess.run(['chroot', self.root, '/usr/lib/cyrus/bin/squatter', '-i', '-u', f'u{user:04}'], stdout=self.log, stderr=self.log,
                       preexec_fn=self.cgroup.enter, check=True)
        return self.cgroup.microseconds() - before


# --- what goes out: prepare() takes Penfold's settings besides those of init ------------------------------------------------------

class RelayPenfold(Penfold):
    """Passwords have a cheap hash: the first login of an account is not what is measured."""
    submission_port = signing_port = 2587

    def prepare(self, settings=''):
        self.init()
        self.add_accounts(0, 64)
        with open(self.conf, 'a', encoding='utf-8') as f:
            f.write('\n' + settings)

    def sign_with(self, keys):
        self.command('domain', 'set', peers.DOMAIN, '--dkim', keys, '-c', self.conf)

    def queued(self):
        return figure('penfold_queue_items')


class RelayPostfix(PostfixDovecot):
    """Dovecot for its logins, OpenDKIM for its signatures."""
    submission_port, signing_port = 10587, 10588
    root_name = 'postfix-relay'
    dovecot = 'relay.conf'

    def prepare(self, settings=''):
        """All is in its root."""

    def sign_with(self, keys):
        """The port says it."""

    def start(self):
        seconds = super().start()
        self.spawn(['chroot', self.root, '/usr/sbin/opendkim', '-f', '-x', '/etc/opendkim-bench.conf'])
        greeting(self.signing_port)
        return seconds

    def stop(self):
        self.processes.pop().terminate()
        super().stop()


MAIL_SIDES = {'penfold': Penfold, 'postfix-dovecot': PostfixDovecot, 'dovecot-lmtp': DovecotLmtp, 'opensmtpd': OpenSmtpd}
RELAY_SIDES = {'penfold': RelayPenfold, 'postfix': RelayPostfix}
IMAP_SIDES = {'penfold': PenfoldImap, 'dovecot-mdbox': DovecotMdbox, 'dovecot-maildir': DovecotMaildir, 'cyrus': Cyrus}
