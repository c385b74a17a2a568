"""The PROXY protocol, version 2: whom a balancer speaks for, and what becomes of bad headers. The balancer here is 127.0.0.2."""
import base64
import json
import socket
import struct
import threading

import pytest

from harness import wire

BALANCER = '127.0.0.2'
SIGNATURE = b'\r\n\r\n\0\r\nQUIT\n'
SETTINGS = '''limits { proxies = {"127.0.0.2", "127.8.0.0/16"}  per_address = 3  command_time = %s  trusted = {"192.0.2.128/25"} }
auth { plaintext = "never"  delay_max = 1  address_failures = 3  hash_memory = 1M  hash_ops = 1 }'''


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS % '5m')


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """One for what leaves nothing behind."""
    from harness.host import Host
    with Host(tmp_path_factory.mktemp('shared') / 'mail', settings=SETTINGS % '5m') as made:
        yield made


def tlv(kind, value):
    return bytes([kind]) + struct.pack('>H', len(value)) + value


def header(client='192.0.2.7', command=0x21, family=None, more=b'', port=40000):
    """What says that `client` has connected; None: nothing about a client."""
    if client is None:
        body, family = b'', family or 0
    else:
        kind = socket.AF_INET6 if ':' in client else socket.AF_INET
        local = '2001:db8::25' if ':' in client else '198.51.100.25'
        body = socket.inet_pton(kind, client) + socket.inet_pton(kind, local) + struct.pack('>HH', port, 143)
        family = family or (0x21 if ':' in client else 0x11)
    body += more
    return SIGNATURE + bytes([command, family]) + struct.pack('>H', len(body)) + body


TLS_AT_THE_BALANCER = tlv(0x20, b'\x01\0\0\0\0' + tlv(0x21, b'TLSv1.3') + tlv(0x23, b'TLS_AES_128_GCM_SHA256'))


class Behind(wire.Wire):
    """A connection of the balancer, or of another address."""

    def __init__(self, host, service, first=b'', source=BALANCER, tls=False):
        self.cafile = self.name = None
        self.socket = socket.create_connection(('127.0.0.1', host.port(service)), 60, (source, 0))
        self.rest = b''
        if first:
            self.send(first)
        if tls:
            self.start_tls()

    def is_refused(self):
        """Closed without a word."""
        self.socket.settimeout(60)
        try:
            return self.socket.recv(100) == b''
        except ConnectionResetError:
            return True


def wait_for_log(host, text):
    for _ in range(3000):
        if text in host.log_text():
            return
        threading.Event().wait(0.02)
    raise AssertionError(f'never in the log: {text}\n{host.log_tail()}')


def pop3_login(host, client, password, user='alice', more=TLS_AT_THE_BALANCER):
    with Behind(host, 'pop3', header(client, more=more)) as connection:
        assert connection.line().startswith('+OK')
        connection.send(f'USER {host.address(user)}\r\n')
        assert connection.line().startswith('+OK')
        connection.send(f'PASS {password}\r\n')
        return connection.line()


@pytest.mark.parametrize('service, greeting', [('smtp', '220 '), ('submission', '220 '), ('lmtp', '220 '), ('pop3', '+OK'), ('imap', '* OK')])
def test_every_service_takes_a_client_from_its_balancer(shared, service, greeting):
    for client in ('192.0.2.7', '2001:db8::9'):
        with Behind(shared, service, header(client)) as connection:
            assert connection.line().startswith(greeting)


@pytest.mark.parametrize('service', ['submissions', 'pop3s', 'imaps'])
def test_tls_begins_behind_the_header(shared, service):
    with Behind(shared, service, header('192.0.2.7'), tls=True) as connection:
        assert connection.line()


def test_the_client_is_who_is_logged_listed_and_limited(host):
    right = host.passwords['alice']
    held = Behind(host, 'imap', header('192.0.2.7', more=TLS_AT_THE_BALANCER))
    held.line()
    held.send(f'a LOGIN {host.address("alice")} {right}\r\n')
    assert held.line().startswith('a OK')
    row, = json.loads(host.run('sessions', 'list', '--json'))
    assert row['peer'] == '192.0.2.7' and row['tls'] == 'TLSv1.3 TLS_AES_128_GCM_SHA256'
    wait_for_log(host, 'peer=192.0.2.7')
    more = [Behind(host, 'imap', header('192.0.2.7')) for _ in range(3)]
    assert sorted(one.line().split()[1] for one in more) == ['BYE', 'OK', 'OK']  # whichever said it last
    with Behind(host, 'imap', header('192.0.2.8')) as other:
        assert other.line().startswith('* OK')
    trusted = [Behind(host, 'imap', header('192.0.2.200')) for _ in range(5)]
    assert all(one.line().startswith('* OK') for one in trusted)
    assert BALANCER not in host.log_text()


def test_blocks_are_of_the_client_and_not_of_the_balancer(host):
    right = host.passwords['alice']
    for n in range(3):
        assert pop3_login(host, '203.0.113.5', f'wrong {n}').startswith('-ERR [AUTH]')
    assert pop3_login(host, '203.0.113.5', right).startswith('-ERR [SYS/TEMP]')
    assert pop3_login(host, '203.0.114.5', right).startswith('+OK')
    blocked, = json.loads(host.run('blocked', 'list', '--json'))
    assert blocked['blocked'] == '203.0.113.5'


def test_tls_that_a_balancer_has_ended_counts_as_tls(host):
    text = base64.b64encode(f'\0{host.address("alice")}\0{host.passwords["alice"]}'.encode()).decode()
    with Behind(host, 'submission', header('192.0.2.7')) as clear:
        clear.reply()
        assert not any('AUTH' in line for line in clear.command('EHLO client.test')[1])
    with Behind(host, 'submission', header('192.0.2.7', more=TLS_AT_THE_BALANCER)) as covered:
        covered.reply()
        offered = covered.command('EHLO client.test')[1]
        assert 'STARTTLS' not in offered and any(line.startswith('AUTH ') for line in offered)
        assert covered.command(f'AUTH PLAIN {text}')[0] == 235
    with Behind(host, 'submission', header('192.0.2.7', more=tlv(0x20, b'\0\0\0\0\0'))) as not_covered:
        not_covered.reply()
        assert not any('AUTH' in line for line in not_covered.command('EHLO client.test')[1])


@pytest.mark.parametrize('client', [None, '192.0.2.99'])
def test_a_check_of_the_balancer_itself(shared, client):
    with Behind(shared, 'smtp', header(client, command=0x20)) as connection:
        assert connection.reply()[0] == 220
        assert connection.command('QUIT')[0] == 221


def test_a_header_in_pieces(shared):
    whole = header('192.0.2.7', more=TLS_AT_THE_BALANCER)
    with Behind(shared, 'smtp') as connection:
        connection.send_slowly(whole + b'EHLO client.test\r\n')
        assert connection.reply()[0] == 220 and connection.reply()[0] == 250


def figure(host, name='penfold_refused_proxy_headers_total'):
    return next(row['value'] for row in json.loads(host.run('stat', '--json')) if row['figure'] == name)


BAD = {
    'nothing of it': b'EHLO client.test\r\n', 'version 1': b'PROXY TCP4 192.0.2.7 198.51.100.25 40000 143\r\n', 'a byte': b'x',
    'TLS': b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'version 3': SIGNATURE + b'\x31\x11\0\x0c',
    'another command': SIGNATURE + b'\x22\x11\0\x0c', 'datagrams': header('192.0.2.7', family=0x12),
    'far too long': SIGNATURE + b'\x21\x11\xff\xff' + b'x' * 100, 'shorter than its addresses': SIGNATURE + b'\x21\x11\0\x0b' + b'x' * 11,
    'a part that ends outside': header('192.0.2.7', more=b'\x20\xff\xff'), 'half a part': header('192.0.2.7', more=b'\x01'),
    'a wrong checksum': header('192.0.2.7', more=tlv(3, b'sum?')), 'zeroes': b'\0' * 64, 'half a signature': SIGNATURE[:6] + b'\r\n\r\n\r\n\r\n',
}


@pytest.mark.parametrize('what', BAD)
@pytest.mark.parametrize('service', ['smtp', 'imaps'])
def test_what_is_no_header_ends_the_connection_without_a_word(shared, service, what):
    before = figure(shared)
    with Behind(shared, service, BAD[what]) as connection:
        assert connection.is_refused()
    assert figure(shared) == before + 1
    with Behind(shared, 'smtp', header('192.0.2.7')) as next_one:
        assert next_one.reply()[0] == 220


def test_from_anybody_else_it_is_nothing_that_a_client_says(shared):
    with Behind(shared, 'smtp', source='127.0.0.1') as connection:
        assert connection.reply()[0] == 220
        connection.send(header('192.0.2.7'))
        assert connection.reply()[0] == 500
        connection.send('\r\nQUIT\r\n')
        codes = [500]
        while codes[-1] == 500:
            codes.append(connection.reply()[0])
        assert codes[-1] == 221


def test_who_sends_no_header_is_not_waited_for(make_host):
    host = make_host(settings=SETTINGS % '1s')
    silent, slow = Behind(host, 'smtp'), Behind(host, 'imaps', header('192.0.2.7')[:20])
    assert silent.is_refused() and slow.is_refused()
    wait_for_log(host, 'no PROXY header in time')


def test_a_reload_changes_who_is_a_balancer(host):
    with open(host.conf, encoding='utf-8') as f:
        text = f.read()
    with open(host.conf, 'w', encoding='utf-8') as f:
        f.write(text.replace('proxies = {"127.0.0.2", "127.8.0.0/16"}', 'proxies = {"127.0.0.3"}'))
    host.process.send_signal(1)
    wait_for_log(host, 'event=reloaded')
    with Behind(host, 'smtp') as old:
        assert old.reply()[0] == 220
    with Behind(host, 'smtp', header('192.0.2.7'), source='127.0.0.3') as new:
        assert new.reply()[0] == 220
