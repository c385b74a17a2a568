"""An account of 500,000 messages on a cluster (PENFOLD_MESSAGES: another number): filled by IMAP, an OSD lost on the way, then looked at from
all sides."""
import contextlib
import os
import re
import signal
import threading
import time

import pytest

from harness import imap, wire

TOGETHER, THREADS = 100, 4
TEXT = b'Subject: %d\r\n\r\nbody of %d\r\n'


def filled(host, first, last, failures):
    """Appends what is numbered so, many at once; what a broken connection leaves open is looked up before going on."""
    done = first
    while done < last:
        try:
            with imap.login(host, 'alice') as connection:
                while done < last:
                    texts = [TEXT % (n, n) for n in range(done, min(last, done + TOGETHER))]
                    whole = b'APPEND INBOX' + b''.join(b' {%d+}\r\n' % len(text) + text for text in texts)
                    answer, _ = connection.command(whole, ok=False)
                    if answer.startswith(b'OK'):
                        done += len(texts)
                    elif b'UNAVAILABLE' not in answer:
                        failures.append(answer)
                        return
        except (wire.Closed, OSError):
            with contextlib.suppress(wire.Closed, OSError):
                done = there(host, done, last)


def there(host, done, last):
    """Which number comes next: a command's messages are appended all or not at all [RFC3502]."""
    while True:
        with contextlib.suppress(wire.Closed, OSError), imap.login(host, 'alice') as connection:
            connection.command('EXAMINE INBOX')
            found = connection.command(f'SEARCH SUBJECT "{done}"')[1]
            rows = connection.command(f'FETCH {",".join(found[0].decode().split()[2:])} BODY.PEEK[HEADER.FIELDS (SUBJECT)]')[1] \
                if len(found[0].split()) > 2 else []
            return min(last, done + TOGETHER) if any(b'Subject: %d\r\n' % done in row for row in rows) else done
        time.sleep(0.2)


def fill(host, cluster, count):
    """THREADS connections; a quarter on the way an OSD crashes, half way the server is killed."""
    failures, share = [], count // THREADS
    threads = [threading.Thread(target=filled, args=(host, n * share, (n + 1) * share, failures)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    faults = [(count // 4, lambda: cluster.kill('osd.0')), (count * 3 // 8, lambda: cluster.launch('osd.0')),
              (count // 2, lambda: os.kill(host.server_pid(), signal.SIGKILL))]
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        if faults and messages(host) >= faults[0][0]:
            faults.pop(0)[1]()
    for thread in threads:
        thread.join()
    assert not failures and not faults, failures[:3]


def messages(host):
    with contextlib.suppress(wire.Closed, OSError), imap.login(host, 'alice') as connection:
        return int(re.search(rb'MESSAGES (\d+)', connection.command('STATUS INBOX (MESSAGES)')[1][0])[1])
    return 0


def look(host, count):
    with imap.login(host, 'alice') as connection:
        began = time.monotonic()
        exists = [line for line in connection.command('SELECT INBOX')[1] if line.endswith(b'EXISTS')]
        seconds = time.monotonic() - began
        assert exists == [b'* %d EXISTS' % count]
        seen, uids = set(), []
        for first in range(1, count + 1, 20000):
            for line in connection.command(f'FETCH {first}:{min(count, first + 19999)} (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]:
                uids.append(int(re.search(rb'UID (\d+)', line)[1]))
                seen.add(int(re.search(rb'Subject: (\d+)', line)[1]))
        assert len(uids) == count and uids == sorted(set(uids)), 'UIDs that do not grow'
        assert seen == set(range(count)), 'lost or twice'
        for line in connection.command(f'FETCH {count // 2}:{count // 2 + 100} BODY.PEEK[]')[1]:
            number = int(re.search(rb'Subject: (\d+)', line)[1])
            assert TEXT % (number, number) in line
        connection.command(f'STORE 1:{count // 2} +FLAGS.SILENT (\\Deleted)')
        connection.command('EXPUNGE')
    assert messages(host) == count - count // 2
    return seconds


@pytest.mark.full
@pytest.mark.timeout(7000)
def test_a_large_account(make_cluster, make_host):
    count = int(os.environ.get('PENFOLD_MESSAGES', 500000))
    cluster = make_cluster(gigabytes=20)
    host = make_host(users=['alice'], ceph=cluster.conf, settings='store { memory = 512M }\nauth { hash_ops = 1  hash_memory = 1M }\n')
    began = time.monotonic()
    fill(host, cluster, count)
    filled_in = time.monotonic() - began
    host.stop()
    host.start()
    seconds = look(host, count)
    print(f'{count} messages in {filled_in:.0f} s; SELECT by a server that was just started {seconds * 1000:.0f} ms')
    host.stop()
    host.run('fsck', timeout=3600)
