"""Between the last byte of a message and its 250 stands a completed sync of every file that its delivery wrote to; for a small
message that comes alone, the log of rows alone, which then has its body too.

tests/crash/faultfs.so writes down, in order, each write, sync and socket write of the server while one client delivers message after
message. The negative controls take one sync out of that record and must be caught.
"""
import os
import re
import tempfile

import pytest

from harness import mails, wire
from harness.host import Host

BUILD = os.path.abspath(os.environ.get('PENFOLD_BUILD', 'build'))
LINE = re.compile(r'(\S+) (\d+) (\d+) (\S+) (-?\d+) (.*?) (-?\d+) (.*)')
LOGS = re.compile(r'/db/(LOG|[^/]*\.dbtmp|OPTIONS[^/]*)')  # RocksDB's notes about itself, which hold nothing of ours


def record(folder, messages):
    """Delivers them one after the other; the events from the first to the last, in order: (what, path, result, text)."""
    trace = os.path.join(folder, 'trace')
    data = os.path.join(folder, 'mail', 'data')
    with Host(os.path.join(folder, 'mail'), serve=False, settings='trace { keep = 0 }') as host:
        host.env.update(LD_PRELOAD=os.path.join(BUILD, 'tests', 'crash', 'faultfs.so'), PENFOLD_FAULT_DIR=data,
                        PENFOLD_FAULT_TRACE=trace)
        os.chmod(host.folder, 0o755)  # the layer names files by their whole paths
        host.start()
        with wire.smtp(host, timeout=60) as connection:
            for message in messages:
                wire.deliver(host, message, 'alice', wire=connection)
        host.stop()
    events = []
    with open(trace, encoding='utf-8', errors='replace') as f:
        for line in f:
            match = LINE.fullmatch(line.rstrip('\n'))
            assert match, f'not a line of a trace: {line!r}'
            events.append((match[4], match[6], int(match[7]), match[8]))
    return events


def is_answer(event, text):
    return event[0] == 'socket' and event[3].startswith(text)


def unsynced_at_acknowledgement(events):
    """For each 250 of a message: (the files written to since its 354, those of them not synced since their last write).

    What is written to the log behind a commit that was synced may wait: rows of caches are not synced by themselves."""
    found, dirty, written, proved, syncing, body = [], set(), set(), set(), {}, (None, 0)
    for event in events:
        what, path, result, _ = event
        if is_answer(event, '354'):
            written, proved = set(), set()
        elif is_answer(event, '250\\x202.0.0\\x20message'):
            found.append((set(written), dirty - proved))
        elif what == 'write' and not LOGS.search(path):
            dirty.add(path)
            written.add(path)
            if '/seg/' in path:
                body = (path, result)
            elif path.endswith('.log'):
                if result > body[1]:
                    dirty.discard(body[0])  # the log has those bytes, and is dirty now
                body = (None, 0)
            syncing.pop(path, None)  # a sync under way may not have this write in it
        elif what == 'sync-begin':
            syncing[path] = True
        elif what == 'sync-end' and result == 0 and syncing.pop(path, None):
            dirty.discard(path)
            if path.endswith('.log') and path in written:
                proved.add(path)
    return found


MESSAGES = [mails.sized(size) for size in (300, 4096, 60000, 200000, 300 * 1024, 2 << 20)] * 3


@pytest.fixture(scope='module')
def events():
    with tempfile.TemporaryDirectory(prefix='penfold-trace-') as folder:
        os.chmod(folder, 0o755)
        yield record(folder, MESSAGES)


def test_every_acknowledgement_comes_after_its_sync(events):
    found = unsynced_at_acknowledgement(events)
    assert len(found) == len(MESSAGES)
    for message, (written, unsynced) in zip(MESSAGES, found):
        assert any('/db/' in path for path in written), f'{len(message)} bytes: no commit is seen in {written}'
        assert any('/seg/' in path or '/big/' in path or '#' in path or 'deleted' in path for path in written), \
            f'{len(message)} bytes: no body is seen in {written}'
        assert not unsynced, f'{len(message)} bytes: acknowledged with {unsynced} unsynced'


@pytest.mark.parametrize('part', ['/db/', '/seg/'])
def test_negative_control_a_sync_less(events, part):
    """The same record without the syncs of one kind of file."""
    cut = [e for e in events if not (e[0].startswith('sync') and part in e[1])]
    assert len(cut) < len(events)
    assert any(unsynced for _, unsynced in unsynced_at_acknowledgement(cut))


def test_negative_control_a_sync_too_early(events):
    """A sync that began before the last write does not count."""
    early = []
    for event in events:
        if event[0] == 'write' and early and early[-1][0] == 'sync-begin':
            early.append(event)
        elif event[0] == 'sync-begin' and early and early[-1][0] == 'write' and early[-1][1] == event[1]:
            early.insert(len(early) - 1, event)
        else:
            early.append(event)
    assert any(unsynced for _, unsynced in unsynced_at_acknowledgement(early))
