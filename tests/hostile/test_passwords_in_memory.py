"""A password that was sent is in the server's memory no longer than it takes to check it, also when nothing was checked: the process is
searched for it, as it came and in base 64."""
import base64
import re

import pytest

from harness import wire

PASSWORD = 'Xq7vunique-zz91-pass'
USER = 'alice'
MAPPING_MAX = 1 << 30  # a sanitizer's shadow is no place for what came


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    from harness.host import Host
    with Host(tmp_path_factory.mktemp('memory') / 'mail', users=()) as made:
        made.add_account(USER, PASSWORD)
        yield made


def plain(host):
    return base64.b64encode(f'\0{host.address(USER)}\0{PASSWORD}'.encode()).decode()


def memory_of(pid):
    """Every part of it that can be written to."""
    with open(f'/proc/{pid}/maps', encoding='ascii') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as memory:
        for line in maps:
            start, end, rights = re.match(r'([0-9a-f]+)-([0-9a-f]+) (\S+)', line).groups()
            size = int(end, 16) - int(start, 16)
            if not rights.startswith('rw') or size > MAPPING_MAX:
                continue
            try:
                memory.seek(int(start, 16))
                yield memory.read(size)
            except OSError:
                continue  # it is there no longer, or may not be read


def holds(host, *needles):
    """The needles that are in the server's memory."""
    pid = host.server_pid()
    try:
        parts = list(memory_of(pid))
    except PermissionError:
        pytest.skip("the server's memory can be read by root alone")
    return [needle for needle in needles if any(needle in part for part in parts)]


def secrets_of(host):
    """Its forms, without the first bytes: what is freed begins with the allocator's own notes."""
    message = plain(host)
    return [PASSWORD[2:14].encode(), message[-20:-4].encode(), base64.b64encode(PASSWORD.encode())[2:18]]


def test_what_is_not_wiped_is_found(host):
    with wire.Wire(host.port('submission')) as connection:
        assert connection.reply()[0] == 220
        assert connection.command('EHLO needle-that-stays.test')[0] == 250
        assert holds(host, b'needle-that-stays') == [b'needle-that-stays']


@pytest.mark.parametrize('service, lines', [
    ('submission', ['EHLO c', 'AUTH PLAIN {plain}']),
    ('submission', ['EHLO c', 'AUTH PLAIN', '{plain}']),
    ('submission', ['EHLO c', 'AUTH LOGIN', '{name}', '{password}']),
    ('submission', ['EHLO c', 'AUTH PLAIN {plain}!']),
    ('submission', ['EHLO c', 'AUTH PLAIN', '{plain}!']),
    ('submission', ['EHLO c', 'AUTH PLAIN', '{plain}\0']),
    ('submission', ['EHLO c', 'AUTH NONE {plain}']),
    ('submission', ['AUTH PLAIN {plain}']),
    ('smtp', ['EHLO c', 'auth PLAIN {plain}']),
    ('pop3', ['USER {address}', 'PASS {clear}']),
    ('pop3', ['USER {address}', 'PASS {clear}x']),
    ('pop3', ['AUTH PLAIN {plain}']),
    ('pop3', ['AUTH PLAIN', '{plain}']),
    ('pop3', ['AUTH PLAIN {plain}!']),
    ('pop3', ['AUTH NONE {plain}']),
    ('pop3', ['PASS {clear}']),
    ('imap', ['a LOGIN {address} {clear}']),
    ('imap', ['a LOGIN {address} {clear}x']),
    ('imap', ['a LOGIN {address} "{clear}" more']),
    ('imap', ['a AUTHENTICATE PLAIN {plain}']),
    ('imap', ['a AUTHENTICATE PLAIN', '{plain}']),
    ('imap', ['a AUTHENTICATE PLAIN', '{plain}!']),
    ('imap', ['a AUTHENTICATE NONE {plain}']),
    ('imap', ['a XLOGIN {address} {clear}']),
    ('imap', ['a LOGIN {address} {{20+}}', '{clear}']),
    ('imap', ['a LOGIN {address} {{20+}}', '{clear} more']),
    ('imap', ['a LOGIN {address} {clear} {{99999}}']),
    ('imap', ['a LOGIN {address} {clear} {{3+}}', 'xyz']),
    ('imap', ['a AUTHENTICATE PLAIN {plain} {{3+}}', 'xyz']),
], ids=lambda value: value if isinstance(value, str) else '-'.join(value).replace(' ', '_').replace('\0', 'NUL'))
def test_a_password_does_not_stay(host, service, lines):
    forms = {'plain': plain(host), 'name': base64.b64encode(host.address(USER).encode()).decode(), 'clear': PASSWORD,
             'password': base64.b64encode(PASSWORD.encode()).decode(), 'address': host.address(USER)}
    with wire.Wire(host.port(service)) as connection:
        hear = connection.line if service in ('pop3', 'imap') else connection.reply
        hear()
        for line in lines:
            connection.send(line.format(**forms) + '\r\n')
            if not line.endswith('+}}'):
                answer = hear()
        assert holds(host, *secrets_of(host)) == [], answer
