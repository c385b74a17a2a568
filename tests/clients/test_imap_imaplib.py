"""Python's imaplib: every command of ours that it has a method for, and what the account holds afterwards."""
import imaplib
import re
import ssl

import pytest

from harness import imap, mails

WHEN = '"03-Feb-2024 10:11:12 +0100"'
PROJECTS = 'Projects/Penfold'


@pytest.fixture(params=['plain', 'starttls', 'imaps'])
def session(request, penfold_server, new_user):
    """Logged in to a new account, which is its attribute `account`."""
    context = ssl.create_default_context(cafile=penfold_server.certificate())
    context.check_hostname = False  # it connects to an address; the certificate itself is the CA
    if request.param == 'imaps':
        client = imaplib.IMAP4_SSL('127.0.0.1', penfold_server.port('imaps'), ssl_context=context)
    else:
        client = imaplib.IMAP4('127.0.0.1', penfold_server.port('imap'))
    if request.param == 'starttls':
        ok(client.starttls(context))
    client.account = new_user()
    name, password = penfold_server.address(client.account), penfold_server.passwords[client.account]
    if request.param == 'starttls':
        ok(client.authenticate('PLAIN', lambda _: f'\0{name}\0{password}'.encode()))
    else:
        ok(client.login(name, password))
    yield client
    assert client.logout()[0] == 'BYE'


def ok(answer):
    assert answer[0] == 'OK', answer
    return answer[1]


def test_a_day(penfold_server, session):
    """Appends, reads, flags, searches, copies, moves, deletes and renames as a script would."""
    ok(session.create(PROJECTS))
    ok(session.subscribe(PROJECTS))
    assert PROJECTS.encode() in b' '.join(ok(session.lsub('""', 'Proj*')))
    sent = [mails.sized(900 + n * 100, name=f'letter {n}') for n in range(10)]
    for n, message in enumerate(sent):
        ok(session.append('INBOX', r'(\Seen $Label1)' if n % 2 else None, WHEN, message))
    assert ok(session.select()) == [b'10']
    assert ok(session.fetch('3', '(RFC822)'))[0][1] == sent[2]  # which makes it \Seen
    dates = ok(session.fetch('1:*', '(INTERNALDATE)'))
    assert len(dates) == 10 and {imaplib.Internaldate2tuple(line)[:5] for line in dates} == \
        {imaplib.Internaldate2tuple(b'INTERNALDATE "03-Feb-2024 10:11:12 +0100"')[:5]}
    assert ok(session.search(None, 'KEYWORD', '$Label1')) == [b'2 4 6 8 10']
    assert ok(session.search('UTF-8', 'SUBJECT', '"letter 7"', 'NOT', 'DELETED')) == [b'8']
    assert ok(session.uid('SEARCH', 'UNSEEN', 'LARGER', '1000')) == [b'5 7 9']
    ok(session.store('1:4', '+FLAGS', r'(\Flagged)'))
    ok(session.copy('1:3', PROJECTS))
    ok(session.uid('MOVE', '9:10', PROJECTS))
    ok(session.store('5', '+FLAGS', r'(\Deleted)'))
    assert ok(session.expunge()) == [b'9', b'9', b'5']  # those that MOVE has told of, too [RFC6851 4.3]
    ok(session.check())
    status = ok(session.status(PROJECTS, '(MESSAGES UNSEEN UIDNEXT)'))[0].decode()
    assert {f'{name} {value}' for name, value in re.findall(r'([A-Z]+) (\d+)', status)} == {'MESSAGES 5', 'UNSEEN 2', 'UIDNEXT 6'}, status
    ok(session.rename(PROJECTS, 'Projects/Other'))
    ok(session.unsubscribe(PROJECTS))
    ok(session.unselect())
    account = imap.holds_all(penfold_server, session.account)
    assert [(m.subject, sorted(m.flags)) for m in account['INBOX']] == [
        ('letter 0', ['\\Flagged']), ('letter 1', ['$Label1', '\\Flagged', '\\Seen']), ('letter 2', ['\\Flagged', '\\Seen']),
        ('letter 3', ['$Label1', '\\Flagged', '\\Seen']), ('letter 5', ['$Label1', '\\Seen']), ('letter 6', []),
        ('letter 7', ['$Label1', '\\Seen'])]
    assert [m.subject for m in account['Projects/Other']] == [f'letter {n}' for n in (0, 1, 2, 8, 9)]
    assert all(m.data in sent for box in account.values() for m in box)


def test_every_part_of_a_message(session):
    """Sections as imaplib hands them over: pairs of a head and a literal."""
    message = (b'From: a@elsewhere.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n'
               b'Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nfirst\r\n'
               b'--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecond\r\n--b--\r\n')
    ok(session.append('INBOX', None, None, message))
    assert ok(session.select(readonly=True)) == [b'1']
    wanted = {'BODY[]': message, 'BODY[1]': b'first', 'BODY[1.MIME]': b'Content-Type: text/plain\r\n\r\n', 'BODY[2.HEADER]': b'Subject: inner\r\n\r\n',
              'BODY[2.TEXT]': b'second', 'BODY[HEADER.FIELDS (FROM)]': b'From: a@elsewhere.test\r\n\r\n', 'BODY[]<6.14>': b'a@elsewhere.te'}
    for item, data in wanted.items():
        assert ok(session.fetch('1', f'({item})'))[0][1] == data, item
    structure = ok(session.fetch('1', '(BODYSTRUCTURE)'))[0]
    assert b'"mixed"' in structure.lower() and b'"rfc822"' in structure.lower()
    assert ok(session.fetch('1', '(FLAGS)')) == [b'1 (FLAGS ())']


def test_refusals(session):
    """NO for what is not there, BAD for what is no command; and the session goes on."""
    assert session.select('Nowhere')[0] == 'NO'
    assert session.create('INBOX')[0] == 'NO'
    assert session.delete('INBOX')[0] == 'NO'
    assert session.append('Nowhere', None, None, b'Subject: lost\r\n\r\n')[0] == 'NO'
    for name, arguments in (('NONSENSE', ()), ('STATUS', ('INBOX',))):
        with pytest.raises(imaplib.IMAP4.error):
            imaplib.Commands.setdefault(name, ('AUTH', 'SELECTED'))
            ok(session._simple_command(name, *arguments))
    ok(session.noop())
    ok(session.select())
    assert session.copy('1:*', 'Nowhere')[0] in ('NO', 'OK')
    ok(session.close())


def test_tree(penfold_server, session):
    """Creates, renames and deletes a tree."""
    for name in ('A/B/C', 'A/B/D', 'A'):
        ok(session.create(name))
    ok(session.append('A/B/C', None, None, mails.sized(500, name='deep')))
    ok(session.rename('A', 'Z/Y'))
    assert [m.subject for m in imap.holds(penfold_server, session.account, 'Z/Y/B/C')] == ['deep']
    for name in ('Z/Y/B/C', 'Z/Y/B/D', 'Z/Y'):
        ok(session.delete(name))
    with imap.login(penfold_server, session.account) as connection:
        assert not [name for name in imap.mailboxes(connection) if name[:1] in 'AZ' and name != 'Archive']


def test_utf8(penfold_server, session):
    """ENABLE UTF8=ACCEPT: names, headers and what is searched for as they are [RFC9755 3]."""
    message = 'From: Grüße <grüße@elsewhere.test>\r\nSubject: Zürich\r\n\r\nÄpfel und Birnen\r\n'.encode()
    with imap.login(penfold_server, session.account) as connection:
        connection.command('ENABLE UTF8=ACCEPT')
        connection.append('INBOX', message)
    ok(session.enable('UTF8=ACCEPT'))
    assert session.utf8_enabled
    ok(session.create('"Bücher/Köln"'))
    ok(session.subscribe('"Bücher/Köln"'))
    assert b'"B\xc3\xbccher/K\xc3\xb6ln"' in b' '.join(ok(session.list('""', '"Bü*"')))
    assert ok(session.select()) == [b'1']
    assert ok(session.search(None, 'SUBJECT', '"zürich"', 'BODY', '"äpfel"')) == [b'1']
    assert ok(session.search(None, 'FROM', '"nobody"')) == [b'']
    assert ok(session.fetch('1', '(BODY.PEEK[])'))[0][1] == message
    assert ok(session.fetch('1', '(ENVELOPE)'))[0][1] == 'Zürich'.encode()
    ok(session.copy('1', '"Bücher/Köln"'))
    assert 'MESSAGES 1' in ok(session.status('"Bücher/Köln"', '(MESSAGES)'))[0].decode()
    ok(session.delete('"Bücher/Köln"'))
