"""curl, mpop and fetchmail collect what came in, byte for byte, and delete it: in the clear, by STLS and by POP3S."""
import re

import pytest

from harness import clients, mails, wire

# What fetchmail's idea of a header leaves alone; the other clients get every mail there is.
WELL_FORMED = re.compile(rb'\A(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+\r\n')


@pytest.fixture
def corpus(penfold_server):
    """Puts the mails into alice's mailbox."""
    def put(wanted=lambda message: True):
        wire.messages(penfold_server, 'alice', delete=True)
        chosen = [m for _, m in mails.corpus() if wanted(m)] + [mails.sized(300 * 1000), mails.sized(2000, eight_bit=True)]
        assert len(chosen) > 20
        with wire.smtp(penfold_server, timeout=60) as connection:
            for message in chosen:
                wire.deliver(penfold_server, message, 'alice', wire=connection)
        return chosen
    return put


def assert_same_set(sent, received):
    """Each message sent was received once, whatever the order."""
    left = list(received)
    for message in sent:
        match = next((got for got in left if mails.same(message, got)), None)
        assert match is not None, f'not received: {message[:300]!r}'
        left.remove(match)
    assert not left, f'{len(left)} too many: {left[0][:300]!r}'



def back_to_crlf(message):
    return message.replace(b'\n', b'\r\n')


def is_empty(host):
    return wire.messages(host, 'alice') == []


@pytest.mark.parametrize('service, tls', [('pop3', False), ('pop3', True), ('pop3s', True)], ids=['plain', 'stls', 'pop3s'])
def test_curl(penfold_server, corpus, tmp_path, service, tls):
    sent = corpus()
    received = clients.curl_collect(penfold_server, 'alice', tmp_path, service, tls)
    assert [n for n, pair in enumerate(zip(sent, received)) if not mails.same(*pair)] == []
    assert len(received) == len(sent)
    assert is_empty(penfold_server)


@pytest.mark.parametrize('tls', [None, 'starttls', 'connect'])
def test_mpop(penfold_server, corpus, tmp_path, tls):
    """A maildir has LF for line ends: put back, the messages are what was sent."""
    sent = corpus()
    received = clients.mpop(penfold_server, 'alice', tmp_path, tls)
    assert_same_set(sent, [back_to_crlf(m) for m in received])
    assert is_empty(penfold_server)


@pytest.mark.parametrize('tls', [None, 'starttls', 'connect'])
def test_fetchmail(penfold_server, corpus, tmp_path, tls):
    sent = corpus(WELL_FORMED.match)
    received = clients.fetchmail(penfold_server, 'alice', tmp_path, tls)
    assert_same_set(sent, [back_to_crlf(m) for m in received])
    assert is_empty(penfold_server)


def test_50_megabytes_by_curl(penfold_server, tmp_path):
    wire.messages(penfold_server, 'alice', delete=True)
    message = mails.sized(50 << 20)
    (tmp_path / 'mail').write_bytes(message)
    clients.curl_send(penfold_server, tmp_path / 'mail', 'alice')
    received = clients.curl_collect(penfold_server, 'alice', tmp_path)
    assert len(received) == 1 and mails.same(message, received[0])
    assert is_empty(penfold_server)
