"""The fault sweep: every write, sync, name and allocation of kv_local in turn fails, is cut short or kills the process.

After each run the store is opened without the layer and checked against the invariants of docs/internals/store.md: every
acknowledged commit is there byte for byte, no half transaction, versions right, no dangling reference, fsck clean, and it can be
written to again. The build folder is $PENFOLD_BUILD. PENFOLD_FULL=1: every call; otherwise a sample of them.
"""
import concurrent.futures
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

BUILD = pathlib.Path(os.environ.get('PENFOLD_BUILD', 'build')).resolve() / 'tests' / 'crash'
FULL = os.environ.get('PENFOLD_FULL') == '1'
COMMITS = '24'
ALONE = ('alone', '150')   # two phases of 75: more than there may be bodies that stand in rows, so each phase has a sync for them
ROWS_MAX = 64        # REDO_ROWS of kv_local_int.h
SAMPLES = 8          # calls tried of each row below, when not all
PARALLEL = 3
STOPPED, NOT_OPENED = 3, 4   # what the workload's result means, see workload.c
# What a power cut leaves is the layer's doing, so the files may as well be in memory.
WHERE = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
# RocksDB, built with assertions, aborts after a failed write to its own log, which holds nothing of ours.
ALL_BUT_LOG = '!/db/LOG'

# kind, action, times, are unsynced bytes dropped
ROWS = [
    ('write', 'eio', 1, False), ('write', 'enospc', 1, False), ('write', 'enospc', 30, False), ('write', 'short', 1, False),
    ('write', 'kill', 1, False), ('write', 'torn', 1, False), ('write', 'kill', 1, True), ('write', 'after', 1, True),
    ('sync', 'eio', 1, False), ('sync', 'kill', 1, False), ('sync', 'after', 1, False), ('sync', 'kill', 1, True),
    ('sync', 'after', 1, True),
    ('open', 'eio', 1, False), ('open', 'enospc', 1, False), ('open', 'kill', 1, True), ('open', 'after', 1, True),
    ('rename', 'eio', 1, False), ('rename', 'kill', 1, False), ('rename', 'after', 1, False), ('rename', 'kill', 1, True),
    ('rename', 'after', 1, True),
    ('link', 'eio', 1, False), ('link', 'enospc', 1, False), ('link', 'after', 1, False), ('link', 'after', 1, True),
    ('unlink', 'eio', 1, False), ('unlink', 'kill', 1, True), ('unlink', 'after', 1, False), ('unlink', 'after', 1, True),
    ('alloc', 'enospc', 1, False), ('alloc', 'eio', 1, False), ('alloc', 'kill', 1, True),
    ('truncate', 'eio', 1, False), ('truncate', 'after', 1, True),
    ('mkdir', 'eio', 1, False), ('mkdir', 'enospc', 1, False), ('mkdir', 'kill', 1, True), ('mkdir', 'after', 1, True),
]


class Run:
    """One run of the workload under the layer, in a folder of its own, or in that of an earlier one, which it goes on with."""

    def __init__(self, stdout=subprocess.PIPE, what=('run', COMMITS), after=None, **settings):
        self.top = after.top if after else pathlib.Path(tempfile.mkdtemp(prefix='penfold-sweep-', dir=WHERE))
        self.dir = self.top / 'data'
        self.before = after.result.stdout + b'cut\n' if after else b''
        # With a sanitizer in the program its library wants to be first, which it need not be for this layer.
        env = dict(os.environ, LD_PRELOAD=str(BUILD / 'faultfs.so'), PENFOLD_FAULT_DIR=str(self.dir),
                   ASAN_OPTIONS='verify_asan_link_order=0:detect_leaks=0')
        env.update({'PENFOLD_FAULT' + ('_' + k if k else ''): str(v) for k, v in settings.items()})
        self.result = subprocess.run([BUILD / 'workload', what[0], self.dir, what[1]], env=env, stdout=stdout,
                                     stderr=subprocess.PIPE, timeout=60)

    def check(self):
        """What is broken in the store; empty when nothing is."""
        done = subprocess.run([BUILD / 'workload', 'check', self.dir], input=self.before + self.result.stdout, capture_output=True,
                              timeout=60)
        return '' if done.returncode == 0 else f'check ends with {done.returncode}: {done.stderr.decode()}'

    def remove(self):
        shutil.rmtree(self.top)


def fault(kind, n, action, times=1, drop=False, path=ALL_BUT_LOG):
    settings = {'': f'{kind}:{n}:{action}:{times}', 'PATH': path}
    if drop:
        settings['DROP'] = 1
    return settings


def count(path=ALL_BUT_LOG, **options):
    """How many calls of each kind a run makes when nothing fails."""
    with tempfile.NamedTemporaryFile() as file:
        run = Run(COUNTS=file.name, PATH=path, **options)
        found = {kind: int(n) for kind, n in (line.split() for line in pathlib.Path(file.name).read_text().splitlines())}
    assert run.result.returncode == 0, run.result.stderr.decode()
    assert run.check() == ''
    run.remove()
    return found


@pytest.fixture(scope='module')
def counts():
    return count()


def numbers(count):
    if FULL or count <= SAMPLES:
        return range(1, count + 1)
    return sorted({1 + i * (count - 1) // (SAMPLES - 1) for i in range(SAMPLES)})


def one(kind, n, action, times, drop, path=ALL_BUT_LOG, **options):
    run = Run(**options, **fault(kind, n, action, times, drop, path))
    code = run.result.returncode
    what = f'{kind} {n} {action} x{times} drop={drop} {path}: '
    if code not in (0, STOPPED, NOT_OPENED, -signal.SIGKILL):
        return what + f'the run ends with {code}: {run.result.stderr.decode()}'
    broken = run.check()
    if broken:
        return what + broken + run.result.stderr.decode()  # the folder stays, to be looked at
    run.remove()
    return ''


@pytest.mark.parametrize('kind,action,times,drop', ROWS, ids=lambda v: str(v))
def test_every_fault_leaves_a_sound_store(counts, kind, action, times, drop):
    assert counts[kind] > 0
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [f for f in pool.map(lambda n: one(kind, n, action, times, drop), numbers(counts[kind])) if f]
    assert not faults, '\n'.join(faults)


# Of those kinds that messages which come alone meet after the start, in segments and in the log of rows.
ALONE_ROWS = [row for row in ROWS if row[0] in ('write', 'sync') and row[2] == 1]


@pytest.mark.parametrize('path', ['/seg/', '.log'])
@pytest.mark.parametrize('kind,action,times,drop', ALONE_ROWS, ids=lambda v: str(v))
def test_every_fault_in_the_way_of_lone_messages(path, kind, action, times, drop):
    """Also those near the commit whose group syncs the segment at last and takes the rows away."""
    found = count(path, what=ALONE)[kind]
    assert found > 0
    tried = {n for n in (*numbers(found)[::1 if FULL else 2], *range(ROWS_MAX - 1, ROWS_MAX + 3)) if n <= found}
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        faults = [f for f in pool.map(lambda n: one(kind, n, action, times, drop, path, what=ALONE), sorted(tried)) if f]
    assert not faults, '\n'.join(faults)


def cut_with_rows():
    """What a power cut leaves in the middle of lone messages, bodies that only rows have; how many were acknowledged."""
    run = Run(what=ALONE, **fault('sync', 41, 'after', drop=True, path='.log'))
    assert run.result.returncode == -signal.SIGKILL
    acknowledged = run.result.stdout.count(b'done')
    assert acknowledged >= 30 and sum(f.stat().st_size for f in (run.dir / 'seg').iterdir()) < 30 * 100
    return run, acknowledged


def test_a_power_cut_takes_no_body_of_a_lone_message():
    run, _ = cut_with_rows()
    assert run.check() == ''
    run.remove()


@pytest.mark.parametrize('kind,action,drop', [(kind, action, drop) for kind, action, _, drop in ALONE_ROWS], ids=lambda v: str(v))
def test_every_fault_while_bodies_are_written_again(kind, action, drop):
    """The next start gives them to their segment; whatever goes wrong then or soon after it, they are there at the one after it."""
    first, rows = cut_with_rows()
    for n in (1, 2, 3, 4, *range(rows, rows + 6)) if kind == 'write' else range(1, 6):
        copy = pathlib.Path(tempfile.mkdtemp(prefix='penfold-sweep-', dir=WHERE))
        shutil.copytree(first.dir, copy / 'data')
        again = Run.__new__(Run)
        again.top, again.result = copy, first.result
        run = Run(what=ALONE, after=again, **fault(kind, n, action, 1, drop, '/seg'))
        assert run.result.returncode in (0, STOPPED, NOT_OPENED, -signal.SIGKILL), run.result.stderr.decode()
        if n == 1:
            assert run.result.returncode != 0 or action == 'short', 'no fault was met'
        assert run.check() == '', f'{kind} {n}: {run.result.stderr.decode()}'
        run.remove()
    first.remove()


@pytest.mark.parametrize('part', ['/seg/', '/big/', '/db/0'])
def test_a_failed_sync_stops_writing(part):
    """In a segment, a large blob, the log of rows: no later commit is acknowledged, and the log says why."""
    settings = fault('sync', 6, 'eio')
    settings['PATH'] = part
    run = Run(**settings)
    assert run.result.returncode == STOPPED, run.result.stderr.decode()
    assert b'store-readonly' in run.result.stderr
    assert run.check() == ''
    run.remove()


def test_no_space_is_over_when_there_is_space_again():
    settings = fault('write', 10, 'enospc', times=5)
    settings['PATH'] = '/seg/'
    run = Run(**settings)
    assert run.result.returncode == 0, run.result.stderr.decode()
    assert run.check() == ''
    run.remove()


@pytest.mark.parametrize('part', ['/', '/seg/', '/db/', '/big/'])
def test_negative_control_a_missing_sync_is_caught(counts, part):
    """With syncs that do nothing, everywhere or in one part of the store, a power cut loses mail, and the check says so."""
    killed = lost = 0
    for tenths in (3, 4, 5, 6, 7):
        run = Run(NOSYNC=part, **fault('write', counts['write'] * tenths // 10, 'kill', drop=True))
        if run.result.returncode == -signal.SIGKILL:
            killed += 1
            lost += run.check() != ''
        run.remove()
    assert killed > 0 and lost > 0


def unsynced_acknowledgements(**settings):
    """Acknowledgements on a socket, and how many of them came without these since the partition's last one: a completed sync of
    the blob's bytes, or a write of them to the log of rows too; then a sync of that log."""
    ours, theirs = socket.socketpair()
    with tempfile.NamedTemporaryFile() as trace, ours:
        with theirs:
            run = Run(stdout=theirs, TRACE=trace.name, **settings)
        lines = pathlib.Path(trace.name).read_text().splitlines()
    run.remove()
    last, acknowledged, unsynced = {}, 0, 0
    blob_sync, row_syncs = [], []      # places in the trace
    waiting = 0                        # bytes written to a segment that no sync has reached
    for at, line in enumerate(lines):
        _, _, _, event, _, path, result, *text = line.split(' ')
        if event == 'sync-end' and result == '0' and ('/seg/' in path or '/big/' in path):
            blob_sync.append(at)
        elif event == 'sync-end' and result == '0' and path.endswith('.log'):
            row_syncs.append(at)
        elif event == 'write' and '/seg/' in path:
            waiting = int(result)
        elif event == 'write' and path.endswith('.log'):
            if 0 < waiting < int(result):
                blob_sync.append(at)
            waiting = 0
        elif event == 'socket':
            part = text[0].split('\\x20')[1]
            blob = next((b for b in blob_sync if b > last.get(part, -1)), None)
            acknowledged += 1
            unsynced += blob is None or not any(r > blob for r in row_syncs)
            last[part] = at
    return acknowledged, unsynced


def test_a_completed_sync_stands_before_each_acknowledgement():
    acknowledged, unsynced = unsynced_acknowledgements()
    assert acknowledged == 4 * int(COMMITS) and unsynced == 0
    acknowledged, unsynced = unsynced_acknowledgements(what=ALONE)
    assert acknowledged == int(ALONE[1]) and unsynced == 0


@pytest.mark.parametrize('part', ['/', '/db/'])
def test_negative_control_an_acknowledgement_without_a_sync_is_seen(part):
    acknowledged, unsynced = unsynced_acknowledgements(NOSYNC=part)
    assert acknowledged == 4 * int(COMMITS) and unsynced == acknowledged
