"""Message smuggling: what one server might take for the end of a message must not end it here.

Every pair of line ends around a dot, other than CRLF and CRLF, is put before a second envelope in the text of one
message. The message is refused in clear words [RFC5321 2.3.8] [RFC5321 4.1.1.4], and no second one comes out of it, sent at once or
byte by byte. The negative control shows that the form of the test would see a second message.

With BDAT nothing in the octets ends a message; there the size is what two servers might read in different ways.
"""
import itertools

import pytest

from harness import wire

ENDS = {'LF': b'\n', 'CR': b'\r', 'CRLF': b'\r\n', 'CRCRLF': b'\r\r\n', 'LFCR': b'\n\r', 'NULLF': b'\0\n', 'LFLF': b'\n\n'}
# Where CRLF.CRLF is among the bytes, the message does end there, whatever stands before it.
MATRIX = [(a, b) for a, b in itertools.product(ENDS, repeat=2) if b'\r\n.\r\n' not in ENDS[a] + b'.' + ENDS[b]]
SECOND = (b'MAIL FROM:<mallory@elsewhere.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n'
          b'Subject: smuggled\r\n\r\nsmuggled text\r\n')


def exchange(connection, data, slowly):
    """Sends what ends with QUIT; the replies up to the one to that, or to the close."""
    if slowly:
        connection.send_slowly(data)
    else:
        try:
            connection.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
    replies = []
    try:
        while not replies or replies[-1][0] != 221:
            replies.append(connection.reply())
    except wire.Closed:
        pass
    return replies


def attempt(host, before, after, slowly):
    """Sends the message with the pair in it; the replies up to the answer to NOOP behind it, or to the close."""
    with wire.smtp(host) as connection:
        assert connection.command('MAIL FROM:<sender@elsewhere.test>')[0] == 250
        assert connection.command('RCPT TO:<alice@example.test>')[0] == 250
        assert connection.command('DATA')[0] == 354
        data = b'Subject: first\r\n\r\ntext' + before + b'.' + after + SECOND + b'.\r\nNOOP\r\nQUIT\r\n'
        return exchange(connection, data, slowly)


@pytest.fixture(autouse=True)
def empty_mailboxes(dialog_host):
    for user in ('alice', 'bob'):
        wire.messages(dialog_host, user, delete=True)


@pytest.mark.parametrize('slowly', [False, True], ids=['at-once', 'bytes'])
def test_smuggling_is_refused(dialog_host, slowly):
    """The whole matrix in one go, each pair on its own connection."""
    assert len(MATRIX) == len(ENDS) ** 2 - 2
    wrong = []
    for before, after in MATRIX:
        replies = attempt(dialog_host, ENDS[before], ENDS[after], slowly)
        if not replies or not 500 <= replies[0][0] <= 599:
            wrong.append(f'{before}.{after}: not refused: {replies}')
        elif any(code in (250, 354) for code, _ in replies[1:-2]) or len(replies) > 3:
            wrong.append(f'{before}.{after}: the text was read as commands: {replies}')
        elif replies[0][1] == [''] or not any(word in ' '.join(replies[0][1]).lower()
                                              for word in ('bare', 'line end', 'cr', 'lf', 'nul')):
            wrong.append(f'{before}.{after}: the refusal does not say why: {replies[0]}')
    assert not wrong, '\n'.join(wrong)
    assert wire.messages(dialog_host, 'alice') == []
    assert wire.messages(dialog_host, 'bob') == []


def test_a_message_with_a_fault_before_its_true_end(dialog_host):
    """CR CRLF . CRLF ends the message, which is refused for its bare CR; what follows is the client's own next envelope."""
    replies = attempt(dialog_host, b'\r\r\n', b'\r\n', False)
    assert replies[0][0] == 550 and len(replies) in (1, 7), replies
    assert wire.messages(dialog_host, 'alice') == []


def test_true_end_is_seen(dialog_host):
    """Negative control: with CRLF.CRLF the same bytes are two messages."""
    replies = attempt(dialog_host, b'\r\n', b'\r\n', False)
    assert [code for code, _ in replies] == [250, 250, 250, 354, 250, 250, 221]
    assert len(wire.messages(dialog_host, 'alice')) == 1
    found = wire.messages(dialog_host, 'bob')
    assert len(found) == 1 and b'smuggled text' in found[0]


# --- chunks -----------------------------------------------------------------------------------------------------------

def attempt_chunks(host, data, slowly, body=''):
    """Sends the bytes behind an envelope, then NOOP and QUIT; the replies up to the answer to QUIT or the close."""
    with wire.smtp(host) as connection:
        assert connection.command(f'MAIL FROM:<sender@elsewhere.test>{body}')[0] == 250
        assert connection.command('RCPT TO:<alice@example.test>')[0] == 250
        data += b'NOOP\r\nQUIT\r\n'
        return [code for code, _ in exchange(connection, data, slowly)]


def chunk(data, last=False):
    return b'BDAT %d%s\r\n' % (len(data), b' LAST' if last else b'') + data


@pytest.mark.parametrize('slowly', [False, True], ids=['at-once', 'bytes'])
def test_no_line_end_ends_a_chunk(dialog_host, slowly):
    """The whole matrix [RFC3030 2]: text is refused as in DATA, whatever is binary is one message; and never two."""
    wrong = []
    for (before, a), (after, b) in itertools.product(ENDS.items(), repeat=2):
        data = b'Subject: first\r\n\r\ntext' + a + b'.' + b + SECOND + b'.\r\n'
        is_text = a == b == b'\r\n'
        got = attempt_chunks(dialog_host, chunk(data, last=True), slowly)
        if got != [250 if is_text else got[0], 250, 221] or not is_text and not 550 <= got[0] <= 554:
            wrong.append(f'{before}.{after}: {got}')
    assert not wrong, '\n'.join(wrong)
    assert len(wire.messages(dialog_host, 'alice')) == 1
    assert wire.messages(dialog_host, 'bob') == []


def test_binary_is_one_message_whatever_it_holds(dialog_host):
    for a, b in itertools.product(ENDS.values(), repeat=2):
        data = chunk(b'Subject: first\r\n\r\n' + a + b'.' + b + SECOND + b'.\r\n', last=True)
        assert attempt_chunks(dialog_host, data, False, ' BODY=BINARYMIME') == [250, 250, 221]
    assert len(wire.messages(dialog_host, 'alice')) == len(ENDS) ** 2
    assert wire.messages(dialog_host, 'bob') == []


# Each is what some server might read as a size other than the one that is meant, or as none.
SIZES = [b'-1', b'+5', b'0x5', b'5.0', b'5e0', b'5,', b'5LAST', b'LAST', b'', b'\xd9\xa5', b'99999999999999999999',
         b'18446744073709551621', b'5 LAST LAST', b'5 FIRST', b'5 6']


@pytest.mark.parametrize('slowly', [False, True], ids=['at-once', 'bytes'])
def test_a_size_that_is_none_smuggles_nothing(dialog_host, slowly):
    for size in SIZES:
        got = attempt_chunks(dialog_host, b'BDAT ' + size + b'\r\n' + SECOND + b'.\r\n', slowly)
        # The server says no and closes; who goes on sending for longer than it lingers loses the answer to a reset.
        assert (slowly and not got) or 500 <= got[0] <= 552, (size, got)
        assert 354 not in got, (size, got)
    assert wire.messages(dialog_host, 'alice') == []
    assert wire.messages(dialog_host, 'bob') == []


def test_refused_chunks_eat_their_octets(dialog_host):
    """What came behind a failed BDAT in the pipeline is still octets, with an envelope in them or not [RFC3030 2]."""
    evil = chunk(SECOND + b'.\r\n')
    assert attempt_chunks(dialog_host, chunk(b'a\nb') + evil + evil + chunk(b'', last=True), False) == [550] * 4 + [250, 221]
    assert attempt_chunks(dialog_host, b'RSET\r\n' + evil + chunk(SECOND, last=True), False) == [250, 503, 503, 250, 221]
    assert attempt_chunks(dialog_host, chunk(b'', last=True) + evil, False) == [250, 503, 250, 221]
    assert len(wire.messages(dialog_host, 'alice')) == 1
    assert wire.messages(dialog_host, 'bob') == []


def test_a_size_too_small_lets_commands_follow(dialog_host):
    """Negative control: what stands behind the octets that were announced is commands, so two messages are seen as two."""
    got = attempt_chunks(dialog_host, b'BDAT 5 LAST\r\nfirst' + SECOND + b'.\r\n', False)
    assert got == [250, 250, 250, 354, 250, 250, 221]
    assert len(wire.messages(dialog_host, 'bob')) == 1
