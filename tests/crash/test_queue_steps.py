"""The queue, killed at every write and sync of whatever is done to its items: added, settled with reports, retried, held, released,
returned, removed, taken over by another node. Afterwards all that was acknowledged is there, what was under way is there whole or not
at all, and every row, reference and lease fits (queueload.c). A sample of the calls; PENFOLD_FULL=1: a much larger one.
"""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest

BUILD = pathlib.Path(os.environ.get('PENFOLD_BUILD', 'build')).resolve() / 'tests' / 'crash'
FULL = os.environ.get('PENFOLD_FULL') == '1'
WHERE = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
STEPS = {'plain': '150', 'leases': '40'}
SAMPLES = {'plain': 12, 'leases': 6}
PARALLEL = 3
STOPPED, NOT_OPENED = 3, 4
ALL_BUT_LOG = '!/db/LOG'
# kind, action, are unsynced bytes dropped
ROWS = [('write', 'kill', False), ('write', 'torn', False), ('write', 'after', True), ('sync', 'kill', True), ('sync', 'after', False),
        ('sync', 'after', True), ('sync', 'eio', False)]


class Run:
    def __init__(self, mode, **settings):
        self.top = pathlib.Path(tempfile.mkdtemp(prefix='penfold-steps-', dir=WHERE))
        env = dict(os.environ, LD_PRELOAD=str(BUILD / 'faultfs.so'), PENFOLD_FAULT_DIR=str(self.top / 'data'),
                   PENFOLD_FAULT_PATH=ALL_BUT_LOG, ASAN_OPTIONS='verify_asan_link_order=0:detect_leaks=0')
        env.update({'PENFOLD_FAULT' + ('_' + key if key else ''): str(value) for key, value in settings.items()})
        self.done = subprocess.run([BUILD / 'queueload', 'run', self.top / 'data', STEPS[mode], mode], env=env, capture_output=True,
                                   timeout=120, check=False)

    def check(self, lines=None):
        """What is wrong with the queue; empty when nothing is."""
        done = subprocess.run([BUILD / 'queueload', 'check', self.top / 'data'], input=self.done.stdout if lines is None else lines,
                              capture_output=True, timeout=120, check=False)
        return '' if done.returncode == 0 else f'check ends with {done.returncode}: {done.stderr.decode()}'

    def remove(self):
        shutil.rmtree(self.top)


@pytest.fixture(scope='module')
def counts():
    """How many calls of each kind a run makes when nothing fails; and then nothing is wrong."""
    found = {}
    for mode, steps in STEPS.items():
        with tempfile.NamedTemporaryFile() as file:
            run = Run(mode, COUNTS=file.name)
            assert run.done.returncode == 0, run.done.stderr.decode()
            assert run.done.stdout.count(b'done ') == int(steps) and run.check() == ''
            found[mode] = {kind: int(n) for kind, n in (line.split() for line in pathlib.Path(file.name).read_text().splitlines())}
        run.remove()
    return found


def one(mode, kind, n, action, drop):
    run = Run(mode, **{'': f'{kind}:{n}:{action}'}, **({'DROP': 1} if drop else {}))
    what = f'{mode} {kind} {n} {action} drop={drop}: '
    if run.done.returncode not in (0, STOPPED, NOT_OPENED, -signal.SIGKILL):
        return what + f'the run ends with {run.done.returncode}: {run.done.stderr.decode()}'
    broken = run.check()
    if broken:
        return what + broken  # the folder stays, to be looked at
    run.remove()
    return ''


@pytest.mark.parametrize('mode', STEPS)
@pytest.mark.parametrize('kind,action,drop', ROWS, ids=lambda v: str(v))
def test_every_step_is_done_or_not(counts, mode, kind, action, drop):
    count = counts[mode][kind]
    assert count > 50
    wanted = 150 if FULL else SAMPLES[mode]
    numbers = sorted({1 + i * (count - 1) // (wanted - 1) for i in range(wanted)})
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [f for f in pool.map(lambda n: one(mode, kind, n, action, drop), numbers) if f]
    assert not faults, '\n'.join(faults)


def test_negative_control_a_step_that_is_missing_is_seen(counts):
    """One more was said to be acknowledged than was done; one less than had been, before the last."""
    run = Run('plain', **{'': f'sync:{counts["plain"]["sync"] * 3 // 4}:kill'})
    lines = run.done.stdout.splitlines(keepends=True)
    assert run.done.returncode == -signal.SIGKILL and len(lines) > 10 and run.check() == ''
    whole = Run('plain')
    assert whole.check() == '' and 'not what was acknowledged' in whole.check(b''.join(whole.done.stdout.splitlines(keepends=True)[:-3]))
    more = b''.join(lines) + b''.join(b'done %d %s %s\n' % (len(lines) + n, b'0' * 31 + b'1', b'0' * 31 + b'2') for n in range(1, 4))
    assert 'not what was acknowledged' in run.check(more)
    run.remove()
    whole.remove()


def test_negative_control_acknowledged_before_it_is_on_the_disk(counts):
    """Syncs that do nothing, and power cuts: steps are missing."""
    lost = killed = 0
    for tenths in (6, 7, 8, 9):
        run = Run('plain', NOSYNC='/', DROP=1, **{'': f'write:{counts["plain"]["write"] * tenths // 10}:kill'})
        killed += run.done.returncode == -signal.SIGKILL
        lost += run.check() != ''
        run.remove()
    assert killed and lost
