"""A message that is not made of lines (BINARYMIME) and what POP3 makes of it: an answer that ends where it ends, for clients that
count CRLF as the end of a line and for those that count LF [RFC1939 3]; docs/decisions/0021-chunks.md."""
import pytest

from harness import wire

HEAD = b'Subject: x\r\n\r\n'
BODIES = [b'', b'text\r\n', b'no end', b'no end.', b'.', b'bare\n', b'bare\r', b'\n', b'\r', b'a\n.b\n', b'a\n.\nb\n', b'a\n.\r\nb', b'a\r.\r\nb',
          b'a\n.\r', b'\r\n.\r\n', b'\n.\n.\n.\n', b'\0\xff\r\n', b'x' * 70000, b'.' * 3000 + b'\n' + b'.\n' * 3000]


def hand_in(host, body):
    with wire.smtp(host) as smtp:
        assert smtp.command('MAIL FROM:<sender@elsewhere.test> BODY=BINARYMIME')[0] == 250
        assert smtp.command('RCPT TO:<alice@example.test>')[0] == 250
        message = HEAD + body
        smtp.send(b'BDAT %d LAST\r\n' % len(message) + message)
        assert smtp.reply()[0] == 250


def answer(connection, command):
    """Up to the first CRLF.CRLF, and nothing behind it."""
    connection.send(command)
    data = connection.rest
    while b'\r\n.\r\n' not in data:
        more = connection.socket.recv(65536)
        assert more, data[-200:]
        data += more
    connection.rest = b''
    assert data.startswith(b'+OK') and data.endswith(b'\r\n.\r\n') and data.count(b'\r\n.\r\n') == 1
    return data[data.index(b'\r\n') + 2:-3]


def undo(text):
    """As a client does that reads lines by LF: a dot in front of a line goes."""
    lines = text.split(b'\n')
    assert b'.' not in lines and b'.\r' not in lines
    return b'\n'.join(line[1:] if line.startswith(b'.') else line for line in lines)


@pytest.mark.parametrize('end', [b'', b'.', b'end\n', b'end\r', b'end\r\n'])
def test_sizes_are_what_retr_sends(dialog_host, end):
    """[RFC1939 11], also beside others and when some have gone."""
    wire.messages(dialog_host, 'alice', delete=True)
    for body in (b'one\r\n', end, b'no end', end):
        hand_in(dialog_host, body)
    for gone in (1, 3):
        with wire.login(dialog_host, 'alice') as pop3:
            pop3.send('STAT\r\n')
            count, total = map(int, pop3.line().split()[1:])
            listed = [int(line.split()[1]) for line in answer(pop3, 'LIST\r\n').splitlines()]
            sent = [len(undo(answer(pop3, f'RETR {n + 1}\r\n'))) for n in range(count)]
            assert listed == sent and total == sum(sent) and count in (4, 3)
            pop3.send(f'RETR {count}\r\n')
            assert pop3.line() == f'+OK {sent[-1]} octets'
            answer_rest = b''
            while not answer_rest.endswith(b'\r\n.\r\n'):
                answer_rest += pop3.socket.recv(65536) if not pop3.rest else pop3.rest
                pop3.rest = b''
            pop3.send(f'DELE {gone}\r\nQUIT\r\n')
            assert pop3.line().startswith('+OK') and pop3.line().startswith('+OK')


@pytest.mark.parametrize('body', BODIES, ids=[repr(body[:10]) for body in BODIES])
def test_retr_and_top_end_where_they_end(dialog_host, body):
    wire.messages(dialog_host, 'alice', delete=True)
    hand_in(dialog_host, body)
    with wire.login(dialog_host, 'alice') as pop3:
        for command in ('RETR 1\r\n', 'TOP 1 100000\r\n'):
            got = undo(answer(pop3, command))
            kept = got[got.index(HEAD):]
            message = HEAD + body
            assert kept == (message if message.endswith(b'\r\n') else message + b'\r\n')
        assert answer(pop3, 'TOP 1 0\r\n').endswith(HEAD)
        pop3.send('DELE 1\r\nQUIT\r\n')
        assert pop3.line().startswith('+OK') and pop3.line().startswith('+OK')
