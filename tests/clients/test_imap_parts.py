"""FETCH of every part of every mail beside what Python's email parser makes of the same bytes [RFC3501 6.4.5] [RFC3516 4.2].

Where the two do not see the same parts, or not the same bytes in one, the mail is in DIFFERENT with the reason: what Python cannot
know, or does otherwise than RFC 2045 and 2046 say. A mail there that no longer differs is an error too.
"""
import email
import email.policy
import imaplib
import re

import pytest

from harness import mails, wire
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
def session(tmp_path_factory):
    with Host(tmp_path_factory.mktemp('parts') / 'mail', users=('alice',)) as host:
        corpus = [(name, message) for name, message in mails.corpus() if not message.startswith(b'From ')]
        for _, message in corpus:
            wire.deliver(host, message, 'alice')
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
    """(number, part) of all parts of a message that are numbered [RFC3501 6.4.5]."""
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
        if decoded is not None and decoded != part.get_payload(decode=True):
            yield f'{path}: decoded {decoded[:80]!r} and {part.get_payload(decode=True)[:80]!r}'
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
