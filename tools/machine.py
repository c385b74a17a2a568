"""Minimal Debian 12 machines in folders: made by debootstrap, entered with own mounts, processes and (on wish) network.

Used by tools/fresh-machine and by bench/run for the peers. Needs root.
"""
import contextlib
import glob
import os
import shutil
import subprocess
import time

CACHE = os.path.join(os.path.expanduser('~'), '.cache', 'penfold')

# Runs inside `unshare`: $1 is the root, the rest the command. Mounts live in the new namespace and end with it.
ENTER = '''
root=$1; shift
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
[ "$OWN_NETWORK" = no ] || ip link set lo up
exec chroot "$root" "$@"
'''

# The same with systemd as process 1: a /dev, /run and control groups of its own, and a network with loopback only.
BOOT = '''
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ip link set lo up
exec env -i container=penfold PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --system
'''
BOOT_SECONDS = 120


def apt_proxy():
    done = subprocess.run(['apt-config', 'dump', '--format', '%v', 'Acquire::http::Proxy'], stdout=subprocess.PIPE,
                          text=True, check=False)
    return done.stdout.strip()


def mirror():
    """Where this machine's own packages come from; nothing when it does not say: debootstrap has a default."""
    done = subprocess.run(['apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Codename: bookworm'],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.split()[:1]


def debootstrap(root, include, log):
    env = dict(os.environ)
    if apt_proxy() and 'http_proxy' not in env:
        env['http_proxy'] = apt_proxy()
    options = ['--variant=minbase'] + ([f'--include={include}'] if include else [])
    subprocess.run(['debootstrap', *options, 'bookworm', root, *mirror()], env=env, stdout=log, stderr=log,
                   check=True)


def base(include, cache, log):
    """The tarball of a minimal system with some packages; made when the cache has none."""
    os.makedirs(cache, exist_ok=True)
    path = os.path.join(cache, f'bookworm-{include.replace(",", "-") or "minbase"}.tar')
    if not os.path.exists(path):
        root = path + '.root'
        shutil.rmtree(root, ignore_errors=True)
        try:
            debootstrap(root, include, log)
            subprocess.run(['tar', '-C', root, '-cf', path + '.new', '--one-file-system', '.'], check=True)
            os.rename(path + '.new', path)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return path


def copy_apt_settings(root):
    """The machine installs as its host does: same sources of Debian, same proxies and certificates."""
    shutil.copy('/etc/resolv.conf', os.path.join(root, 'etc/resolv.conf'))
    shutil.copy('/etc/hosts', os.path.join(root, 'etc/hosts'))
    for path in glob.glob('/etc/apt/apt.conf.d/*'):
        with open(path, encoding='utf-8', errors='replace') as f:
            if 'proxy' in f.read().lower() or 'proxy' in path or os.path.basename(path).startswith('99'):
                shutil.copy(path, os.path.join(root, 'etc/apt/apt.conf.d'))
    sources = [p for p in ('/etc/apt/sources.list.d/debian.sources',) if os.path.exists(p)]
    if sources:
        open(os.path.join(root, 'etc/apt/sources.list'), 'w', encoding='utf-8').close()
        for path in sources:
            shutil.copy(path, os.path.join(root, 'etc/apt/sources.list.d'))
    elif os.path.exists('/etc/apt/sources.list'):
        shutil.copy('/etc/apt/sources.list', os.path.join(root, 'etc/apt/sources.list'))
    authorities = '/usr/local/share/ca-certificates'
    if os.path.isdir(authorities):
        shutil.copytree(authorities, root + authorities, dirs_exist_ok=True)
    policy = os.path.join(root, 'usr/sbin/policy-rc.d')
    with open(policy, 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\nexit 101\n')  # nothing is started by being installed
    os.chmod(policy, 0o755)


def make(root, include='', cache=CACHE, log=None):
    os.makedirs(root, exist_ok=True)
    subprocess.run(['tar', '-C', root, '-xf', base(include, cache, log)], check=True)
    copy_apt_settings(root)


def command(root, args, own_network=False):
    """The command line and environment that run `args` inside the machine."""
    unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child'] + (['--net'] if own_network else [])
    env = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8',
           'OWN_NETWORK': 'yes' if own_network else 'no', 'DEBIAN_FRONTEND': 'noninteractive'}
    return unshare + ['sh', '-ec', ENTER, 'enter', root, *args], env


def run(root, args, own_network=False, log=None, check=True, timeout=None):
    line, env = command(root, args, own_network)
    return subprocess.run(line, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT if log else None,
                          check=check, timeout=timeout)


class Booted:
    """A machine with systemd running: `with Booted(root) as machine: machine.run([...])`. It needs the package systemd."""

    def __init__(self, root, log=subprocess.DEVNULL):
        self.root, self.log = root, log
        mounts = [line.split() for line in open('/proc/self/mounts', encoding='utf-8')]
        where = next((m[1] for m in mounts if m[2] == 'cgroup2'), None)
        if not where:
            raise RuntimeError('no control groups of version 2 are mounted here')
        self.group = os.path.join(where, f'penfold-machine-{os.getpid()}')

    def __enter__(self):
        os.mkdir(self.group)
        unshare = ['unshare', '--mount', '--pid', '--fork', '--kill-child', '--net', '--uts', '--ipc', '--cgroup', 'sh', '-ec', BOOT]
        enter_group = ['sh', '-c', f'echo $$ >{self.group}/cgroup.procs; exec "$@"', 'group']
        self.process = subprocess.Popen([*enter_group, *unshare, 'boot', self.root], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        try:
            self.wait_until_running()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_until_running(self):
        end = time.monotonic() + BOOT_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f'systemd does not start in {self.root}')
            done = self.run(['systemctl', 'is-system-running'], check=False, log=subprocess.DEVNULL) if self.init() else None
            if done and done.returncode == 0:
                return
            time.sleep(0.2)

    def init(self):
        """The process id that its process 1 has outside; None before that has become systemd."""
        with contextlib.suppress(OSError, ValueError):
            with open(f'/proc/{self.process.pid}/task/{self.process.pid}/children', encoding='ascii') as f:
                pid = int(f.read())
            with open(f'/proc/{pid}/comm', encoding='ascii') as f:
                return pid if f.read() == 'systemd\n' else None
        return None

    def run(self, args, check=True, timeout=600, log=None):
        enter = ['nsenter', '--target', str(self.init()), '--mount', '--uts', '--ipc', '--net', '--pid', '--cgroup', '--root', '--wd']
        env = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8',
               'DEBIAN_FRONTEND': 'noninteractive'}
        return subprocess.run([*enter, *args], env=env, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=subprocess.STDOUT if log else None, check=check, timeout=timeout)

    def __exit__(self, *_):
        """With process 1 every process of the machine ends."""
        self.process.kill()
        self.process.wait()
        end = time.monotonic() + 20  # the groups are empty a moment later
        while os.path.exists(self.group) and time.monotonic() < end:
            for folder, _, _ in os.walk(self.group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
            time.sleep(0.05)


def install(root, *packages, log=None):
    run(root, ['apt-get', 'update', '-q'], log=log)
    run(root, ['apt-get', 'install', '-y', '-q', '--no-install-recommends', *packages], log=log)


def remove(root):
    subprocess.run(['rm', '-rf', '--one-file-system', root], check=False)
