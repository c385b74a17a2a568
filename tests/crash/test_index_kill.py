"""kill -9 while the search index is made: searches find what they found before, whatever of it is on the disk, and it is made to the end."""
import json
import random
import time

from harness import imap
from test_kill import kill_and_greet

MESSAGES, TOGETHER = 1800, 100


def message(n):
    """Of some KB, half of it words that few have; the word that only this one has is at its end."""
    chance = random.Random(n)
    words = ' '.join(f'{chance.randrange(1 << 40):x}' if chance.random() < 0.5 else 'common' for _ in range(300))
    lines = '\r\n'.join(words[at:at + 70] for at in range(0, len(words), 70))
    return f'From: Sender {n} <sender{n}.@example.test>\r\nSubject: topic{n}.\r\n\r\n{lines}\r\nunique{n}.\r\n'.encode()


def fill(connection, first, count):
    for begin in range(first, first + count, TOGETHER):
        parts = [b'{%d+}\r\n' % len(m) + m for m in (message(n) for n in range(begin, begin + TOGETHER))]
        connection.command(b'APPEND INBOX ' + b' '.join(parts))


def assert_finds(host, count, chance, questions=6):
    with imap.login(host, 'alice') as connection:
        connection.command('SELECT INBOX')
        for _ in range(questions):
            n = chance.randrange(count)
            key = chance.choice([f'TEXT unique{n}.', f'BODY unique{n}.', f'FROM sender{n}.@', f'SUBJECT topic{n}.', f'HEADER Subject pic{n}.'])
            _, untagged = connection.command('SEARCH ' + key)
            assert [u for u in untagged if u.startswith(b'* SEARCH')] == [b'* SEARCH %d' % (n + 1)], key
        _, untagged = connection.command('SEARCH NOT TEXT common')
        assert b'* SEARCH' in untagged


def indexed(host):
    return json.loads(host.run('account', 'show', host.address('alice'), '--json'))[0]['indexed']


def wait_for(host, count, seconds=300):
    until = time.monotonic() + seconds
    while indexed(host) < count:
        assert time.monotonic() < until, f'{indexed(host)} of {count} after {seconds} s'
        time.sleep(0.1)


def test_kills_while_the_index_is_made(make_host, is_full):
    host, chance = make_host(users=['alice']), random.Random(5)
    with imap.login(host, 'alice') as connection:
        fill(connection, 0, MESSAGES)
    for _ in range(40 if is_full else 6):
        host.run('account', 'reindex', host.address('alice'))
        time.sleep(chance.uniform(0.0, 1.0))
        kill_and_greet(host)
        assert_finds(host, MESSAGES, chance)  # and wants the index again
    wait_for(host, MESSAGES)
    assert_finds(host, MESSAGES, chance, questions=30)
    with imap.login(host, 'alice') as connection:
        fill(connection, MESSAGES, TOGETHER)  # while nobody searches
    wait_for(host, MESSAGES + TOGETHER)
    kill_and_greet(host)
    assert_finds(host, MESSAGES + TOGETHER, chance, questions=30)
    assert 'index-damaged' not in host.log_text() and 'index-renewed' not in host.log_text()
