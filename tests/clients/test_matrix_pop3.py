"""Who collects how: curl, mpop, fetchmail, getmail6 and mutt by POP3, STLS and POP3S; deleting, or keeping and remembering."""
import itertools

import pytest

from harness import clients, mails, wire

TLS = (None, 'starttls', 'connect')
KINDS = ('plain', 'stls', 'pop3s')


@pytest.fixture
def mailbox(penfold_server):
    """Puts messages into alice's emptied mailbox; put('a', 'b') again adds more."""
    wire.messages(penfold_server, 'alice', delete=True)

    def put(*subjects):
        with wire.smtp(penfold_server) as connection:
            for subject in subjects:
                wire.deliver(penfold_server, mails.sized(3000, name=subject), 'alice', wire=connection)
    return put


def left(host):
    return len(wire.messages(host, 'alice'))


def subjects(messages):
    return sorted(line[9:].strip().decode() for message in messages for line in message.split(b'\n') if line.startswith(b'Subject: '))


# --- keep and no keep ----------------------------------------------------------------------------------------------------

def by_mpop(host, folder, tls, keep):
    return clients.mpop(host, 'alice', folder, tls, keep=keep)


def by_fetchmail(host, folder, tls, keep):
    return clients.fetchmail(host, 'alice', folder, tls, keep=keep)


def by_getmail(host, folder, tls, keep):
    return clients.getmail(host, 'alice', folder, tls == 'connect', keep=keep)


PROGRAMS = [pytest.param(program, tls, id=f'{program.__name__[3:]}-{kind}') for program, (tls, kind) in
            itertools.product((by_mpop, by_fetchmail, by_getmail), zip(TLS, KINDS))
            if program is not by_getmail or tls != 'starttls']  # getmail6 knows no STLS


@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_no_keep(penfold_server, mailbox, tmp_path, collect, tls):
    mailbox('one', 'two')
    assert subjects(collect(penfold_server, tmp_path, tls, False)) == ['one', 'two']
    assert left(penfold_server) == 0
    mailbox('three')
    assert subjects(collect(penfold_server, tmp_path, tls, False)) == ['three']
    assert subjects(collect(penfold_server, tmp_path, tls, False)) == []


@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_keep(penfold_server, mailbox, tmp_path, collect, tls):
    """By its UIDL each message is known again, whatever came or went meanwhile, and collected once [RFC1939 7]."""
    mailbox('one', 'two')
    assert subjects(collect(penfold_server, tmp_path, tls, True)) == ['one', 'two']
    assert subjects(collect(penfold_server, tmp_path, tls, True)) == []
    with wire.login(penfold_server, 'alice') as session:
        for command in ('DELE 1', 'QUIT'):
            session.send(command + '\r\n')
            assert session.line().startswith('+OK')
    mailbox('three')
    assert subjects(collect(penfold_server, tmp_path, tls, True)) == ['three']
    assert left(penfold_server) == 2


def test_uidl_survives_a_restart(make_host, tmp_path):
    host = make_host(users=('alice',))
    wire.deliver(host, mails.sized(2000, name='one'), 'alice')
    assert subjects(clients.fetchmail(host, 'alice', tmp_path, keep=True)) == ['one']
    host.stop()
    host.start()
    assert clients.fetchmail(host, 'alice', tmp_path, keep=True) == []
    assert len(wire.messages(host, 'alice')) == 1


# --- mechanisms ----------------------------------------------------------------------------------------------------------

MPOP = [row for row in itertools.product(zip(TLS, KINDS), ('user', 'plain', 'on'), ('on', 'off')) if row[0][0] or row[1] != 'on']


@pytest.mark.parametrize('kind, auth, pipelining', MPOP, ids=[f'{k}-{a}-pipelining-{p}' for (_, k), a, p in MPOP])
def test_mpop(penfold_server, mailbox, tmp_path, kind, auth, pipelining):
    """auth=on lets mpop choose by itself from what CAPA tells; without TLS it would choose nothing."""
    mailbox('one', 'two', 'three')
    found = clients.mpop(penfold_server, 'alice', tmp_path, kind[0], auth=auth, pipelining=pipelining)
    assert subjects(found) == ['one', 'three', 'two'] and left(penfold_server) == 0


CURL = [(tls, kind, auth, initial) for (tls, kind), auth, initial in itertools.product(zip(TLS, KINDS), (None, 'PLAIN'), (False, True)) if auth or not initial]


@pytest.mark.parametrize('tls, kind, auth, initial', CURL, ids=[f'{k}-{a or "user"}-{"initial" if i else "challenge"}' for _, k, a, i in CURL])
def test_curl(penfold_server, mailbox, tls, kind, auth, initial):
    mailbox('one')
    service = 'pop3s' if tls == 'connect' else 'pop3'
    options, place = clients.tls_options(penfold_server, service, tls)
    out = clients.check(['curl', *options, *(['--sasl-ir'] if initial else []),
                         *(['--login-options', f'AUTH={auth}'] if auth else []), '--user',
                         f'alice@example.test:{penfold_server.passwords["alice"]}', f'{service}://{place}/1'])
    assert subjects([out]) == ['one']


def test_curl_wrong_password(penfold_server):
    options, place = clients.tls_options(penfold_server, 'pop3', True)
    status, _, error = clients.program(['curl', *options, '--user', 'alice@example.test:wrong', f'pop3://{place}/'])
    assert status == 67 and 'denied' in error.lower(), (status, error)


# --- mutt ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('tls, kind', zip(TLS, KINDS), ids=KINDS)
def test_mutt(penfold_server, mailbox, tmp_path, tls, kind):
    """Opens the mailbox on a terminal, saves all of it into a file, and so deletes it."""
    mailbox('one', 'two')
    assert subjects([clients.mutt_collect(penfold_server, 'alice', tmp_path, tls)]) == ['one', 'two']
    assert left(penfold_server) == 0


@pytest.mark.parametrize('tls', TLS, ids=('plain', 'starttls', 'tls'))
def test_mutt_sends(penfold_server, mailbox, tmp_path, tls):
    """By submission, after a login, with an attachment."""
    (tmp_path / 'picture.png').write_bytes(bytes(range(256)) * 40)
    clients.mutt_send(penfold_server, 'alice', tmp_path, tls, to='bob', subject=f'by mutt {tls}')
    found = wire.messages(penfold_server, 'bob', delete=True)
    assert subjects(found) == [f'by mutt {tls}'] and b'filename="picture.png"' in found[0]


# --- what the administrator has set --------------------------------------------------------------------------------------

@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_deleted_once_collected(penfold_server, mailbox, tmp_path, collect, tls):
    """Even from programs that keep: what RETR fetched whole is gone after QUIT. fetchmail that keeps reads with TOP and does not
    count as having collected."""
    penfold_server.run('account', 'set', 'alice@example.test', '--pop3-delete', 'once-collected')
    try:
        mailbox('one', 'two')
        assert subjects(collect(penfold_server, tmp_path, tls, True)) == ['one', 'two']
        assert left(penfold_server) == (2 if collect is by_fetchmail else 0)
    finally:
        penfold_server.run('account', 'set', 'alice@example.test', '--pop3-delete', 'client')
