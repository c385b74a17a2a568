"""Each mechanism by clients that have it: gsasl with both channel bindings on SMTP and IMAP, msmtp with SCRAM."""
import pytest

from harness import clients
from harness.host import Host

MECHANISMS = ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN', 'LOGIN']
VERSIONS = {'tls13': 'NORMAL:-VERS-ALL:+VERS-TLS1.3', 'tls12': 'NORMAL:-VERS-ALL:+VERS-TLS1.2'}


@pytest.fixture(scope='module')
def host(tmp_path_factory):
    """Offers what is bound, too; without it, test_matrix_pop3.py has mutt choose and log in."""
    with Host(tmp_path_factory.mktemp('sasl') / 'mail', users=('alice',), settings='auth { scram = "bound" }') as made:
        yield made


@pytest.fixture
def user(host):
    return 'alice'


def gsasl(host, user, service, mechanism, version, password=None):
    """It asks for the name that it connects to, 127.0.0.1, in the certificate: an empty file of CAs lets that be."""
    port = host.port({'smtp': 'submission', 'imap': 'imap'}[service])
    more = [] if mechanism.endswith('-PLUS') else ['--no-cb']  # it refuses itself what is weaker than it could have
    return clients.program(
        ['gsasl', *more, '--client', f'--{service}', '--connect', f'127.0.0.1:{port}', '--starttls', '--x509-ca-file', '', '--priority',
         VERSIONS[version], '--hostname', host.hostname, '--mechanism', mechanism, '--authentication-id', host.address(user),
         '--password', password or host.passwords[user]], stdin=b'', timeout=60)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('mechanism', MECHANISMS)
@pytest.mark.parametrize('service', ['smtp', 'imap'])
def test_gsasl(host, user, service, mechanism, version):
    """The server's last message is checked by it; what is bound is bound by tls-exporter and by tls-unique [RFC9266] [RFC5929]."""
    status, out, error = gsasl(host, user, service, mechanism, version)
    assert status == 0, (out, error)
    status, out, error = gsasl(host, user, service, mechanism, version, 'wrong')
    assert status != 0, (out, error)


@pytest.mark.parametrize('mechanism', ['scram-sha-256', 'scram-sha-1', 'plain', 'login'])
def test_msmtp(host, user, mechanism):
    def msmtp(password):
        return clients.program(
            ['msmtp', '--file=/dev/null', '--host=127.0.0.1', f'--port={host.port("submission")}', '--tls=on', '--tls-starttls=on',
             '--tls-certcheck=off', f'--auth={mechanism}', f'--user={host.address(user)}', f'--passwordeval=echo {password}',
             f'--from={host.address(user)}', host.address(user)], stdin=f'From: {host.address(user)}\r\nSubject: by msmtp\r\n\r\none\r\n'.encode())
    status, _, error = msmtp(host.passwords[user])
    assert status == 0, error
    status, _, error = msmtp('wrong')
    assert status != 0 and 'authentication failed' in error, (status, error)
