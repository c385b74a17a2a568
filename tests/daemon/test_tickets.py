"""Where a TLS session can be taken up again: with people's programs, not with other servers (docs/decisions/0062)."""
import socket
import ssl

import pytest


def secured(host, service, context, session):
    """A TLS connection that offers this session, with its greeting read or EHLO answered."""
    plain = socket.create_connection(('127.0.0.1', host.port(service)), timeout=20)
    if service in ('smtp', 'submission'):
        for command, last in ((b'', b'220 '), (b'EHLO client.test\r\n', b'250 '), (b'STARTTLS\r\n', b'220 ')):
            plain.sendall(command)
            answer = plain.recv(4096)
            while not answer.endswith(b'\r\n') or answer.splitlines()[-1][:4] != last:
                more = plain.recv(4096)
                assert more, answer
                answer += more
    secure = context.wrap_socket(plain, session=session)
    if service in ('smtp', 'submission'):
        secure.sendall(b'EHLO client.test\r\n')
    assert secure.recv(4096)
    return secure


@pytest.mark.parametrize('version', (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
@pytest.mark.parametrize('service,resumes', (('smtp', False), ('submission', True), ('submissions', True), ('pop3s', True)))
def test_who_gets_a_ticket(penfold_server, service, resumes, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    with secured(penfold_server, service, context, None) as first:
        assert not first.session_reused
        session = first.session
        assert session.has_ticket == resumes
    with secured(penfold_server, service, context, session) as second:
        assert second.session_reused == resumes
