"""FETCH of every part of every mail beside what Python's email parser makes of the same bytes [RFC3501 6.4.5] [RFC9051 6.4.5] [RFC3516 4.2].

Where the two do not see the same parts, or not the same bytes in one, the mail is in DIFFERENT with the reason: what Python cannot
know, or does otherwise than RFC 2045 and 2046 say. A mail there that no longer differs is an error too.
"""
import email
import email.policy
import imaplib
import random
import re

import pytest

from harness import imap, mails, wire
from harness.host import DOMAIN, Host

DIFFERENT = {
    'msg_15.txt': 'a multipart within one of the same boundary is not looked into: which of them a delimiter ends cannot be known',
    'msg_39.txt': 'the same',
    'same-boundary-twice.eml': 'the same',
    'msg_17.txt': 'a multipart without a delimiter has no parts; Python makes it a text',
    'msg_31.txt': 'the same',
    'msg_42.txt': 'the same, in a message within',
    'encoded-message.eml': 'a message in base64, which is forbidden, is not looked into',
    'msg_33.txt': 'a boundary in the form of RFC 2231 is none',
    'msg_37.txt': 'two delimiters behind each other have an empty part between them; Python skips it',
    'empty-parts.eml': 'the same',
    'missing-close.eml': 'the last line end belongs to the part when no delimiter follows it',
}


@pytest.fixture(scope='module')
def corpus():
    return [(name, message) for name, message in mails.corpus() if not message.startswith(b'From ')]


@pytest.fixture(scope='module')
def host(tmp_path_factory, corpus):
    with Host(tmp_path_factory.mktemp('parts') / 'mail', users=('alice',)) as host:
        for _, message in corpus:
            wire.deliver(host, message, 'alice')
        yield host


@pytest.fixture
def session(host, corpus):
    client = imaplib.IMAP4('127.0.0.1', host.port('imap'))
    client.login(f'alice@{DOMAIN}', host.passwords['alice'])
    client.select(readonly=True)
    yield client, [name for name, _ in corpus]
    client.logout()


def fetch(client, number, items):
    """{item: bytes, or None for NIL} of one message; each item once."""
    status, data = client.fetch(str(number), f'({" ".join(items)})')
    assert status == 'OK', data
    found = {}
    for piece in data:
        text = piece[0] if isinstance(piece, tuple) else piece
        for name, value in re.findall(rb'(B(?:ODY|INARY)\[[^]]*\]) (NIL|~?\{\d+\}$)', text):
            found[name.decode()] = None if value == b'NIL' else piece[1]
    return found


def parts(message, prefix=''):
    """(number, part) of all parts of a message that are numbered [RFC3501 6.4.5] [RFC9051 6.4.5]."""
    if message.get_content_maintype() != 'multipart' or not message.is_multipart():
        yield from one(message, f'{prefix}1')
        return
    for n, part in enumerate(message.get_payload(), 1):
        yield from one(part, f'{prefix}{n}')


def one(part, number):
    yield number, part
    if part.get_content_type() == 'message/rfc822' and part.is_multipart():
        yield from parts(part.get_payload(0), f'{number}.')
    elif part.get_content_maintype() == 'multipart' and part.is_multipart():
        yield from parts(part, f'{number}.')


def header_of(data):
    return email.message_from_bytes(data, policy=email.policy.compat32).items()


def differences(client, number, whole):
    message = email.message_from_bytes(whole, policy=email.policy.compat32)
    for path, part in parts(message):
        is_top = part is message
        got = fetch(client, number, [f'BODY.PEEK[{path}]', f'BODY.PEEK[{path}.MIME]', f'BINARY.PEEK[{path}]'])
        body = got[f'BODY[{path}]']
        if body is None:
            yield f'{path}: there is no such part'
            continue
        if not is_top and header_of(got[f'BODY[{path}.MIME]']) != part.items():
            yield f'{path}: MIME'
        if part.is_multipart():
            continue
        raw = vars(part)['_payload'].encode('ascii', 'surrogateescape')  # get_payload() would convert its charset
        if body != raw:
            yield f'{path}: {body[:80]!r} and {raw[:80]!r}'
        decoded = got.get(f'BINARY[{path}]')
        meant = part.get_payload(decode=True)
        if part.get_content_maintype() == 'text' and b'\0' not in meant:  # its lines end with CRLF [RFC9051 7.5.2]
            meant = re.sub(rb'(?<!\r)\n', b'\r\n', meant)
        if decoded is not None and decoded != meant:
            yield f'{path}: decoded {decoded[:80]!r} and {meant[:80]!r}'
    paths = {path for path, _ in parts(message)}
    for path in paths:
        above, _, last = path.rpartition('.')
        after = f'{above}.{int(last) + 1}' if above else str(int(last) + 1)
        if after not in paths and fetch(client, number, [f'BODY.PEEK[{after}]'])[f'BODY[{after}]'] is not None:
            yield f'{after}: a part that Python does not see'


def test_every_part_is_what_python_sees(session):
    client, names = session
    found = {}
    for number, name in enumerate(names, 1):
        whole = fetch(client, number, ['BODY.PEEK[]'])['BODY[]']
        seen = list(differences(client, number, whole))
        if seen:
            found[name] = seen
    assert set(found) == set(DIFFERENT), {name: found.get(name) for name in set(found) ^ set(DIFFERENT)}
    assert len(names) > 60 + len(DIFFERENT)


ITEMS = ('UID', 'FLAGS', 'INTERNALDATE', 'RFC822.SIZE', 'ENVELOPE', 'BODY', 'BODYSTRUCTURE', 'RFC822', 'RFC822.HEADER', 'RFC822.TEXT', 'BODY[]',
         'BODY[]<7.300>', 'BODY[HEADER]', 'BODY[TEXT]<100000.1>', 'BODY[HEADER.FIELDS (Subject to)]', 'BODY[HEADER.FIELDS.NOT (Received)]<0.99>',
         'BODY[1]', 'BODY[1]<1.10>', 'BODY[1.MIME]', 'BODY[2]', 'BODY[2.MIME]', 'BODY[2.HEADER]', 'BODY[2.TEXT]', 'BODY[2.1]', 'BODY[1.2]',
         'BODY[2.HEADER.FIELDS (from)]', 'BINARY[]<5.5>', 'BINARY[1]', 'BINARY[1]<2.1000>', 'BINARY[2]', 'BINARY.SIZE[1]', 'BINARY.SIZE[2]')


def rows(connection, number, items):
    """{sequence number: what stands in the parentheses}; where an encoding is unknown, that item is left out."""
    answer, found = connection.command(f'FETCH {number} ({" ".join(items)})', ok=False)
    assert answer.startswith((b'OK', b'NO [UNKNOWN-CTE]')), answer
    return {int(n): value for n, value in (re.fullmatch(rb'\* (\d+) FETCH \((.*)\)', row, re.S).groups() for row in found)}


def test_items_together_are_what_they_are_alone(host, corpus):
    """Lists of items, drawn at random, over ranges of messages: whatever one item leaves behind, the next one is the same."""
    chance = random.Random(3501)
    with imap.login(host, 'alice') as connection:
        connection.command('EXAMINE INBOX')
        alone = {item: rows(connection, '1:*', [item]) for item in ITEMS}
        for _ in range(200):
            items = chance.choices(ITEMS, k=chance.randint(2, 12))
            first = chance.randint(1, len(corpus))
            last = min(len(corpus), first + chance.randint(0, 9))
            wanted = {n: b' '.join(alone[item][n] for item in items if n in alone[item]) for n in range(first, last + 1)}
            assert rows(connection, f'{first}:{last}', items) == {n: text for n, text in wanted.items() if text}, items
        assert all(len(alone[item]) == len(corpus) for item in ITEMS if not item.startswith('BINARY'))
