"""Logins by bearer tokens, OAUTHBEARER [RFC7628] and XOAUTH2, on submission, IMAP and POP3: by hand, by curl and by Python's libraries."""
import base64
import hashlib
import hmac
import imaplib
import json
import poplib
import re
import signal
import smtplib
import ssl
import time

import pytest

from harness import clients
from harness.host import Host
from harness.issuer import Issuer, Key

MECHANISMS = ('OAUTHBEARER', 'XOAUTH2')


@pytest.fixture(scope='module')
def issuer(tmp_path_factory):
    issuer = Issuer(tmp_path_factory.mktemp('issuer'))
    yield issuer
    issuer.close()


@pytest.fixture(scope='module')
def host(tmp_path_factory, issuer):
    with Host(tmp_path_factory.mktemp('host') / 'mail', settings=issuer.settings()) as host:
        yield host


def message(mechanism, address, token):
    if mechanism == 'XOAUTH2':
        return f'user={address}\1auth=Bearer {token}\1\1'.encode()
    return f'n,a={address},\1host=mail.example.test\1port=143\1auth=Bearer {token}\1\1'.encode()


def tls_context(host):
    return ssl.create_default_context(cafile=host.certificate())


class Imap:
    """Each of these: `with` it is connected in TLS; authenticate() gives (accepted, the last line, what was challenged)."""

    def __init__(self, host):
        self.connection = imaplib.IMAP4('127.0.0.1', host.port('imap'))
        self.connection.host = host.hostname
        self.connection.starttls(tls_context(host))

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.connection.shutdown()

    def mechanisms(self):
        return [c[5:] for c in self.connection.capability()[1][0].decode().split() if c.startswith('AUTH=')]

    def authenticate(self, mechanism, response):
        challenges = []

        def answer(challenge):
            challenges.append(challenge)
            return response if len(challenges) == 1 else b'\1'
        try:
            _, data = self.connection.authenticate(mechanism, answer)
            return True, data[0].decode(), challenges[1:]
        except imaplib.IMAP4.error as error:
            return False, str(error), challenges[1:]


class Pop3:
    def __init__(self, host):
        self.connection = poplib.POP3('127.0.0.1', host.port('pop3'))
        self.connection.host = host.hostname
        self.connection.stls(tls_context(host))

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.connection.close()

    def mechanisms(self):
        return self.connection.capa()['SASL']

    def authenticate(self, mechanism, response):
        challenges = []
        self.connection._putcmd(f'AUTH {mechanism}')
        line = self.connection._getline()[0]
        while line.startswith(b'+ ') or line == b'+':
            challenges.append(base64.b64decode(line[2:]))
            self.connection._putcmd(base64.b64encode(response if len(challenges) == 1 else b'\1').decode())
            line = self.connection._getline()[0]
        return line.startswith(b'+OK'), line.decode(), challenges[1:]


class Smtp:
    def __init__(self, host):
        self.connection = smtplib.SMTP('127.0.0.1', host.port('submission'), local_hostname='client.test')
        self.connection._host = host.hostname
        self.connection.starttls(context=tls_context(host))
        self.connection.ehlo()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.connection.close()

    def mechanisms(self):
        return self.connection.esmtp_features['auth'].split()

    def authenticate(self, mechanism, response):
        challenges = []
        code, text = self.connection.docmd('AUTH', mechanism)
        while code == 334:
            challenges.append(base64.b64decode(text))
            code, text = self.connection.docmd(base64.b64encode(response if len(challenges) == 1 else b'\1').decode())
        return code == 235, f'{code} {text.decode()}', challenges[1:]


PROTOCOLS = [Imap, Pop3, Smtp]
each_way = pytest.mark.parametrize('mechanism', MECHANISMS)
each_protocol = pytest.mark.parametrize('protocol', PROTOCOLS, ids=['imap', 'pop3', 'smtp'])


def log_in(protocol, host, mechanism, token, address=None):
    with protocol(host) as p:
        return p.authenticate(mechanism, message(mechanism, address or host.address('alice'), token))


def wait_for(what, why='it never came'):
    for _ in range(600):
        if what():
            return
        time.sleep(0.1)
    raise AssertionError(why)


@each_protocol
@each_way
def test_good(host, issuer, protocol, mechanism):
    with protocol(host) as p:
        assert set(MECHANISMS) <= set(p.mechanisms())
        is_in, line, challenges = p.authenticate(mechanism, message(mechanism, host.address('alice'), issuer.token(host.address('alice'))))
    assert is_in and not challenges, line


@each_protocol
def test_without_a_name(host, issuer, protocol):
    """OAUTHBEARER needs none: it is in the token [RFC7628 3.1]."""
    token = issuer.token(host.address('bob'))
    with protocol(host) as p:
        assert p.authenticate('OAUTHBEARER', f'n,,\1auth=Bearer {token}\1\1'.encode())[0]
    wait_for(lambda: re.search(rf'event=login .*address={host.address("bob")}', host.log_text()))


def hmac_by(secret):
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


def bad_tokens(host, issuer, folder):
    """(cause in the log, token)"""
    alice, now = host.address('alice'), int(time.time())
    other = Key(folder, 'one')  # of the same name
    yield 'signature', issuer.token(alice, key=other)
    yield 'algorithm', issuer.token(alice, head={'alg': 'none'}, signature=lambda data: b'')
    yield 'algorithm', issuer.token(alice, head={'alg': 'HS256'}, signature=hmac_by(issuer.keys[0].public))
    yield 'algorithm', issuer.token(alice, head={'alg': 'RS384'})
    yield 'critical', issuer.token(alice, head={'crit': ['exp']})
    yield 'expired', issuer.token(alice, exp=now - 3600)
    yield 'expired', issuer.token(alice, exp=None)
    yield 'not-yet-valid', issuer.token(alice, nbf=now + 3600)
    yield 'audience', issuer.token(alice, aud='another')
    yield 'audience', issuer.token(alice, aud=None)
    yield 'issuer', issuer.token(alice, iss='https://elsewhere.test')
    yield 'no-address', issuer.token(None)
    yield 'unverified-address', issuer.token(alice, email_verified=False)
    yield 'another-address', issuer.token(host.address('bob'))
    yield 'malformed', 'abc'
    good = issuer.token(alice)
    yield 'signature', good[:-6] + ('AAAAAA' if good[-6:] != 'AAAAAA' else 'BBBBBB')


def test_bad(host, issuer, tmp_path):
    """Each is refused with the mechanism's words on every protocol, and nothing of it is in the log."""
    for i, (cause, token) in enumerate(bad_tokens(host, issuer, tmp_path)):
        protocol = PROTOCOLS[i % 3]
        for mechanism in MECHANISMS:
            seen = len(host.log_text())
            is_in, line, challenges = log_in(protocol, host, mechanism, token)
            assert not is_in and len(challenges) == 1, (cause, line)
            error = json.loads(challenges[0])
            if mechanism == 'OAUTHBEARER':  # [RFC7628 3.2.2]
                assert error == {'status': 'invalid_token', 'openid-configuration': f'{issuer.name}/.well-known/openid-configuration'}
            else:
                assert error == {'status': '401', 'schemes': 'bearer'}
            wait_for(lambda: f'cause={cause}' in host.log_text()[seen:], cause)
            assert token not in host.log_text()


@each_protocol
def test_nobody_here(host, issuer, protocol):
    """A good token, of somebody who has no account."""
    address = host.address('nobody')
    is_in, _, challenges = log_in(protocol, host, 'XOAUTH2', issuer.token(address), address)
    assert not is_in and len(challenges) == 1


def test_nobody_at_all(host, issuer, tmp_path):
    """No name, neither in the message nor in a token that is good."""
    seen = len(host.log_text())
    with Imap(host) as p:
        token = issuer.token(None, key=Key(tmp_path, 'one'))
        is_in, _, challenges = p.authenticate('OAUTHBEARER', f'n,,\1auth=Bearer {token}\1\1'.encode())
    assert not is_in and len(challenges) == 1
    with Pop3(host) as p:  # for who asks where tokens are from [RFC7628 4.3]
        is_in, _, challenges = p.authenticate('OAUTHBEARER', b'n,,\1auth=\1\1')
    assert not is_in and json.loads(challenges[0])['status'] == 'invalid_token'
    wait_for(lambda: 'cause=signature' in host.log_text()[seen:] and 'cause=no-token' in host.log_text()[seen:])


@each_protocol
@each_way
def test_malformed(host, issuer, protocol, mechanism):
    """No message of the mechanism: refused as such, without a challenge."""
    token = issuer.token(host.address('alice'))
    for text in (f'auth=Bearer {token}', f'p=tls-exporter,,\1auth=Bearer {token}\1\1', f'n,,\1auth=Bearer {token}\1',
                 f'n,,\1auth=Bearer {token}\1auth=Bearer {token}\1\1', f'n,a=x=3,\1auth=Bearer {token}\1\1', f'n,,\1auth=MAC {token}\1\1',
                 f'user=\1auth=Bearer {token}\1\1', f'user=alice\1user=alice\1auth=Bearer {token}\1\1', '\1', '\1\1',
                 f'n,,\1auth=Bearer {token} {token}\1\1'):
        with protocol(host) as p:
            is_in, line, challenges = p.authenticate(mechanism, text.encode())
            assert not is_in and not challenges, (text, line)


@each_protocol
def test_giant(host, protocol):
    """100 KB of token: the line is too long, or the connection ends; the server goes on."""
    with protocol(host) as p:
        try:
            assert not p.authenticate('XOAUTH2', message('XOAUTH2', host.address('alice'), 'A' * 100000))[0]
        except (OSError, EOFError, imaplib.IMAP4.abort, poplib.error_proto, smtplib.SMTPServerDisconnected):
            pass
    assert not log_in(protocol, host, 'XOAUTH2', 'A' * 7000)[0]


@each_protocol
@each_way
def test_curl(host, issuer, protocol, mechanism):
    """curl has OAUTHBEARER and XOAUTH2, with and without an initial response."""
    service = {Imap: 'imap', Pop3: 'pop3', Smtp: 'submission'}[protocol]
    scheme = {'submission': 'smtp'}.get(service, service)
    options, place = clients.tls_options(host, service, 'starttls')
    user = ['--user', host.address('alice') + ':', '--login-options', f'AUTH={mechanism}']
    more = ['--request', 'NOOP'] if service == 'submission' else []
    for initial in ([], ['--sasl-ir']):
        clients.check(['curl', *options, *user, *more, *initial, '--oauth2-bearer', issuer.token(host.address('alice')), f'{scheme}://{place}/'])
        status, _, error = clients.program(['curl', *options, *user, *more, *initial, '--oauth2-bearer', issuer.token(host.address('bob')),
                                            f'{scheme}://{place}/'])
        assert status == 67, (status, error)


def test_passwords_as_well(host):
    """An issuer takes nothing away."""
    with imaplib.IMAP4('127.0.0.1', host.port('imap')) as connection:
        connection.login(host.address('alice'), host.passwords['alice'])


def test_down_and_back(tmp_path):
    """While the issuer cannot be reached nothing is wrong, but nothing can be told; when it is back, all is well, and new keys are found."""
    issuer = Issuer(tmp_path)
    issuer.is_down = True
    try:
        with Host(tmp_path / 'mail', settings=issuer.settings()) as host:
            alice = host.address('alice')
            for protocol, words in ((Imap, 'UNAVAILABLE'), (Pop3, 'SYS/TEMP'), (Smtp, '454')):
                is_in, line, challenges = log_in(protocol, host, 'OAUTHBEARER', issuer.token(alice))
                assert not is_in and words in line and not challenges, line
            wait_for(lambda: 'event=issuer-unreachable' in host.log_text())
            issuer.is_down = False
            wait_for(lambda: log_in(Imap, host, 'OAUTHBEARER', issuer.token(alice))[0])
            issuer.is_down = True
            assert log_in(Smtp, host, 'OAUTHBEARER', issuer.token(alice))[0]  # by the key that is known
            issuer.is_down = False
            issuer.keys.append(Key(tmp_path, 'two'))
            issuer.shown = issuer.keys[1:]
            wait_for(lambda: log_in(Pop3, host, 'XOAUTH2', issuer.token(alice, key=issuer.keys[1]))[0])
            assert len(issuer.asked) < 40
    finally:
        issuer.close()


def test_keys_of_a_file_and_the_end_of_a_token(tmp_path):
    """Nobody is asked; another claim names the address; a session lasts as long as its token."""
    issuer = Issuer(tmp_path)
    keys = tmp_path / 'keys.json'
    keys.write_text(json.dumps(issuer.document('/keys')), encoding='utf-8')
    settings = issuer.settings(keys_file=keys, logout='expiry', address_claim='upn', leeway='0s')
    try:
        with Host(tmp_path / 'mail', settings=settings) as host:
            alice = host.address('alice')
            assert not log_in(Imap, host, 'XOAUTH2', issuer.token(alice))[0]
            with Imap(host) as p:
                token = issuer.token(None, upn=alice, exp=int(time.time()) + 20)
                assert p.authenticate('XOAUTH2', message('XOAUTH2', alice, token))[0]
                assert p.connection.noop()[0] == 'OK'
                p.connection.sock.settimeout(120)
                assert b'BYE' in p.connection.readline()
            assert not issuer.asked
    finally:
        issuer.close()


def test_not_offered_without_an_issuer(penfold_server):
    for protocol in PROTOCOLS:
        with protocol(penfold_server) as p:
            assert not set(MECHANISMS) & set(p.mechanisms())


def test_reload(tmp_path):
    """An issuer comes with a reload, gets other keys, and goes; what cannot be used changes nothing."""
    issuer = Issuer(tmp_path)
    keys = tmp_path / 'keys.json'

    def reload(settings, keys_text, event='reloaded'):
        seen = len(host.log_text())
        keys.write_text(keys_text, encoding='utf-8')
        with open(host.conf, 'w', encoding='utf-8') as f:
            f.write(before + settings)
        host.process.send_signal(signal.SIGHUP)
        wait_for(lambda: f'event={event} ' in host.log_text()[seen:], event)

    try:
        with Host(tmp_path / 'mail') as host:
            alice, other = host.address('alice'), Key(tmp_path, 'two')
            with open(host.conf, encoding='utf-8') as f:
                before = f.read()
            settings = issuer.settings(keys_file=keys)
            reload(settings, json.dumps({'keys': [issuer.keys[0].jwk]}))
            assert log_in(Imap, host, 'XOAUTH2', issuer.token(alice))[0]
            assert not log_in(Imap, host, 'XOAUTH2', issuer.token(alice, key=other))[0]
            reload(settings, '{"keys": []}', 'reload-refused')
            assert log_in(Pop3, host, 'XOAUTH2', issuer.token(alice))[0]
            reload(settings, json.dumps({'keys': [other.jwk]}))
            assert log_in(Smtp, host, 'XOAUTH2', issuer.token(alice, key=other))[0]
            assert not log_in(Imap, host, 'XOAUTH2', issuer.token(alice))[0]
            reload(issuer.settings(), '')
            assert log_in(Imap, host, 'OAUTHBEARER', issuer.token(alice))[0] and issuer.asked
            reload('', '')
            with Imap(host) as p:
                assert not set(MECHANISMS) & set(p.mechanisms())
    finally:
        issuer.close()
