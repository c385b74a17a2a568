"""The build folders: what each is for, how it is set up, and where its programs lie."""
import atexit
import functools
import glob
import os
import shutil
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SANITIZE = ['-Db_sanitize=address,undefined', '--buildtype=debug']
BUILDS = {
    # folder: (compiler, options)
    'build': ('gcc', []),
    'build-asan': ('gcc', SANITIZE),
    'build-tsan': ('gcc', ['-Db_sanitize=thread', '-Db_lundef=false', '--buildtype=debug', '-Doptimization=1']),
    'build-clang': ('clang-14', SANITIZE + ['-Db_lundef=false', '-Dfuzz=true']),
}


def setup_command(name):
    """The command that configures a build folder, or None when it is configured already."""
    if os.path.exists(os.path.join(ROOT, name, 'build.ninja')):
        return None
    return ['meson', 'setup', os.path.join(ROOT, name), ROOT] + BUILDS[name][1]


def environment(name):
    env = dict(os.environ)
    env['CC'] = BUILDS[name][0]
    return env


def make(name, jobs=None, log=None):
    """Configures (when needed) and builds; CalledProcessError when that fails."""
    command = setup_command(name)
    if command:
        subprocess.run(command, env=environment(name), check=True, stdout=log, stderr=log)
    subprocess.run(['ninja', '-C', os.path.join(ROOT, name), '-j', str(jobs or os.cpu_count())],
                   env=environment(name), check=True, stdout=log, stderr=log)


def penfold(name):
    """The server program of a build folder."""
    for pattern in ('penfold', 'src/penfold', 'src/daemon/penfold'):
        for path in glob.glob(os.path.join(ROOT, name, pattern)):
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    raise SystemExit(f'{name}: no penfold program there; run make')


def is_for_all(path):
    """Whether every user gets to it: it is no good in a folder of root's own."""
    while path != '/':
        if not os.stat(path).st_mode & (0o001 if os.path.isdir(path) else 0o004):
            return False
        path = os.path.dirname(path)
    return True


@functools.lru_cache(maxsize=None)
def plugin(name):
    """The engine on Ceph of a build folder; what root starts loads it as another user, so that may be a copy until the end."""
    path = os.path.join(ROOT, name, 'penfold-rados.so')
    if not os.path.isfile(path):
        raise SystemExit(f'{name}: no penfold-rados.so there; run make deps and make')
    if os.geteuid() != 0 or is_for_all(path):
        return path
    folder = tempfile.mkdtemp(prefix='penfold-plugin-')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)
    os.chmod(shutil.copy(path, folder), 0o755)
    return os.path.join(folder, 'penfold-rados.so')
