"""Accounts elsewhere on hosts that lie, stall, flood and hang up: each costs one try, is told in plain words, and harms nothing here."""
import contextlib
import json
import socket
import threading
import time

import pytest

from harness import wire
from harness.host import Host

MAIL = b'Subject: fine\r\n\r\nfine\r\n'


class Elsewhere:
    """A server on a free port whose sessions are a function of a connection (a Peer)."""

    def __init__(self, serve):
        self.serve, self.listener = serve, socket.create_server(('127.0.0.1', 0))
        self.port, self.released, self.sessions = self.listener.getsockname()[1], threading.Event(), 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.released.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.sessions += 1
            with connection, contextlib.suppress(OSError, EOFError):
                self.serve(Peer(connection, self.released))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(30)


class Peer:
    def __init__(self, connection, released):
        self.connection, self.released, self.rest = connection, released, b''

    def say(self, *lines):
        self.connection.sendall(b''.join(line + b'\r\n' for line in lines))

    def raw(self, data):
        self.connection.sendall(data)

    def hear(self):
        while b'\n' not in self.rest:
            more = self.connection.recv(65536)
            if not more:
                raise EOFError
            self.rest += more
        line, self.rest = self.rest.split(b'\n', 1)
        return line.strip()

    def flood(self, data):
        while not self.released.is_set():
            self.connection.sendall(data * 1000)

    def hang(self):
        self.released.wait(120)


def pop3(twist=None, uidls=(b'one', b'two'), mail=MAIL):
    """A POP3 server; twist(state, peer) -> True when it has answered in its own way."""
    def serve(peer):
        def odd(state):
            return twist is not None and twist(state, peer)
        if not odd('greeting'):
            peer.say(b'+OK')
        while True:
            line = peer.hear()
            word = line.split(b' ')[0].upper().decode()
            if odd(word):
                continue
            if word == 'CAPA':
                peer.say(b'+OK', b'UIDL', b'USER', b'PIPELINING', b'.')
            elif word == 'UIDL':
                peer.say(b'+OK', *(b'%d %s' % pair for pair in enumerate(uidls, 1)), b'.')
            elif word == 'LIST':
                peer.say(b'+OK', *(b'%d %d' % (n, len(mail)) for n in range(1, len(uidls) + 1)), b'.')
            elif word == 'RETR':
                peer.raw(b'+OK\r\n' + mail + b'.\r\n')
            elif word == 'QUIT':
                peer.say(b'+OK')
                return
            else:
                peer.say(b'+OK')
    return serve


def imap(twist=None, uids=(5, 9), mail=MAIL, capability=b'IMAP4rev1 UIDPLUS', validity=7):
    def serve(peer):
        def odd(state, tag=b''):
            return twist is not None and twist(state, peer, tag)
        if not odd('greeting'):
            peer.say(b'* OK hello')
        while True:
            tag, _, line = peer.hear().partition(b' ')
            word = line.split(b' ')[0].upper().decode()
            if word == 'UID':
                word = line.split(b' ')[1].upper().decode()
                word = 'SCAN' if b':*' in line else word
            if odd(word, tag):
                continue
            if word == 'CAPABILITY':
                peer.say(b'* CAPABILITY ' + capability)
            elif word == 'LIST':
                peer.say(b'* LIST () "/" INBOX')
            elif word == 'SELECT':
                peer.say(b'* %d EXISTS' % len(uids), b'* OK [UIDVALIDITY %d] x' % validity)
            elif word == 'SCAN':
                peer.say(*(b'* %d FETCH (UID %d RFC822.SIZE %d)' % (n, uid, len(mail)) for n, uid in enumerate(uids, 1)))
            elif word == 'FETCH':
                uid = int(line.split(b' ')[2])
                peer.raw(b'* %d FETCH (UID %d FLAGS () BODY[] {%d}\r\n%s)\r\n' % (uids.index(uid) + 1, uid, len(mail), mail))
            elif word == 'LOGOUT':
                peer.say(b'* BYE', tag + b' OK')
                return
            peer.say(tag + b' OK done')
    return serve


@pytest.fixture(scope='module')
def here(tmp_path_factory):
    with Host(tmp_path_factory.mktemp('host') / 'mail', users=(), settings='collect { command_time = "2s" message_size = "64k" messages = 100 }') as host:
        yield host


count = iter(range(10**6))


def collect(here, protocol, serve, *options):
    """(the row of the collection after its first try, the messages here, the sessions there)."""
    user = f'user{next(count)}'
    here.add_account(user)
    address = here.address(user)
    with Elsewhere(serve) as there:
        here.run('collect', 'add', address, protocol, f'127.0.0.1:{there.port}', 'bob', '--tls', 'none', *options, '--password-stdin',
                 stdin='a password\n')
        end = time.monotonic() + 120
        while True:
            row = json.loads(here.run('collect', 'list', address, '--json'))[0]
            if row['state'] != 'new':
                break
            assert time.monotonic() < end, 'no end of the try'
            time.sleep(0.05)
        here.run('collect', 'remove', address, str(row['id']))
    assert 'a password' not in here.log_text()
    return row, wire.messages(here, user)


def answer(state, data, ends=True):
    """A twist that answers in one state with these bytes, and hangs up."""
    def twist(now, peer, *_):
        if now != state:
            return False
        peer.raw(data)
        if ends:
            raise EOFError
        return True
    return twist


def test_the_servers_work(here):
    for protocol, serve in ('pop3', pop3()), ('imap', imap()):
        row, got = collect(here, protocol, serve)
        assert (row['state'], row['messages'], len(got)) == ('well', 2, 2), row


POP3_STATES = ['greeting', 'CAPA', 'USER', 'PASS', 'UIDL', 'LIST', 'RETR', 'QUIT']
IMAP_STATES = ['greeting', 'CAPABILITY', 'LOGIN', 'LIST', 'SELECT', 'SCAN', 'FETCH', 'LOGOUT']
ALL = [('pop3', pop3, s) for s in POP3_STATES] + [('imap', imap, s) for s in IMAP_STATES]
IDS = [f'{p}-{s}' for p, _, s in ALL]


@pytest.mark.parametrize('protocol, server, state', ALL, ids=IDS)
def test_it_hangs_up(here, protocol, server, state):
    row, got = collect(here, protocol, server(answer(state, b'')))
    assert row['state'] == 'failing' and row['error'].startswith('the connection ended while waiting for '), row
    assert len(got) in (0, 2)


@pytest.mark.parametrize('protocol, server, state', ALL, ids=IDS)
def test_a_line_without_end(here, protocol, server, state):
    def twist(now, peer, *_):
        if now == state:
            peer.flood(b'* x')
        return False
    row, _ = collect(here, protocol, server(twist))
    assert row['state'] == 'failing' and ('without end' in row['error'] or 'larger than' in row['error']), row


QUICK = ('PASS', 'RETR', 'LOGIN', 'FETCH')
PATIENT = [pytest.param(*a, id=i, marks=() if a[2] in QUICK else pytest.mark.full) for a, i in zip(ALL, IDS)]


@pytest.mark.parametrize('protocol, server, state', PATIENT)
def test_silence(here, protocol, server, state):
    def twist(now, peer, *_):
        if now == state:
            peer.hang()
        return False
    row, _ = collect(here, protocol, server(twist))
    assert row['state'] == 'failing' and row['error'].startswith('no answer in time while waiting for '), row


@pytest.mark.parametrize('protocol, server, state', ALL, ids=IDS)
def test_nonsense(here, protocol, server, state):
    row, _ = collect(here, protocol, server(answer(state, b'\0\xff\x1b[31mwhat\r\n' * 3, ends=False)))
    assert row['state'] == 'failing' and row['error'] and row['error'].isprintable(), row


POP3_LIES = {
    'uidls that go back': answer('UIDL', b'+OK\r\n2 b\r\n1 a\r\n.\r\n', ends=False),
    'a number beyond all': answer('UIDL', b'+OK\r\n99999999999 b\r\n.\r\n', ends=False),
    'a uidl too long': answer('UIDL', b'+OK\r\n1 ' + b'u' * 500 + b'\r\n.\r\n', ends=False),
    'more messages than are looked at': answer('UIDL', b'+OK\r\n' + b''.join(b'%d u%d\r\n' % (n, n) for n in range(1, 200)) + b'.\r\n', ends=False),
    'no uidls at all': answer('UIDL', b'-ERR what\r\n', ends=False),
    'a message without end': answer('RETR', b'+OK\r\n' + b'x' * 78 + b'\r\n' * 1 + (b'y' * 78 + b'\r\n') * 3000, ends=False),
    'an answer to nothing': answer('PASS', b'+OK\r\n+OK\r\n+OK\r\n+OK\r\n', ends=False),
    'only refusals': answer('RETR', b'-ERR not this one\r\n', ends=False),
}


@pytest.mark.parametrize('lie', POP3_LIES)
def test_pop3_lies(here, lie):
    row, got = collect(here, 'pop3', pop3(POP3_LIES[lie], uidls=[b'u%d' % n for n in range(30)]))
    assert row['state'] == 'failing' and row['error'], row
    assert all(m.endswith(MAIL) for m in got)


IMAP_LIES = {
    'uids that go back': answer('SCAN', b'* 1 FETCH (UID 9 RFC822.SIZE 1)\r\n* 2 FETCH (UID 5 RFC822.SIZE 1)\r\n', ends=False),
    'a literal of a billion bytes': answer('FETCH', b'* 1 FETCH (UID 5 BODY[] {1000000000}\r\n' + b'x' * 100000),
    'a literal that is no number': answer('FETCH', b'* 1 FETCH (UID 5 BODY[] {12x}\r\nabc)\r\n'),
    'a literal shorter than it says': answer('FETCH', b'* 1 FETCH (UID 5 BODY[] {100}\r\nshort)\r\n'),
    'a message nobody asked for': answer('SELECT', b'* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\n'),
    'another message': answer('FETCH', b'* 1 FETCH (UID 77 BODY[] {3}\r\nabc)\r\n'),
    'a message without its uid': answer('FETCH', b'* 1 FETCH (BODY[] {3}\r\nabc)\r\n'),
    'parentheses without end': answer('SCAN', b'* 1 FETCH ' + b'(' * 50000 + b'\r\n'),
    'a name of folders without end': answer('LIST', b'* LIST () "/" {60000000}\r\n'),
    'a tag of nobody': answer('SELECT', b'a999 OK\r\n', ends=False),
    'an answer before the question': answer('greeting', b'* OK hello\r\na1 OK\r\na2 OK\r\na3 OK\r\n', ends=False),
    'no uidvalidity': answer('SELECT', b'* 2 EXISTS\r\na4 OK\r\na5 OK\r\n', ends=False),
    'goodbye': answer('SELECT', b'* BYE too many\r\n'),
}


@pytest.mark.parametrize('lie', IMAP_LIES)
def test_imap_lies(here, lie):
    row, got = collect(here, 'imap', imap(IMAP_LIES[lie]))
    assert row['state'] == 'failing' and row['error'], row
    assert got == []


def test_uidvalidity_that_changes(here):
    """All messages there have new UIDs: what is in is known by its bytes, and what is new comes."""
    here.add_account('validity')
    address = here.address('validity')
    facts = {'uids': [5, 9], 'validity': 7, 'mails': {5: b'Subject: a\r\n\r\na\r\n', 9: b'Subject: b\r\n\r\nb\r\n'}}

    def serve(peer):
        peer.say(b'* OK hello')
        while True:
            tag, _, line = peer.hear().partition(b' ')
            if line.startswith(b'CAPABILITY'):
                peer.say(b'* CAPABILITY IMAP4rev1')
            elif line.startswith(b'LIST'):
                peer.say(b'* LIST () "/" INBOX')
            elif line.startswith(b'SELECT'):
                peer.say(b'* OK [UIDVALIDITY %d] x' % facts['validity'])
            elif b':*' in line:
                start = int(line.split(b' ')[2].split(b':')[0])
                peer.say(*(b'* 1 FETCH (UID %d RFC822.SIZE 20)' % uid for uid in facts['uids'] if uid >= start))
            elif b'BODY.PEEK' in line:
                uid = int(line.split(b' ')[2])
                mail = facts['mails'][uid]
                peer.raw(b'* 1 FETCH (BODY[] {%d}\r\n%s UID %d)\r\n' % (len(mail), mail, uid))
            peer.say(tag + b' OK')

    def run():
        before = json.loads(here.run('collect', 'list', address, '--json'))[0]['tried']
        here.run('collect', 'run', address)
        end = time.monotonic() + 60
        while (row := json.loads(here.run('collect', 'list', address, '--json'))[0])['tried'] == before:
            assert time.monotonic() < end
            time.sleep(0.05)
        return row

    with Elsewhere(serve) as there:
        here.run('collect', 'add', address, 'imap', f'127.0.0.1:{there.port}', 'bob', '--tls', 'none', '--password-stdin', stdin='x y z\n')
        while not json.loads(here.run('collect', 'list', address, '--json'))[0]['tried']:
            time.sleep(0.05)
        assert len(wire.messages(here, 'validity')) == 2
        facts.update(uids=[1, 2, 3], validity=8, mails={1: facts['mails'][9], 2: facts['mails'][5], 3: b'Subject: c\r\n\r\nc\r\n'})
        for _ in range(3):
            row = run()
            assert row['error'] == '' or row['state'] == 'failing', row
            assert len(wire.messages(here, 'validity')) == 3
        here.run('collect', 'remove', address, str(row['id']))


def test_a_list_that_is_empty_once(here):
    """Nothing is forgotten by it, so nothing comes twice."""
    uidls = [b'one', b'two']
    here.add_account('empty')
    address = here.address('empty')
    with Elsewhere(lambda peer: pop3(uidls=list(uidls))(peer)) as there:
        here.run('collect', 'add', address, 'pop3', f'127.0.0.1:{there.port}', 'bob', '--tls', 'none', '--password-stdin', stdin='x y z\n')
        for known in ([b'one', b'two'], [], [b'one', b'two', b'three']):
            uidls[:] = known
            before = json.loads(here.run('collect', 'list', address, '--json'))[0]['tried']
            if before:
                here.run('collect', 'run', address)
            end = time.monotonic() + 60
            while (row := json.loads(here.run('collect', 'list', address, '--json'))[0])['tried'] == before:
                assert time.monotonic() < end
                time.sleep(0.05)
            assert row['state'] == 'well', row
        assert row['messages'] == 3 and len(wire.messages(here, 'empty')) == 3
        here.run('collect', 'remove', address, str(row['id']))


def test_two_messages_with_one_uidl(here):
    """Of those nothing is deleted there: only one of them can be known to be here [RFC1939 7]."""
    deleted = []

    def serve(peer):
        def note(state, peer):
            if state == 'QUIT':
                deleted.append(numbers[:])
            return False
        numbers = []
        peer.hear, hear = lambda: heard(hear()), peer.hear

        def heard(line):
            if line.startswith(b'DELE '):
                numbers.append(int(line.split()[1]))
            return line
        pop3(note, uidls=[b'same', b'own', b'same'])(peer)

    here.add_account('twins')
    address = here.address('twins')
    with Elsewhere(serve) as there:
        here.run('collect', 'add', address, 'pop3', f'127.0.0.1:{there.port}', 'bob', '--tls', 'none', '--after', 'delete', '--password-stdin',
                 stdin='x y z\n')
        for tries in range(1, 3):
            if tries > 1:
                here.run('collect', 'run', address)
            end = time.monotonic() + 60
            while len(deleted) < tries:
                assert time.monotonic() < end
                time.sleep(0.05)
        here.run('collect', 'remove', address, str(json.loads(here.run('collect', 'list', address, '--json'))[0]['id']))
    assert {n for numbers in deleted for n in numbers} == {2}
    assert len(wire.messages(here, 'twins')) == 2
