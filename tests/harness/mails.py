"""Messages to deliver: real ones from Debian's Python test suite and tests/corpus, and ones made to measure."""
import glob
import os
import re

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON_MAILS = '/usr/lib/python3.11/test/test_email/data'


def crlf(data):
    """All line ends become CRLF, as a mail program sends them; the last line gets one."""
    data = re.sub(rb'\r\n|\r|\n', b'\r\n', data).replace(b'\0', b'')
    return data if data.endswith(b'\r\n') else data + b'\r\n'


def corpus():
    """[(name, bytes)] of every mail there is; the error of a missing package is the test's."""
    paths = sorted(glob.glob(os.path.join(PYTHON_MAILS, '*.txt'))) + sorted(glob.glob(os.path.join(TESTS, 'corpus', '*.eml')))
    found = []
    for path in paths:
        with open(path, 'rb') as f:
            found.append((os.path.basename(path), crlf(f.read())))
    return found


def sized(size, name='sized', eight_bit=False):
    """A message of exactly `size` bytes: a small header and lines of text, all different."""
    head = f'From: <sender@elsewhere.test>\r\nTo: <alice@example.test>\r\nSubject: {name}\r\n'
    if eight_bit:
        head += 'MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n'
    head = (head + '\r\n').encode()
    fill = 'Grüße aus Köln, '.encode() if eight_bit else b'all work and no play '
    lines, length, number = [head], len(head), 0
    while size - length >= 78 * 2:
        line = (b'%010d ' % number + fill * 4)[:74] if not eight_bit else b'%010d ' % number + fill * 3
        lines.append(line + b'\r\n')
        length += len(lines[-1])
        number += 1
    rest = size - length
    if rest < 2:
        raise ValueError(f'{size} bytes are too few for a message')
    lines.append(b'x' * (rest - 2) + b'\r\n')
    return b''.join(lines)


def same(sent, received, trace_fields=(b'received', b'return-path', b'delivered-to', b'authentication-results')):
    """What the server may add on the way is trace fields at the top [RFC5321 4.4]; all else is byte for byte what was sent."""
    if not received.endswith(sent):
        return False
    added = received[:len(received) - len(sent)]
    names = [line.split(b':')[0].lower() for line in re.split(rb'\r\n(?![ \t])', added) if line]
    return all(name in trace_fields for name in names) and (not added or added.endswith(b'\r\n'))
