"""Our DKIM signatures, verified by others: python3-dkim and Mail::DKIM, over real mails and odd bodies [RFC6376 6] [RFC8463]."""
import os
import subprocess

import dkim
import pytest

from harness.mails import corpus

HEAD = b'From: Alice <alice@example.test>\r\nTo: bob@example.test\r\nSubject: odd\r\nDate: Sat, 21 Nov 2026 23:00:00 +0000\r\n' \
       b'Message-ID: <1@example.test>\r\n'

ODD = {
    'empty body': b'\r\n',
    'no body': b'',
    'only line ends': b'\r\n\r\n\r\n\r\n',
    'no end': b'\r\ntext without an end',
    'spaces at the ends': b'\r\n  a  \t b \t\r\n\t\r\n c\r\n \r\n\r\n',
    'spaces at the very end': b'\r\ntext \t ',
    '8 bit': b'Content-Transfer-Encoding: 8bit\r\n\r\n' + bytes(range(128, 256)) + b'\r\n',
    'dots': b'\r\n.\r\n..\r\n.a\r\n',
    'long line': b'\r\n' + b'x' * 100000 + b'\r\n',
    'folded fields': b'X-Long: a\r\nSubject: two\r\n  \t words \r\n\tof it  \r\ncc:c@example.test\r\nCC: d@example.test\r\n\r\nx\r\n',
    'list': b'List-Id: <l.example.test>\r\nList-Unsubscribe: <mailto:u@example.test>\r\nSender: s@example.test\r\n\r\nx\r\n',
    'huge': b'\r\n' + b'The quick brown fox jumps over the lazy dog. \r\n' * 100000,
    'utf-8 header': 'Subject: Grüße aus Köln\r\n\r\nx\r\n'.encode(),
}


def usable(message):
    """Whether others can read its header at all, and it says who writes."""
    try:
        fields, _ = dkim.rfc822_parse(message)
    except dkim.DKIMException:
        return False
    names = [name.lower() for name, _ in fields]
    return names.count(b'from') == 1 and b'@' in dict((n.lower(), v) for n, v in fields)[b'from'] and b'\0' not in message


@pytest.fixture(scope='module')
def signed(tmp_path_factory):
    """(name, path) of each signed message, and the records."""
    folder = tmp_path_factory.mktemp('dkim')
    messages = [(name, HEAD + rest) for name, rest in ODD.items()]
    messages += [(name, message) for name, message in corpus() if usable(message)]
    assert len(messages) > 40
    paths = []
    for i, (_, message) in enumerate(messages):
        paths.append(str(folder / f'plain{i}'))
        with open(paths[-1], 'wb') as file:
            file.write(message)
    out = folder / 'signed'
    out.mkdir()
    tool = os.path.join(os.environ['PENFOLD_BUILD'], 'tests', 'dkimsign')
    done = subprocess.run([tool, str(out), *paths], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
    (folder / 'records').write_text(done.stdout)
    refused = done.stderr.count('\n')
    assert refused <= 3, done.stderr  # addresses that nobody can read
    made = [(name, str(out / str(i))) for i, (name, _) in enumerate(messages)]
    for _, path in made:  # as it arrives: DATA ends the last line
        with open(path, 'rb+') as file:
            if not file.read().endswith(b'\r\n'):
                file.write(b'\r\n')
    return [(name, path) for name, path in made if open(path, 'rb').read(15) == b'DKIM-Signature:'], folder / 'records'


def records_of(path):
    return dict(line.split(' ', 1) for line in path.read_text().splitlines())


def test_python_dkim_verifies(signed):
    messages, path = signed
    records = records_of(path)

    def dns(name, timeout=5):
        return records[name.decode().split('.')[0]].encode()

    for name, file in messages:
        with open(file, 'rb') as opened:
            message = opened.read()
        for index in range(2):
            verifier = dkim.DKIM(message)
            assert verifier.verify(idx=index, dnsfunc=dns), (name, index)
            names = [n.decode().strip().lower() for n in verifier.signature_fields[b'h'].split(b':')]
            assert names.count('from') == 2 and 'reply-to' in names


def test_what_is_added_or_changed_breaks_them(signed):
    messages, path = signed
    records = records_of(path)

    def holds(message):
        return [holds_one(message, i) for i in range(2)]

    def holds_one(message, index):
        try:
            return dkim.DKIM(message).verify(idx=index, dnsfunc=lambda name, timeout=5: records[name.decode().split('.')[0]].encode())
        except dkim.ValidationError:  # the body's hash
            return False

    with open(dict(messages)['list'], 'rb') as opened:
        message = opened.read()
    assert holds(message) == [True, True]
    assert holds(message.replace(b'Subject: odd', b'subject:   odd  ')) == [True, True]  # white space and case are nothing
    assert holds(message + b'\r\n\r\n') == [True, True]
    assert holds(b'Received: by somebody\r\n' + message) == [True, True]
    for added in (b'From: mallory@example.test\r\n', b'Subject: mine\r\n', b'Reply-To: mallory@example.test\r\n',
                  b'Content-Type: text/html\r\n', b'List-Unsubscribe: <mailto:mallory@example.test>\r\n'):
        assert holds(added + message) == [False, False], added
        assert holds(message.replace(b'\r\n\r\n', b'\r\n' + added + b'\r\n', 1)) == [False, False], added
    assert holds(message.replace(b'\r\nx\r\n', b'\r\ny\r\n')) == [False, False]


def test_mail_dkim_verifies(signed):
    messages, path = signed
    script = os.path.join(os.path.dirname(__file__), 'dkimverify.pl')
    done = subprocess.run(['perl', script, str(path), *(file for _, file in messages)],
                          stdout=subprocess.PIPE, text=True, check=True)
    results = {line.split(' ', 1)[0]: line.split(' ')[1:] for line in done.stdout.splitlines()}
    for name, file in messages:
        # Debian's version does not know Ed25519: to it such a signature is one of many that say nothing [RFC6376 6.1].
        assert results[file][0] == 'pass' and results[file][1] in ('pass', 'invalid'), name
