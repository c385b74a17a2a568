"""The build folders: what each is for, how it is set up, and where its programs lie."""
import glob
import os
import subprocess

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


def plugin(name):
    """The engine on Ceph of a build folder."""
    path = os.path.join(ROOT, name, 'penfold-rados.so')
    if os.path.isfile(path):
        return path
    raise SystemExit(f'{name}: no penfold-rados.so there; run make deps and make')
