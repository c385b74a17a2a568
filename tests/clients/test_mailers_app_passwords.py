"""App passwords in Debian's mail programs: put in the place of the account's password, and under a name with a label."""
import pytest

from harness import clients, imap

SETTINGS = '''limits { per_address = 5000 }
auth { hash_memory = 1M  hash_ops = 1  address_failures = 1000  account_failures = 1000  network_failures = 1000  delay_max = 1 }'''
MESSAGE = b'Subject: by an app password\nFrom: alice@example.test\nTo: bob@example.test\n\nHello.\n'


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS)


def add(host, user, *options):
    return host.run('app-password', 'add', host.address(user), *options).strip()


def test_senders(host, tmp_path):
    path = tmp_path / 'message'
    path.write_bytes(MESSAGE.replace(b'\n', b'\r\n'))
    own, host.passwords['alice'] = host.passwords['alice'], add(host, 'alice', '--label', 'desk', '--protocols', 'smtp')
    status, said = clients.msmtp(host, 'submission', MESSAGE, tls='starttls', auth='plain')
    assert status == 0, said
    status, said = clients.curl_smtp(host, 'submissions', path, tls='connect', auth='PLAIN')
    assert status == 0, said
    for mechanism in 'PLAIN', 'LOGIN':
        for name in host.address('alice'), host.address('alice').replace('@', '+desk@'):
            status, said = clients.swaks(host, 'submission', tls='starttls', auth=mechanism, login=(name, host.passwords['alice']))
            assert status == 0, said
    status, said = clients.swaks(host, 'submission', tls='starttls', auth='PLAIN',
                                 login=(host.address('alice').replace('@', '+other@'), host.passwords['alice']))
    assert status == 28, said
    status, said = clients.swaks(host, 'submission', tls='starttls', auth='PLAIN',
                                 login=(host.address('alice').replace('@', '+desk@'), own))
    assert status == 28, said
    host.run('app-password', 'revoke', host.address('alice'), '--all')
    status, said = clients.msmtp(host, 'submission', MESSAGE, tls='starttls', auth='plain')
    assert status != 0 and '535' in said


def test_readers(host, tmp_path):
    imap.login(host, 'bob').append('INBOX', MESSAGE.replace(b'\n', b'\r\n'))
    host.passwords['bob'] = add(host, 'bob', '--label', 'collector', '--protocols', 'pop3', '--from', '127.0.0.0/8')
    assert len(clients.mpop(host, 'bob', tmp_path, tls='connect', auth='plain', keep=True)) == 1
    options, place = clients.tls_options(host, 'imaps', True)
    status, _, said = clients.program(['curl', *options, '--user', f'{host.address("bob")}:{host.passwords["bob"]}', f'imaps://{place}/'])
    assert status == 67, said  # it is not for IMAP
    host.passwords['bob'] = add(host, 'bob', '--label', 'phone', '--protocols', 'imap')
    listed = clients.check(['curl', *options, '--user', f'{host.address("bob")}:{host.passwords["bob"]}', f'imaps://{place}/'])
    assert b'INBOX' in listed


@pytest.mark.parametrize('mechanism', ['scram-sha-1', 'scram-sha-256'])
def test_scram_is_told_which_one_by_the_name(host, mechanism):
    own, password = host.passwords['alice'], add(host, 'alice', '--label', 'cron', '--protocols', 'smtp')
    named = host.address('alice').replace('@', '+cron@')

    def send(name, secret):
        return clients.program(
            ['msmtp', '--file=/dev/null', '--host=127.0.0.1', f'--port={host.port("submission")}', '--domain=client.test',
             f'--from={host.address("alice")}', '--tls=on', '--tls-starttls=on', f'--tls-trust-file={host.certificate()}',
             f'--tls-host-override={host.hostname}', f'--auth={mechanism}', f'--user={name}', f'--passwordeval=echo {secret}',
             '--', host.address('bob')], stdin=MESSAGE)
    status, _, said = send(named, password)
    assert status == 0, said
    for name, secret in (named, own), (host.address('alice'), password), (named.replace('cron', 'none'), password):
        status, _, said = send(name, secret)
        assert status != 0 and '535' in said, (name, said)
    assert send(host.address('alice'), own)[0] == 0
