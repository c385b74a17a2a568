"""penfold migrate between two data folders: what arrives, what is refused, and what a kill leaves."""
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import time

import pytest

from harness import imap, wire
from harness.host import DOMAIN, ServerError
from harness.load import Load
from harness.moving import LARGE, USERS, carry_killed, digests, fill, second, seen, serve_on


def test_everything_is_carried(make_host):
    host = make_host(users=USERS)
    fill(host)
    before = seen(host)
    host.stop()
    data = os.path.join(host.folder, 'data')
    files = digests(data)
    other = second(host)
    said = host.run('migrate', other)
    assert 'carried and compared' in said and 'all is there' in said
    assert digests(data) == files, 'the first store was changed'
    assert 'are the same' in host.run('migrate', other, '--verify')
    assert 'carried and compared: 0 rows' in host.run('migrate', other)
    owner = os.stat(data).st_uid
    for at, folders, names in os.walk(os.path.join(host.folder, 'second')):
        assert all(os.lstat(os.path.join(at, name)).st_uid == owner for name in folders + names)
    host.conf = other
    assert 'faults' in host.run('fsck')
    shutil.rmtree(data)
    host.start()
    assert seen(host) == before
    host.run('account', 'restore', f'carol@{DOMAIN}')
    wire.deliver(host, b'Subject: new\r\n\r\nx\r\n', 'alice', 'carol')
    highest = max(uid for uid, _, _ in before[0]['alice']['INBOX'])
    end = time.monotonic() + 60
    while not [m for m in imap.holds(host, 'alice') if m.subject == 'new' and m.uid > highest]:
        assert time.monotonic() < end
        time.sleep(0.05)
    host.stop()
    assert 'faults' in host.run('fsck')


def test_how_far_it_is(make_host):
    """On a terminal; elsewhere nothing but the result."""
    host = make_host()
    host.stop()
    other = second(host)
    for words, name in (((), 'migrate'), (('--verify',), 'compare')):
        ours, theirs = pty.openpty()
        done = subprocess.run([host.binary, 'migrate', other, *words, '-c', host.conf], stderr=theirs, stdout=subprocess.DEVNULL,
                              timeout=60, check=False)
        os.close(theirs)
        shown = b''
        with os.fdopen(ours, 'rb', buffering=0) as terminal, contextlib.suppress(OSError):  # EIO: nobody has the other end
            while more := terminal.read(4096):
                shown += more
        shown = shown.decode()
        assert done.returncode == 0 and shown.startswith(f'\r{name}: 0 of 2 accounts, 0 %'), shown
        assert shown.endswith(f'\r{name}: 2 of 2 accounts, 100 %\r\n'), shown
    done = host.run('migrate', other, '--verify', check=False)
    assert done.stderr == ''


def test_killed_at_many_moments(make_host):
    """After each kill another run goes on, and no server and no command takes the half for a whole."""
    host = make_host(users=USERS)
    with Load(host, ['alice', 'bob', 'carol'], threads=4, size=2048) as load:
        load.wait_for(400)
    fill(host)
    before = seen(host)
    host.stop()
    other, first = second(host), host.conf
    assert carry_killed(host, other, 0.02, 1.1)
    assert 'are the same' in host.run('migrate', other, '--verify')
    host.conf = other
    assert 'faults' in host.run('fsck')
    serve_on(host, other)
    assert seen(host) == before
    host.stop()
    # A copy in use is nobody's target any more, and no source of what it came from.
    host.conf = first
    done = host.run('migrate', other, check=False)
    assert done.returncode == 1 and 'it has to be a store of its own' in done.stderr


def test_the_queue_goes_with_it(make_host):
    """A server is killed while mail to two waits in its queue: all that was acknowledged is delivered from the copy, once."""
    host = make_host()
    with Load(host, ['alice', 'bob'], threads=4, groups=(2,)) as load:
        load.wait_for(60)
        host.abandon()
    other = second(host)
    host.run('migrate', other)
    host.conf = other
    host.expect_alarm = True  # the first server was killed
    host.start()
    end = time.monotonic() + 60
    while json.loads(host.run('queue', 'list', '--json')):
        assert time.monotonic() < end
        time.sleep(0.05)
    load.verify({user: [m.data for m in imap.holds(host, user)] for user in ('alice', 'bob')})


def test_again_with_what_has_changed(make_host):
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'alice')
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'bob')
    host.stop()
    other, first = second(host), host.conf
    assert 'run it without --account' in host.run('migrate', other, '--account', f'bob@{DOMAIN}')
    host.conf = other
    done = host.run('account', 'list', check=False)
    assert done.returncode == 1 and 'half a copy' in done.stderr
    with pytest.raises(ServerError):
        host.start()
    assert 'event=store-refused' in host.log_text() and 'half a copy' in host.log_text()
    host.expect_alarm = True
    host.abandon()
    host.conf = first
    host.run('migrate', other)
    host.start()
    wire.deliver(host, b'Subject: two\r\n\r\nx\r\n', 'alice')
    before = seen(host)
    host.stop()
    assert host.run('migrate', other, '--verify', check=False).returncode == 1
    said = host.run('migrate', other)
    assert re.search(r' 2 bodies', said), said  # alice's alone
    serve_on(host, other)
    assert seen(host) == before


def test_what_is_refused(make_host):
    host = make_host()
    other = second(host)
    for words in ((), ('--verify',), (other, 'more'), (other, '--account')):
        assert host.run('migrate', *words, check=False).returncode == 2
    done = host.run('migrate', other, check=False)
    assert done.returncode == 1 and 'data: a server is running on it' in done.stderr
    host.stop()
    assert 'it names the same store' in host.run('migrate', host.conf, check=False).stderr
    assert 'there is no such account' in host.run('migrate', other, '--account', f'nobody@{DOMAIN}', check=False).stderr
    shutil.rmtree(os.path.join(host.folder, 'second'))
    # A server on the other side; then a store with a domain.
    shutil.copytree(os.path.join(host.folder, 'data'), os.path.join(host.folder, 'second'))
    if os.geteuid() == 0:
        owner = os.stat(os.path.join(host.folder, 'data'))
        for at, folders, names in os.walk(os.path.join(host.folder, 'second')):
            for name in ['.', *folders, *names]:
                os.chown(os.path.join(at, name), owner.st_uid, owner.st_gid)
    first = host.conf
    host.conf = other
    host.start()
    host.conf = first
    done = host.run('migrate', other, check=False)
    assert done.returncode == 1 and 'second: a server is running on it' in done.stderr
    host.conf = other
    host.stop()
    host.conf = first
    done = host.run('migrate', other, check=False)
    assert done.returncode == 1 and 'there is mail or an address in it already' in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root')
def test_two_owners(make_host):
    """Root carries it, and everybody keeps what is his."""
    host = make_host()
    wire.deliver(host, LARGE, 'alice')
    host.stop()
    other, data = second(host), os.path.join(host.folder, 'data')
    files, owner = digests(data), os.stat(data).st_uid
    os.mkdir(os.path.join(host.folder, 'second'), 0o700)
    os.chown(os.path.join(host.folder, 'second'), 65534, 65534)
    host.run('migrate', other)
    for folder, uid in (('data', owner), ('second', 65534)):
        for at, folders, names in os.walk(os.path.join(host.folder, folder)):
            assert {os.lstat(os.path.join(at, name)).st_uid for name in [*folders, *names]} <= {uid}, at
    assert digests(data) == files
    host.conf = other
    assert 'faults' in host.run('fsck')
