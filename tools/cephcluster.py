"""A Ceph cluster to throw away: one monitor and some OSDs on 127.0.0.1, all its files below one folder.

What tools/cluster, the tests and make bench-cluster use. It needs the packages of the kind ceph in tools/packages.txt, and no root, device
or systemd. cephx guards every connection. The daemons are processes of their own that outlive whoever started them; each is known by its id
and the time of its start, so that a signal never meets another process.

There are two pools, as docs/ops/ceph.md wants them: INDEX, replicated, and BODIES, erasure-coded; and the user client.penfold, who may
do in them what that page says.
"""
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid

INDEX, BODIES, USER = 'penfold', 'penfold-bodies', 'client.penfold'
MARK = 'cluster.json'  # proves that a folder is ours, and keeps the options
OPTIONS = {'port': 0, 'osds': 3, 'memory': False, 'gigabytes': 8, 'groups': 8, 'grace': 20, 'manager': False}
PROGRAMS = ('ceph-mon', 'ceph-osd', 'monmaptool')
PORTS = range(7400, 9950, 50)  # below those that tests/harness/host.py takes
PATH_MOST = 85  # a socket's path is limited to 107 bytes
WAIT_SECONDS = 60

CONF = '''\
[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{port}
keyring = {folder}/keyring
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_ipv6 = false
ms_bind_msgr1 = false
ms_bind_port_min = {first_port}
ms_bind_port_max = {last_port}
ms_async_op_threads = 2
# There is one host: copies are spread over OSDs.
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 3
osd_pool_default_min_size = 2
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_delete = true
mon_osd_reporter_subtree_level = osd
# An OSD that hangs is reported down after so long; reports and their judgement are not held back further.
osd_heartbeat_grace = {grace}
osd_heartbeat_interval = {interval}
osd_mon_report_interval = 1
mon_tick_interval = 1
# One that is down stays in: no data moves during a test.
mon_osd_down_out_interval = 3600

[client]
log_to_stderr = false

[client.penfold]
keyring = {folder}/penfold.keyring

[mon]
mon_data = {folder}/mon.a
mon_initial_members = a
mon_cluster_log_file = {folder}/log/cluster.log
mon_data_avail_warn = 3
mon_data_avail_crit = 1
mon_memory_target = 268435456
mon_osd_cache_size_min = 16777216
rocksdb_cache_size = 33554432
# A new map is out within a fraction of a second.
paxos_propose_interval = 0.2

[osd]
osd_data = {folder}/osd.$id
osd_objectstore = {store}
osd_class_update_on_start = false
crush_location = root=default host=loopback
osd_memory_target = 939524096
bluestore_cache_autotune = false
bluestore_cache_size = 100663296
bluestore_fsck_on_mkfs = false
bluestore_block_create = true
bluestore_block_size = {bytes}
bluestore_block_db_create = false
bluestore_block_wal_create = false
memstore_device_bytes = {bytes}
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_min_pg_log_entries = 2000
osd_max_pg_log_entries = 4000
osd_pg_log_dups_tracked = 500
osd_scrub_load_threshold = 100
# A file counts as a hard disk, for which recovery would pause after every object; and there is little of it.
osd_max_backfills = 4
osd_recovery_max_active_hdd = 10
osd_recovery_sleep_hdd = 0
osd_recovery_sleep_hybrid = 0
osd_delete_sleep_hdd = 0
osd_delete_sleep_hybrid = 0
'''
CONF_OF_DAEMONS = '''
[{kind}]
run_dir = {folder}/run
admin_socket = {folder}/run/$name.asok
log_file = {folder}/log/$name.log
crash_dir = {folder}/crash
log_to_stderr = false
err_to_stderr = true
log_max_recent = 500
debug_rocksdb = 1/1
debug_osd = 1/1
debug_bluestore = 1/1
debug_mon = 1/1
debug_paxos = 1/1
debug_ms = 0/0
'''
CONF_OF_MANAGER = '''mgr_data = {folder}/mgr.x
mgr_initial_modules =
mon_mgr_beacon_grace = 30
'''

# What a Penfold may do; docs/ops/ceph.md says why.
CAPS = {'mon': 'profile simple-rados-client-with-blocklist', 'osd': f'allow rwx pool={INDEX}, allow rwx pool={BODIES}'}
CAPS_OF = {
    'client.admin': {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *'},
    USER: CAPS,
    'mon.': {'mon': 'allow *'},
    'mgr.x': {'mon': 'allow profile mgr', 'osd': 'allow *'},
    'osd': {'mon': 'allow profile osd', 'osd': 'allow *', 'mgr': 'allow profile osd'},
}


class ClusterError(Exception):
    """It did not start, or not become what was waited for."""


def missing():
    """What has to be installed before a cluster can be made, in words; empty when nothing."""
    lacking = [name for name in PROGRAMS if not program(name)]
    try:
        import rados  # noqa: F401  # pylint: disable=import-outside-toplevel
    except ImportError:
        lacking.append('the Python module rados')
    return f'{", ".join(lacking)} missing: run make deps' if lacking else ''


def program(name):
    return shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')


class Cluster:
    """`with Cluster(folder, grace=4) as cluster:` starts one, made when the folder has none, and stops it; destroy() removes it.

    Options are those of OPTIONS, kept in the folder for later; port 0 takes a free one. A daemon is named 'mon.a', 'osd.0' or 'mgr.x'.
    """

    def __init__(self, folder, **options):
        self.folder = os.path.realpath(folder)
        self.conf, self.keyring = self.path('ceph.conf'), self.path('penfold.keyring')
        self.options = dict(OPTIONS, **options)
        self.children = {}
        if os.path.exists(self.path(MARK)):
            with open(self.path(MARK), encoding='ascii') as f:
                self.options.update(json.load(f))
        elif os.path.isdir(self.folder) and os.listdir(self.folder):
            raise ClusterError(f'{self.folder} is not empty and holds no cluster of ours')
        if len(self.folder) > PATH_MOST:
            raise ClusterError(f'the path {self.folder} is too long')

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def path(self, *names):
        return os.path.join(self.folder, *names)

    @property
    def osds(self):
        return [f'osd.{n}' for n in range(self.options['osds'])]

    @property
    def daemons(self):
        return ['mon.a', *self.osds, *(['mgr.x'] if self.options['manager'] else [])]

    @property
    def pools(self):
        """Those of erasure coding want three OSDs."""
        return [INDEX, BODIES] if self.options['osds'] >= 3 else [INDEX]

    # --- daemons ---------------------------------------------------------------------------------------------------------

    def pid(self, name):
        """The daemon's process, or None when it does not run."""
        child = self.children.get(name)
        if child and child.poll() is not None:  # gathers it, when it is ours
            del self.children[name]
        with contextlib.suppress(OSError, ValueError):
            with open(self.path('run', name + '.pid'), encoding='ascii') as f:
                pid, ticks = map(int, f.read().split())
            if start_ticks(pid) == ticks:
                return pid
        return None

    def launch(self, name):
        """Starts one daemon when it does not run; does not wait until it is of use."""
        if self.pid(name):
            return
        kind, number = name.split('.')
        command = [program(f'ceph-{kind}'), '-f', '-i', number, '-c', self.conf]
        if kind == 'mon':
            command += ['--public-addr', f'v2:127.0.0.1:{self.options["port"]}']
        else:
            command += ['--keyring', self.path(name, 'keyring')]
        with open(self.path('log', name + '.out'), 'ab') as log:
            child = subprocess.Popen(command, cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                     start_new_session=True)
        self.children[name] = child
        write(self.path('run', name + '.pid'), f'{child.pid} {start_ticks(child.pid) or 0}\n')

    def signal(self, name, number):
        pid = self.pid(name)
        if not pid:
            raise ClusterError(f'{name} does not run')
        os.kill(pid, number)

    def hang(self, name):
        """It answers nothing and its connections stay open, as when a host is lost."""
        self.signal(name, signal.SIGSTOP)

    def resume(self, name):
        self.signal(name, signal.SIGCONT)

    def kill(self, name):
        """As a crash: its connections close."""
        self.signal(name, signal.SIGKILL)
        self.wait_gone(name, 10)

    def end(self, *names, seconds=15):
        """Orderly, all at once; by force when that takes too long."""
        running = [name for name in names if self.pid(name)]
        for number in (signal.SIGTERM, signal.SIGCONT):  # the second for one that hangs
            for name in running:
                with contextlib.suppress(ProcessLookupError, ClusterError):
                    self.signal(name, number)
        for name in running:
            try:
                self.wait_gone(name, seconds)
            except ClusterError:
                with contextlib.suppress(ClusterError):
                    self.kill(name)

    def wait_gone(self, name, seconds):
        end = time.monotonic() + seconds
        while self.pid(name):
            if time.monotonic() > end:
                raise ClusterError(f'{name} does not end')
            time.sleep(0.02)

    # --- making one ------------------------------------------------------------------------------------------------------

    def start(self):
        """Makes it when there is none, starts what does not run, and waits until all is of use. Can be repeated."""
        lacking = missing()
        if lacking:
            raise ClusterError(lacking)
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o711)  # a Penfold started by root runs as another user
        with locked(self.path('lock')):
            try:
                if os.path.exists(self.path('made')):
                    with free_port(self.options) if not self.pid('mon.a') else contextlib.nullcontext():
                        self.launch('mon.a')
                else:
                    self.begin()
                for name in self.daemons[1:]:
                    self.launch(name)
                self.wait_up()
                if not os.path.exists(self.path('made')):
                    self.make_pools()
                    write(self.path('made'), '')
                self.wait_clean()
            except BaseException:
                self.end(*self.daemons)
                raise

    def begin(self):
        """Everything until the OSDs can be started; what an earlier attempt left is removed."""
        self.end(*self.daemons)
        for name in os.listdir(self.folder):
            if name != 'lock':
                remove(self.path(name))
        for name in ('run', 'log', 'crash', *self.daemons):
            os.makedirs(self.path(name), mode=0o700)
        with free_port(self.options):
            write(self.path(MARK), json.dumps(self.options))
            self.write_files()
            self.run('monmaptool', '--create', '--fsid', self.fsid, '--addv', 'a', f'[v2:127.0.0.1:{self.options["port"]}]',
                     self.path('monmap'))
            self.run('ceph-mon', '--mkfs', '-i', 'a', '-c', self.conf, '--monmap', self.path('monmap'), '--keyring',
                     self.path('mon.keyring'))
            self.launch('mon.a')
            self.make_osds()

    def write_files(self):
        o, self.fsid = self.options, str(uuid.uuid4())
        values = {'folder': self.folder, 'fsid': self.fsid, 'port': o['port'], 'first_port': o['port'] + 1, 'last_port': o['port'] + 49,
                  'grace': o['grace'], 'interval': min(6, max(1, o['grace'] // 4)), 'bytes': o['gigabytes'] << 30,
                  'store': 'memstore' if o['memory'] else 'bluestore'}
        text = CONF + ''.join(CONF_OF_DAEMONS.replace('{kind}', kind) for kind in ('mon', 'osd', 'mgr')) + CONF_OF_MANAGER
        write(self.conf, text.format(**values))
        os.chmod(self.conf, 0o644)
        all_keys = keyring('mon.')
        for name, path in [('client.admin', 'keyring'), (USER, 'penfold.keyring'), *((d, f'{d}/keyring') for d in self.daemons[1:])]:
            text = keyring(name)
            all_keys += text
            write(self.path(path), text)
        os.chmod(self.keyring, 0o644)
        write(self.path('mon.keyring'), all_keys)

    def make_osds(self):
        ids = [str(uuid.uuid4()) for _ in self.osds]
        with self.admin() as ask:
            for number, name in enumerate(ids):
                ask({'prefix': 'osd new', 'uuid': name, 'id': number})
        made = [subprocess.Popen([program('ceph-osd'), '--mkfs', '-i', str(n), '-c', self.conf, '--keyring', self.path(f'osd.{n}', 'keyring'),
                                  '--osd-uuid', name], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for n, name in enumerate(ids)]
        said = [one.communicate()[1] for one in made]
        for one, text in zip(made, said):
            if one.returncode != 0:
                raise ClusterError(f'ceph-osd --mkfs: {text[-1000:]}')

    def make_pools(self):
        groups = self.options['groups']
        with self.admin() as ask:
            ask({'prefix': 'osd pool create', 'pool': INDEX, 'pg_num': groups, 'pgp_num': groups, 'size': min(3, len(self.osds))})
            if BODIES in self.pools:
                ask({'prefix': 'osd erasure-code-profile set', 'name': 'two-and-one',
                     'profile': ['k=2', 'm=1', 'crush-failure-domain=osd']})
                ask({'prefix': 'osd pool create', 'pool': BODIES, 'pool_type': 'erasure', 'pg_num': groups, 'pgp_num': groups,
                     'erasure_code_profile': 'two-and-one'})
                # With three OSDs one may be away only so; docs/ops/ceph.md says what a cluster in earnest does.
                ask({'prefix': 'osd pool set', 'pool': BODIES, 'var': 'min_size', 'val': '2'})
            for pool in self.pools:
                ask({'prefix': 'osd pool application enable', 'pool': pool, 'app': 'penfold'})

    def run(self, name, *args):
        done = subprocess.run([program(name), *args], env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS, check=False)
        if done.returncode != 0:
            raise ClusterError(f'{name}: {done.stdout[-1000:]}')

    # --- asking it -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def admin(self, seconds=WAIT_SECONDS):
        """A function that gives the monitor a command and returns its answer, and asks a placement group with pg=."""
        import rados  # pylint: disable=import-outside-toplevel
        handle, end = None, time.monotonic() + seconds
        while handle is None:
            handle = rados.Rados(conffile=self.conf, name='client.admin', conf={
                'client_mount_timeout': '3', 'rados_mon_op_timeout': '30', 'rados_osd_op_timeout': '3'})
            try:
                handle.connect()
            except rados.Error as error:
                handle = None
                if time.monotonic() > end:
                    raise ClusterError(f'no answer from the monitor: {error}') from None
                time.sleep(0.05)

        def ask(command, pg=None):
            text = json.dumps(dict(command, format='json'))
            try:
                status, out, why = handle.pg_command(pg, text, b'') if pg else handle.mon_command(text, b'')
            except rados.Error as error:
                raise ClusterError(f'{command["prefix"]}: {error}') from None
            if status:
                raise ClusterError(f'{command["prefix"]}: {why}')
            # Names of objects may stand in it as they are.
            return json.loads(out.decode('utf-8', 'replace'), strict=False) if out.strip() else None

        try:
            yield ask
        finally:
            handle.shutdown()

    def states(self, ask):
        """(how many OSDs are up, {state of a placement group: how many}). Each group's primary is asked: that needs no manager and is
        never old."""
        dump, states = ask({'prefix': 'osd dump'}), {}
        for pool in dump['pools']:
            for n in range(pool['pg_num']):
                group = f'{pool["pool"]}.{n:x}'
                try:
                    state = ask({'prefix': 'query', 'pgid': group}, pg=group)['state']
                except ClusterError:
                    state = 'unknown'
                states[state] = states.get(state, 0) + 1
        return sum(osd['up'] for osd in dump['osds']), states

    def wait_up(self, seconds=WAIT_SECONDS):
        """Until the monitor knows all OSDs as up."""
        end = time.monotonic() + seconds
        with self.admin(seconds) as ask:
            while sum(osd['up'] for osd in ask({'prefix': 'osd dump'})['osds']) < len(self.osds):
                if time.monotonic() > end:
                    raise ClusterError(f'the OSDs do not come up; see {self.path("log")}')
                time.sleep(0.05)

    def wait_clean(self, seconds=WAIT_SECONDS):
        """Until every placement group is active and clean: all copies are there and alike."""
        end = time.monotonic() + seconds
        while True:
            with self.admin(seconds) as ask:  # anew each time: a question to an OSD that has ended stays without an answer
                up, states = self.states(ask)
            if up == len(self.osds) and states and all(s.startswith('active+clean') for s in states):
                return
            if time.monotonic() > end:
                raise ClusterError(f'not clean: {up} of {len(self.osds)} OSDs up, groups {states}')
            time.sleep(0.1)

    def wait_down(self, name, seconds=WAIT_SECONDS):
        """Until the monitor knows that an OSD is down."""
        end = time.monotonic() + seconds
        number = int(name.split('.')[1])
        with self.admin(seconds) as ask:
            while ask({'prefix': 'osd dump'})['osds'][number]['up']:
                if time.monotonic() > end:
                    raise ClusterError(f'{name} stays up')
                time.sleep(0.1)

    # --- ending it -------------------------------------------------------------------------------------------------------

    def stop(self):
        """The monitor last: an OSD tells it that it goes."""
        self.end(*self.daemons[1:])
        self.end('mon.a')

    def destroy(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def start_ticks(pid):
    """When a process started, in ticks since the machine did; None when it has ended."""
    with contextlib.suppress(OSError):
        rest = read(f'/proc/{pid}/stat').rsplit(')', 1)[1].split()
        if rest[0] not in 'ZX':
            return int(rest[19])
    return None


def environment():
    """Nothing from outside points a daemon at another cluster."""
    return {k: v for k, v in os.environ.items() if k not in ('CEPH_ARGS', 'CEPH_CONF', 'CEPH_KEYRING')}


def keyring(name):
    """An entry with a new key. A key is its kind (1, AES), the time it was made, its length and itself, in base64."""
    secret = struct.pack('<HIIH', 1, int(time.time()), 0, 16) + os.urandom(16)
    caps = CAPS_OF[name if name in CAPS_OF else name.split('.')[0]]
    lines = [f'[{name}]', f'\tkey = {base64.b64encode(secret).decode()}', *(f'\tcaps {of} = "{what}"' for of, what in caps.items())]
    return '\n'.join(lines) + '\n'


@contextlib.contextmanager
def locked(path):
    with open(path, 'a', encoding='ascii') as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def free_port(options):
    """Sets options['port'] when it is 0. Others that choose wait until the one who chose listens."""
    with locked(os.path.join(tempfile.gettempdir(), f'penfold-ceph-ports-{os.getuid()}')):
        wanted = [options['port']] if options['port'] else PORTS
        options['port'] = next((port for port in wanted if is_free(port)), None)
        if options['port'] is None:
            raise ClusterError(f'port {wanted[0]} is in use' if len(wanted) == 1 else 'no free port')
        yield


def is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def read(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()


def write(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'w', encoding='utf-8') as f:
        f.write(text)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
