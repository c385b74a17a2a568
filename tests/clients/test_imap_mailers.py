"""mutt and neomutt on a terminal: read, flag, search on the server, move into mailboxes old and new, delete, send with a copy."""
import pytest

from harness import imap, imapclients, mails, wire

TLS = [pytest.param(tls, id=name) for tls, name in ((None, 'plain'), ('starttls', 'starttls'), ('connect', 'imaps'))]


@pytest.fixture(params=['mutt', 'neomutt'])
def mailer(request):
    return request.param


@pytest.fixture
def user(penfold_server, new_user):
    """With ten messages in the mailbox, letter 0 to letter 9."""
    name = new_user()
    with wire.smtp(penfold_server) as connection:
        for n in range(10):
            message = mails.sized(800 + n * 50, name=f'letter {n}').replace(b'sender@elsewhere', b'bob@example', 1)
            wire.deliver(penfold_server, b'Message-ID: <%d@example.test>\r\n' % n + message, name, wire=connection)
    return name


def shown(held):
    return [(m.subject, sorted(m.flags)) for m in held]


@pytest.mark.parametrize('tls', TLS)
def test_a_session(penfold_server, user, tmp_path, mailer, tls):
    keys = ('<first-entry><display-message><exit>'                                         # reads letter 0
            '<tag-pattern>~s letter.[12]<enter><tag-prefix><flag-message><untag-pattern>~A<enter>'
            '<tag-pattern>=b 000000000<enter><untag-pattern>~s letter.[0-5]<enter>'        # found by SEARCH, on the server
            '<tag-prefix><save-message>=Shelf/new<enter><untag-pattern>~A<enter>'          # made for it; letters 6 to 9
            '<tag-pattern>~s letter.3<enter><tag-prefix><copy-message>=Archive<enter><untag-pattern>~A<enter>'
            '<delete-pattern>~s letter.4<enter><sync-mailbox>'
            '<tag-pattern>~s letter.5<enter><tag-prefix><set-flag>r<quit>')
    screen = imapclients.mutt(mailer, penfold_server, user, tmp_path, keys, tls=tls)
    account = imap.holds_all(penfold_server, user)
    assert shown(account['INBOX']) == [
        ('letter 0', ['\\Seen']), ('letter 1', ['\\Flagged']), ('letter 2', ['\\Flagged']), ('letter 3', []),
        ('letter 5', ['\\Answered', '\\Seen'])], screen[-3000:]
    assert [m.subject for m in account['Shelf/new']] == [f'letter {n}' for n in (6, 7, 8, 9)]
    assert [m.subject for m in account['Archive']] == ['letter 3']


def test_uploads(penfold_server, new_user, tmp_path, mailer):
    """Copies a file of mails into the account, by APPEND."""
    user = new_user()
    sent = [mails.sized(700, name='one'), mails.sized(90000, name='two')]
    (tmp_path / 'box').write_bytes(b''.join(b'From a@elsewhere.test Sat Feb  3 10:11:12 2024\n' + m.replace(b'\r\n', b'\n') + b'\n' for m in sent))
    keys = '<tag-pattern>~A<enter><tag-prefix><copy-message>=Archive<enter><exit>'
    screen = imapclients.mutt(mailer, penfold_server, user, tmp_path, keys, mailbox=str(tmp_path / 'box'))
    found = imap.holds(penfold_server, user, 'Archive')
    assert [m.subject for m in found] == ['one', 'two'], screen[-3000:]
    assert [m.data.split(b'\r\n\r\n', 1)[1] for m in found] == [m.split(b'\r\n\r\n', 1)[1] for m in sent]


def test_answers(penfold_server, user, tmp_path, mailer):
    """A reply goes out by SMTP; its copy is in Sent, and the message answered is \\Answered."""
    screen = imapclients.mutt(mailer, penfold_server, user, tmp_path, '<first-entry><reply><send-message><quit>')
    assert len(wire.messages(penfold_server, 'bob', delete=True)) == 1, screen[-3000:]
    account = imap.holds_all(penfold_server, user)
    assert [(m.subject, m.flags) for m in account['Sent']] == [('Re: letter 0', {'\\Seen'})], screen[-3000:]
    assert '\\Answered' in account['INBOX'][0].flags
