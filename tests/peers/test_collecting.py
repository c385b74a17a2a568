"""Mail is collected and imported from Dovecot and Cyrus, each in a root of its own."""
import json
import time

import pytest

from harness import imap, mails, stores, wire
from harness.host import Host

STORES = [pytest.param(stores.Dovecot, id='dovecot'), pytest.param(stores.Cyrus, id='cyrus', marks=pytest.mark.full)]
OPTIONS = ['--tls', 'none', '--password-stdin']


class Client(imap.Connection):
    """Of the server there."""

    def __init__(self, there):
        super().__init__(there)
        self.command(f'LOGIN {stores.USER} "{stores.PASSWORD}"')

    def put(self, name, text, flags=''):
        self.send(self.next_tag() + f' APPEND "{name}" ({flags}) "03-Feb-2001 04:05:06 +0000" {{{len(text)}}}\r\n'.encode())
        assert self.response().startswith(b'+')
        self.send(text + b'\r\n')
        assert b' OK' in self.answer_to_last()

    def next_tag(self):
        self.number += 1
        return b'a%d' % self.number

    def answer_to_last(self):
        tag = b'a%d ' % self.number
        while not (got := self.response()).startswith(tag):
            pass
        return got


def texts(n):
    return [mails.sized(600 + 31 * i) for i in range(n)]


@pytest.fixture(params=STORES)
def there(request, tmp_path):
    with request.param(tmp_path / 'there') as store:
        with Client(store) as client:
            for text in texts(20):
                client.put('INBOX', text)
            client.command('CREATE "Projects"')
            client.put('Projects', b'Subject: flagged\r\n\r\nx\r\n', r'\Flagged')
            client.put('Sent', b'Subject: sent\r\n\r\nx\r\n', r'\Seen')
        yield store


@pytest.fixture
def here(tmp_path):
    with Host(tmp_path / 'here') as host:
        yield host


def row_of(here):
    return json.loads(here.run('collect', 'list', here.address('alice'), '--json'))[0]


def collect(here, there, protocol, *options):
    here.run('collect', 'add', here.address('alice'), protocol, f'127.0.0.1:{there.port(protocol)}', stores.USER, *options, *OPTIONS,
             stdin=stores.PASSWORD + '\n')
    return settled(here, '')


def settled(here, before):
    end = time.monotonic() + 120
    while (row := row_of(here))['state'] == 'new' or row['tried'] == before:
        assert time.monotonic() < end
        time.sleep(0.1)
    return row


def without_trace(message):
    lines = message.split(b'\r\n')
    n = 1
    while lines[n][:1] == b'\t':
        n += 1
    return b'\r\n'.join(lines[n:])


@pytest.mark.parametrize('protocol', ['pop3', 'imap'])
def test_collected_and_deleted(here, there, protocol):
    row = collect(here, there, protocol, '--after', 'delete')
    assert (row['state'], row['messages'], row['error']) == ('well', 20, ''), row
    assert sorted(without_trace(m) for m in wire.messages(here, 'alice')) == sorted(texts(20))
    with Client(there) as client:
        assert b'* 0 EXISTS' in client.command('SELECT INBOX')[1]
        client.command('CLOSE')
        client.put('INBOX', b'Subject: later\r\n\r\nx\r\n')
    here.run('collect', 'run', here.address('alice'))
    end = time.monotonic() + 120
    while row_of(here)['messages'] < 21:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert len(wire.messages(here, 'alice')) == 21


def test_import_keeps_folders_flags_and_unique_ids(here, there):
    host = f'127.0.0.1:{there.port("imap")}'
    out = here.run('import', 'imap', host, here.address('alice'), '--login', stores.USER, '--uidl', there.uidl, *OPTIONS,
                   stdin=stores.PASSWORD + '\n', timeout=120)
    assert '22 messages came in' in out, out
    ours = imap.holds_all(here, 'alice')
    assert sorted(m.data for m in ours['INBOX']) == sorted(texts(20))
    assert [sorted(m.flags) for m in ours['Projects']] == [['\\Flagged']] and [sorted(m.flags) for m in ours['Sent']] == [['\\Seen']]
    with wire.Wire(there.port('pop3')) as other:
        other.line()
        for line in f'USER {stores.USER}', f'PASS {stores.PASSWORD}', 'UIDL':
            other.send(line + '\r\n')
            assert (got := other.line()).startswith('+OK'), got
        theirs = [line.split()[1] for line in other.multi()]
    with wire.login(here, 'alice') as own:
        own.send('UIDL\r\n')
        own.line()
        assert [line.split()[1] for line in own.multi()] == theirs
