"""swaks and curl hand in real messages by SMTP, and POP3 gives them back byte for byte."""
import email
import email.policy
import os

import pytest

from harness import clients, mails, wire


@pytest.fixture(autouse=True)
def empty(penfold_server):
    for user in ('alice', 'bob'):
        wire.messages(penfold_server, user, delete=True)


def only_message(host, user='alice'):
    found = wire.messages(host, user, delete=True)
    assert len(found) == 1, f'{len(found)} messages'
    return found[0]


@pytest.mark.parametrize('size', [200, 1000, 4096, 65536, 262143, 262144, 262145, 1 << 20, 5 * 1000 * 1000])
def test_curl_delivers_sizes(penfold_server, tmp_path, size):
    message = mails.sized(size)
    assert len(message) == size
    (tmp_path / 'mail').write_bytes(message)
    clients.curl_send(penfold_server, tmp_path / 'mail', 'alice')
    assert mails.same(message, only_message(penfold_server))


def test_curl_delivers_50_megabytes(penfold_server, tmp_path):
    """Exactly as much as the default limit allows."""
    message = mails.sized(50 << 20)
    (tmp_path / 'mail').write_bytes(message)
    clients.curl_send(penfold_server, tmp_path / 'mail', 'alice')
    got = only_message(penfold_server)
    assert mails.same(message, got), f'{len(message)} bytes sent, {len(got)} received'


def test_one_byte_more_is_refused(penfold_server):
    """Over the limit: refused after the end of the data with 552, and the session goes on [RFC5321 4.5.3.1.9]."""
    message = mails.sized((50 << 20) + 1)
    with wire.smtp(penfold_server, timeout=60) as connection:
        connection.command('MAIL FROM:<sender@elsewhere.test>')
        connection.command(f'RCPT TO:<{penfold_server.address("alice")}>')
        assert connection.command('DATA')[0] == 354
        try:
            connection.send(wire.stuff(message))
        except (BrokenPipeError, ConnectionResetError):
            pass
        code, text = connection.reply()
        assert code == 552 and text[0].startswith('5.3.4'), (code, text)
    assert wire.messages(penfold_server, 'alice') == []


@pytest.mark.parametrize('size', [200, 5000, 300 * 1000, 3 * 1000 * 1000])
def test_swaks_delivers_sizes(penfold_server, tmp_path, size):
    message = mails.sized(size, eight_bit=True)
    clients.swaks_send_raw(penfold_server, message, tmp_path)
    assert mails.same(message, only_message(penfold_server))


def test_swaks_delivers_attachments(penfold_server, tmp_path):
    picture = os.urandom(200000)
    (tmp_path / 'picture.png').write_bytes(picture)
    clients.swaks_send(penfold_server, '--header', 'Subject: with a picture', '--body', 'see the picture',
                       '--attach-type', 'image/png', '--attach', f'@{tmp_path}/picture.png')
    got = email.message_from_bytes(only_message(penfold_server), policy=email.policy.default)
    assert got['Subject'] == 'with a picture'
    assert [part.get_content() for part in got.iter_attachments()] == [picture]
    assert got.get_body().get_content().strip() == 'see the picture'


def test_swaks_default_message(penfold_server):
    """The line that make run prints."""
    clients.swaks_send(penfold_server, '--header', 'Subject: hello')
    assert b'\r\nSubject: hello\r\n' in only_message(penfold_server)


def test_swaks_over_starttls(penfold_server, tmp_path):
    message = mails.sized(3000)
    clients.swaks_send_raw(penfold_server, message, tmp_path, tls=True)
    assert mails.same(message, only_message(penfold_server))


def test_curl_over_starttls(penfold_server, tmp_path):
    """By the host's name and with the certificate that init made as the only CA."""
    message = mails.sized(2 << 20)
    (tmp_path / 'mail').write_bytes(message)
    clients.curl_send(penfold_server, tmp_path / 'mail', 'alice', tls=True)
    assert mails.same(message, only_message(penfold_server))


def test_curl_two_recipients(penfold_server, tmp_path):
    message = mails.sized(2000)
    (tmp_path / 'mail').write_bytes(message)
    clients.curl_send(penfold_server, tmp_path / 'mail', 'alice', 'bob')
    for user in ('alice', 'bob'):
        wire.arrived(penfold_server, user, 1)
        assert mails.same(message, only_message(penfold_server, user))


def test_the_unknown_and_the_foreign_are_refused(penfold_server):
    for to in ('nobody@example.test', 'alice@other.test'):
        status, _, _ = clients.program(['swaks', '--server', '127.0.0.1', '--port', str(penfold_server.port('smtp')), '--from',
                                        'sender@elsewhere.test', '--to', to, '--silent', '3'])
        assert status == 24, to  # swaks: no recipient was accepted


def test_real_mails_by_curl(penfold_server, tmp_path):
    """Every mail of Python's test suite and of tests/corpus, line ends as CRLF."""
    corpus = mails.corpus()
    assert len(corpus) > 40
    for _, message in corpus:
        (tmp_path / 'mail').write_bytes(message)
        clients.curl_send(penfold_server, tmp_path / 'mail', 'alice')
    assert_same(corpus, wire.messages(penfold_server, 'alice', delete=True))


def test_real_mails_by_swaks(penfold_server, tmp_path):
    corpus = [(name, message) for name, message in mails.corpus() if not message.startswith(b'From ')]
    for _, message in corpus:
        clients.swaks_send_raw(penfold_server, message, tmp_path, to='bob')
    assert_same(corpus, wire.messages(penfold_server, 'bob', delete=True))


def assert_same(corpus, found):
    assert len(found) == len(corpus)
    assert [name for (name, message), got in zip(corpus, found) if not mails.same(message, got)] == []
