"""The checker: mixed load, a kill every few seconds for ten minutes (20 seconds in make check), then every message is
accounted for.

Mixed is what hosts, clients and administrators do at once: every way of handing mail in that the server offers, to one
recipient or many, small and large; POP3 sessions that fetch, delete, change their mind and break off; accounts made,
changed and removed. Killed is the server, at times supervisor and all; some turns end it orderly or reload it instead.
The seed of a run is printed and can be given as PENFOLD_SEED.
"""
import json
import random
import signal
import threading
import time

import pytest

from harness import chances, wire
from harness.load import Collectors, Ledger, Load, collect, ways
from test_kill import kill_and_greet

USERS = [f'user{n}' for n in range(6)]
SETTINGS = 'store { undelete = 0s }\nauth { plaintext = loopback  hash_ops = 1  hash_memory = 1M }\n'
SIZES = (600, 4096, 4096, 20000, 300 * 1000)  # the last one is over what is kept in memory


class Accounts:
    """Administrative changes one after the other; what was acknowledged must hold in the end.

    passwords: {user: those that may be in force}: more than one, or None among them, when an answer was lost.
    """

    def __init__(self, host, seed):
        self.host, self.chance = host, random.Random(f'{seed}accounts')
        self.passwords, self.changes = {}, 0
        self.calm = threading.Lock()  # held while a command runs: without a server it would take the store's lock
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join(60)
        assert not self.thread.is_alive(), 'a command hangs'

    def work(self):
        while not self.ending.is_set():
            with self.calm:
                self.one(f'extra{self.chance.randrange(5)}')
            time.sleep(0.1)

    def one(self, user):
        now = self.passwords.get(user, {None})
        password = f'pw{self.changes}'
        if now == {None}:
            self.change(user, now, {password}, 'add', '--password-stdin', stdin=password + '\n')
        elif None in now or self.chance.random() < 0.3:
            self.change(user, now, {None}, 'remove')
        else:
            self.change(user, now, {password}, 'passwd', '--password-stdin', stdin=password + '\n')

    def change(self, user, now, then, verb, *options, stdin=''):
        self.passwords[user] = now | then  # until the answer comes, either
        done = self.host.run('account', verb, self.host.address(user), *options, check=False, stdin=stdin)
        if done.returncode == 0:
            self.passwords[user] = then
            self.changes += 1

    def verify(self):
        """Each account is there with the password that was acknowledged last, or is not there."""
        for user, passwords in self.passwords.items():
            there = self.host.run('account', 'show', self.host.address(user), check=False).returncode == 0
            assert there or None in passwords, f'{user} is lost'
            assert not there or passwords != {None}, f'{user} is there again'
            if there:
                assert any(self.logs_in(user, p) for p in passwords if p), f'{user}: no acknowledged password is in force'

    def logs_in(self, user, password):
        with wire.Wire(self.host.port('pop3')) as connection:
            connection.line()
            connection.send(f'USER {self.host.address(user)}\r\nPASS {password}\r\n')
            connection.line()
            return connection.line().startswith('+OK')


def policy(host, what):
    """Half of the users have it; who they are."""
    for user in USERS[::2]:
        host.run('account', 'set', host.address(user), '--pop3-delete', what)
    return USERS[::2]


def restart(host, accounts, end):
    with accounts.calm:
        end()
        host.start()


def disturb(host, accounts, chance):
    """One turn; what it was."""
    what = chance.choices(('server', 'all', 'orderly', 'reload'), weights=(7, 2, 1, 1))[0]
    if what == 'server':
        kill_and_greet(host)
    elif what == 'reload':
        host.process.send_signal(signal.SIGHUP)
    else:
        restart(host, accounts, host.abandon if what == 'all' else host.stop)
    return what


def run(host, seconds, seed):
    """Load and kills for so long. (load, accounts, turns)."""
    chance, turns = random.Random(seed), []
    load = Load(host, USERS, threads=6, groups=(1, 1, 2, len(USERS)), sizes=SIZES, per_connection=10, by=ways(host),
                most_waiting=500)
    load.expect_refused_connects = True
    end = time.monotonic() + seconds
    with load, Collectors(load, seed, once=policy(host, 'once-collected')) as collectors, Accounts(host, seed) as accounts:
        while time.monotonic() < end or len(turns) < 5:
            before = load.count()
            time.sleep(chance.uniform(0.3, 4.0))
            turns.append(disturb(host, accounts, chance))
            load.wait_for(before + 1)
        collectors.stop()  # what comes from here on is left for the counters to be compared with
        load.most_waiting = None  # nobody makes room any more
        before = load.count()
        kill_and_greet(host)
        load.wait_for(before + 20)
        load.stop()
        accounts.ending.set()
        wait_for_queue(host)
    return load, accounts, turns


def wait_for_queue(host, timeout=60):
    """Until what has several recipients is with all of them."""
    end = time.monotonic() + timeout
    while figure(host, 'penfold_queue_items'):
        assert time.monotonic() < end, 'the queue does not empty'
        time.sleep(0.1)
    assert figure(host, 'penfold_queue_held') == 0


def figure(host, name):
    return int(next(line for line in host.run('stat').splitlines() if line.split()[0] == name).split()[1])


def verify_usage(host, found):
    """The counters that a quota looks at are those of what is there, to the byte."""
    for user, messages in found.items():
        row = json.loads(host.run('account', 'show', host.address(user), '--json'))
        row = row[0] if isinstance(row, list) else row
        assert (int(row['messages']), int(row['bytes'])) == (len(messages), sum(map(len, messages))), user


def verify_all(host, load, accounts):
    policy(host, 'client')  # to look is not to collect
    found = collect(host, USERS)
    load.verify(found)
    verify_usage(host, found)
    accounts.verify()
    return found


def test_kills_under_mixed_load(make_host, is_full):
    seed = chances.seed()
    host = make_host(users=USERS, settings=SETTINGS)
    load, accounts, turns = run(host, 600 if is_full else 20, seed)
    found = verify_all(host, load, accounts)
    ledger = load.ledger
    print(f'{len(turns)} turns: ' + ', '.join(f'{turns.count(t)} {t}' for t in sorted(set(turns))))
    print(f'{len(load.ways)} ways in, {len(ledger.acked)} copies acknowledged, {len(ledger.got)} collected, '
          f'{len(ledger.unsure)} without an answer, {sum(map(len, found.values()))} left, {accounts.changes} changes of accounts')
    assert ledger.got and any(found.values()) and accounts.changes and 'server' in turns
    assert load.taken_by == set(load.ways), 'a way in of which nothing was taken'
    verify_control(host, load)
    host.stop()
    host.run('fsck')


def verify_control(host, load):
    """Negative control: one message that nobody asked to delete goes, and the checker must see it."""
    with Load(host, USERS[:1], threads=1, sizes=SIZES, name='control') as more:
        more.wait_for(1)
    load.ledger.acked |= more.ledger.acked
    load.ledger.sent |= more.ledger.sent
    with wire.login(host, USERS[0]) as session:
        session.send('STAT\r\n')
        last = session.line().split()[1]
        session.send(f'DELE {last}\r\nQUIT\r\n')
        assert session.line().startswith('+OK') and session.line().startswith('+OK')
    with pytest.raises(AssertionError, match='lost'):
        load.verify(collect(host, USERS))


def test_the_checker_sees_each_kind_of_fault():
    """Negative control of Ledger.verify: lost, twice, half, strange, collected twice, deleted and still there."""
    def message(identity):
        return f'Message-ID: <{identity}@load.test>\r\n\r\nbody of {identity}\r\n'.encode()

    def ledger():
        book = Ledger()
        book.sent = {('1', 'a'), ('1', 'b'), ('2', 'a'), ('3', 'a'), ('4', 'a')}
        book.acked = book.sent - {('4', 'a')}
        book.got, book.unsure = {('2', 'a'): 1}, {('3', 'a')}
        return book

    good = {'a': [message('1')], 'b': [message('1')]}
    assert ledger().verify(good, message) == 3
    assert ledger().verify({'a': [message('1'), message('3'), message('4')], 'b': [message('1')]}, message) == 5
    for bad in ({'a': [], 'b': [message('1')]}, {'a': [message('1')] * 2, 'b': [message('1')]},
                {'a': [message('1')[:-4]], 'b': [message('1')]}, {'a': [message('1'), message('9')], 'b': [message('1')]},
                {'a': [message('1'), message('2')], 'b': [message('1')]}, {'a': [message('1')], 'b': [message('1'), message('2')]}):
        with pytest.raises(AssertionError):
            ledger().verify(bad, message)
    refused = ledger()
    refused.refused = {('4', 'a')}
    assert refused.verify(good, message) == 3
    with pytest.raises(AssertionError, match='refused'):
        refused.verify({'a': [message('1'), message('4')], 'b': [message('1')]}, message)
    twice = ledger()
    twice.got['2', 'a'] = 2
    with pytest.raises(AssertionError):
        twice.verify(good, message)
