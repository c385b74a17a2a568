"""FETCH of messages whose bytes on the disk are damaged: the others are answered [RFC3501 6.4.5] [RFC9051 6.4.5], and nobody takes a part for the whole."""
import os
import re
import time

import pytest

from harness import imap, wire

LINE = b'%06d the text of a message that is damaged later on\r\n'


def flip(host, word):
    """One byte of the one file that has the word."""
    hits = 0
    for folder, _, files in os.walk(os.path.join(host.folder, 'data')):
        for name in files:
            with open(os.path.join(folder, name), 'r+b') as f:
                at = f.read().find(word)
                if at >= 0:
                    f.seek(at)
                    f.write(bytes([word[0] ^ 1]))
                    hits += 1
    assert hits == 1, hits


def damaged_host(make_host, lines, where):
    host = make_host()
    wire.deliver(host, b'Subject: first\r\n\r\nwhole\r\n', 'alice')
    wire.deliver(host, b'Subject: second\r\n\r\n' + b''.join(LINE % n for n in range(lines)), 'alice')
    wire.deliver(host, b'Subject: third\r\n\r\nwhole\r\n', 'alice')
    host.stop()
    flip(host, LINE % where)
    host.start()
    return host


def fetch(connection, items):
    connection.command('EXAMINE INBOX')
    answer, found = connection.command(f'FETCH 1:* ({items})', ok=False)
    return answer, [f.split(b'\r\n', 1)[0] for f in found]


def check_answer(host):
    with imap.login(host, 'alice') as connection:
        answer, found = fetch(connection, 'UID BODY.PEEK[TEXT]')
        assert answer == b'NO [CORRUPTION] stored data is damaged, tell the postmaster'
        assert found == [b'* 1 FETCH (UID 1 BODY[TEXT] {7}', b'* 2 FETCH (UID 2)', b'* 3 FETCH (UID 3 BODY[TEXT] {7}']
    until = time.monotonic() + 30  # the log is copied by a thread
    while not re.search(r'event=fetch-failed .*email=\d+ cause=corrupt', host.log_text()):
        assert time.monotonic() < until, host.log_tail()
        time.sleep(0.05)


@pytest.mark.parametrize('lines', (20, 20000))
def test_a_beginning_that_cannot_be_read(make_host, lines):
    """Small, in a segment; large, in a file of its own."""
    check_answer(damaged_host(make_host, lines, 3))


def test_an_end_that_cannot_be_read(make_host):
    """Found when the literal is under way: the connection ends within it. Whoever comes again gets the others."""
    host = damaged_host(make_host, 20000, 19000)
    with imap.login(host, 'alice') as connection:
        connection.command('EXAMINE INBOX')
        connection.send_command('FETCH 1:* BODY.PEEK[TEXT]')
        assert connection.response() == b'* 1 FETCH (BODY[TEXT] {7}\r\nwhole\r\n)'
        with pytest.raises(wire.Closed):
            connection.response()
    check_answer(host)
    with imap.login(host, 'alice') as connection:  # what is whole of it can be had
        connection.command('EXAMINE INBOX')
        answer, found = connection.command('FETCH 2 BODY.PEEK[TEXT]<0.60>')
        assert LINE % 0 in found[0] and answer.startswith(b'OK')
