"""Who may hand in mail where, and how: swaks, curl, msmtp and smtp-source on every listener with every combination of TLS, AUTH
and pipelining that they know. None of them knows CHUNKING; tests/dialog/smtp has it.

Where TLS is expected from the first byte a client without it only waits, so those combinations are left out.
"""
import itertools
import os
import re
import time

import pytest

from harness import clients, mails, wire

REFUSED_SENDER, REFUSED_RECIPIENTS, NO_LOGIN, NO_TLS = 23, 24, 28, 29  # statuses of swaks
OFFERED = ('PLAIN', 'LOGIN')
LISTENERS = {
    # listener: (kinds of TLS that can be tried there, needs a login)
    'smtp': ((None, 'starttls', 'connect'), False),
    'submission': ((None, 'starttls', 'connect'), True),
    'submissions': (('connect',), True),
    'lmtp': ((None, 'starttls', 'connect'), False),
}
ENCRYPTS = ('smtp', 'submission', 'submissions')  # LMTP stays on the machine: it offers no STARTTLS
BODY = b'From: <alice@example.test>\r\nTo: <bob@example.test>\r\nSubject: %s\r\n\r\nfrom the matrix\r\n'


def expected(listener, tls, auth):
    """The status of swaks, from what docs say: AUTH on submission only, by PLAIN or LOGIN, and there it is needed."""
    if tls and listener not in ENCRYPTS or tls == 'connect' and listener != 'submissions':
        return NO_TLS
    if auth and (not LISTENERS[listener][1] or auth not in OFFERED):
        return NO_LOGIN
    return REFUSED_SENDER if LISTENERS[listener][1] and not auth else 0


def rows():
    for listener, (kinds, _) in LISTENERS.items():
        for tls, auth, pipeline in itertools.product(kinds, (None, *OFFERED, 'CRAM-MD5', 'DIGEST-MD5'), (False, True)):
            yield pytest.param(listener, tls, auth, pipeline, id='-'.join(
                (listener, tls or 'plain', auth or 'anonymous', 'pipeline' if pipeline else 'steps')))


def arrived(host, subject, user='bob'):
    """How many messages of the subject are in the mailbox, which is emptied."""
    return sum(f'\r\nSubject: {subject}\r\n'.encode() in message for message in wire.messages(host, user, delete=True))


@pytest.mark.parametrize('listener, tls, auth, pipeline', rows())
def test_swaks(penfold_server, request, listener, tls, auth, pipeline):
    subject = request.node.callspec.id
    status, dialog = clients.swaks(penfold_server, listener, '--header', f'Subject: {subject}', tls=tls, auth=auth,
                                   pipeline=pipeline)
    assert status == expected(listener, tls, auth), dialog
    assert arrived(penfold_server, subject) == (1 if status == 0 else 0)


@pytest.mark.parametrize('listener, tls', [('submission', None), ('submission', 'starttls'), ('submissions', 'connect')])
@pytest.mark.parametrize('auth', OFFERED)
@pytest.mark.parametrize('login', [('alice@example.test', 'not her password'), ('nobody@example.test', 'x'), ('alice', 'x')],
                         ids=['password', 'unknown', 'no-domain'])
def test_swaks_wrong_login(penfold_server, listener, tls, auth, login):
    """535 for all of them, in the same words."""
    status, dialog = clients.swaks(penfold_server, listener, tls=tls, auth=auth, login=login)
    assert status == NO_LOGIN, dialog
    refusals = set(re.findall(r'^<[~*]\* +(5\d\d .*)$', dialog, re.M))
    assert len(refusals) == 1 and refusals.pop().startswith('535 5.7.8 '), dialog


@pytest.mark.parametrize('listener', ['smtp', 'lmtp'])
def test_swaks_other_domains(penfold_server, listener):
    """Never an open relay."""
    status, dialog = clients.swaks(penfold_server, listener, to='somebody@elsewhere.test')
    assert status == REFUSED_RECIPIENTS and re.search(r'^<\*\* +55\d 5\.', dialog, re.M), dialog


def test_swaks_other_domains_after_a_login(penfold_server):
    """What happens to it then is tested in tests/relay."""
    status, dialog = clients.swaks(penfold_server, 'submission', '--quit-after', 'RCPT', auth='PLAIN', to='somebody@elsewhere.test')
    assert status == 0 and '250 2.1.5' in dialog, dialog


def curl_rows():
    for listener, tls, auth, initial in itertools.product(LISTENERS, (None, 'starttls', 'connect'), (None, *OFFERED), (False, True)):
        if listener == 'lmtp' or expected(listener, tls, auth) == NO_TLS or tls not in LISTENERS[listener][0]:
            continue  # curl speaks no LMTP
        if auth or not initial:
            yield pytest.param(listener, tls, auth, initial, id='-'.join(
                (listener, tls or 'plain', auth or 'anonymous', 'initial' if initial else 'challenge')))


@pytest.mark.parametrize('listener, tls, auth, initial', curl_rows())
def test_curl(penfold_server, request, tmp_path, listener, tls, auth, initial):
    """With and without the initial response [RFC4954 4]. What is not offered curl does not try: it goes on without a login."""
    subject = request.node.callspec.id
    (tmp_path / 'mail').write_bytes(BODY % subject.encode())
    status, dialog = clients.curl_smtp(penfold_server, listener, tmp_path / 'mail', tls=tls, auth=auth, initial=initial)
    good = expected(listener, tls, auth) == 0 or listener == 'smtp'
    assert (status == 0) == good, f'status {status}\n{dialog}'
    assert bool(re.search('^> AUTH ', dialog, re.M)) == (auth is not None and listener != 'smtp'), dialog
    assert arrived(penfold_server, subject) == (1 if good else 0)


def test_curl_internationalized_sender(penfold_server, tmp_path):
    """curl asks for SMTPUTF8 when an address needs it [RFC6531 3.4]."""
    (tmp_path / 'mail').write_bytes('From: <bücher@elsewhere.test>\r\nSubject: für Bücher\r\n\r\nhi\r\n'.encode())
    status, dialog = clients.curl_smtp(penfold_server, 'smtp', tmp_path / 'mail', sender='bücher@elsewhere.test')
    assert status == 0 and re.search('^> MAIL FROM:<bücher@elsewhere.test>.* SMTPUTF8', dialog, re.M), dialog
    found = wire.messages(penfold_server, 'bob', delete=True)
    assert len(found) == 1 and found[0].startswith('Return-Path: <bücher@elsewhere.test>\r\n'.encode()), found


MSMTP = [('smtp', None, None), ('smtp', 'starttls', None), ('submission', None, 'plain'), ('submission', None, 'login'),
         ('submission', 'starttls', 'plain'), ('submission', 'starttls', 'login'), ('submission', 'starttls', 'on'),
         ('submissions', 'connect', 'plain'), ('submissions', 'connect', 'login'), ('submissions', 'connect', 'on'),
         ('lmtp', None, None)]


@pytest.mark.parametrize('listener, tls, auth', MSMTP, ids=['-'.join(map(str, row)) for row in MSMTP])
def test_msmtp(penfold_server, request, listener, tls, auth):
    """auth=on lets msmtp choose by itself from what is offered."""
    subject = request.node.callspec.id
    status, said = clients.msmtp(penfold_server, listener, BODY.replace(b'\r\n', b'\n') % subject.encode(), tls=tls, auth=auth)
    assert status == 0, said
    assert arrived(penfold_server, subject) == 1


def test_msmtp_without_login(penfold_server):
    status, said = clients.msmtp(penfold_server, 'submission', BODY % b'no login', tls='starttls')
    assert status != 0 and '530 5.7.0' in said, said


@pytest.mark.parametrize('listener, tls', [('submission', None), ('submission', 'starttls'), ('submissions', 'connect')])
def test_swaks_sender_of_somebody_else(penfold_server, listener, tls):
    """A login sends under its own addresses [RFC6409 6.1]."""
    status, dialog = clients.swaks(penfold_server, listener, tls=tls, auth='PLAIN', sender=penfold_server.address('bob'))
    assert status in (REFUSED_SENDER, REFUSED_RECIPIENTS) and re.search(r'^<[~*]\* +55\d 5\.7\.1 ', dialog, re.M), dialog


def test_submission_adds_what_is_missing(penfold_server):
    """Date and Message-ID, there and only there [RFC6409 8]."""
    plain = BODY.replace(b'\r\n', b'\n') % b'bare'
    for listener, tls, auth, added in (('smtp', None, None, False), ('submissions', 'connect', 'plain', True)):
        status, said = clients.msmtp(penfold_server, listener, plain, '--set-date-header=off', '--set-msgid-header=off', tls=tls,
                                     auth=auth)
        assert status == 0, said
        head = b''.join(wire.messages(penfold_server, 'bob', delete=True)).split(b'\r\n\r\n')[0]
        assert [len(re.findall(field, head, re.M)) for field in (rb'^Date: ', rb'^Message-ID: ')] == [added, added], head


SOURCES = [('smtp', (), 1), ('smtp', ('-d',), 1), ('smtp', ('-r', '3'), 3), ('lmtp', ('-L',), 1),
           ('lmtp', ('-L', '-d'), 1), ('lmtp', ('-L', '-r', '3'), 3)]


@pytest.mark.skipif(not os.path.exists(clients.SMTP_SOURCE), reason='tools/deps has not fetched smtp-source')
@pytest.mark.parametrize('listener, options, recipients', SOURCES, ids=['-'.join([row[0], *row[1]]) for row in SOURCES])
def test_smtp_source(make_host, listener, options, recipients):
    """-d: many messages in one session; -r: several recipients, which it numbers in front of the address."""
    users = ['bob', *(f'{n}bob' for n in range(1, recipients + 1))] if recipients > 1 else ['bob']
    host = make_host(users=users)
    clients.smtp_source(host, listener, *options, messages=100)
    found, end = {}, time.monotonic() + 60  # what is for several goes through the queue
    while sum(found.values()) < 100 * recipients and time.monotonic() < end:
        found = {user: len(wire.messages(host, user)) for user in users}
    assert sum(found.values()) == 100 * recipients, found


def test_lmtp_on_a_unix_socket(make_host, tmp_path):
    """As other programs of the machine use it; it goes when the server does."""
    socket = tmp_path / 'lmtp'
    host = make_host(settings=f'listen {{ lmtp = {{"{socket}"}} }}')
    status, dialog = clients.swaks(host, 'lmtp', '--header', 'Subject: by swaks', socket=str(socket))
    assert status == 0, dialog
    status, said = clients.msmtp(host, 'lmtp', BODY.replace(b'\r\n', b'\n') % b'by msmtp', socket=str(socket))
    assert status == 0, said
    subjects = [re.search(rb'^Subject: (.*)\r$', message, re.M)[1] for message in wire.messages(host, 'bob')]
    assert subjects == [b'by swaks', b'by msmtp']
    host.stop()
    assert not socket.exists()


def test_swaks_lmtp_answers_for_each(penfold_server):
    """One reply for each recipient that was accepted [RFC2033 4.2]."""
    to = ','.join(map(penfold_server.address, ('alice', 'nobody', 'bob')))
    status, dialog = clients.swaks(penfold_server, 'lmtp', '--header', 'Subject: to two of three', to=to)
    assert status == 0 and re.search(r'^<\*\* +550 5\.1\.1 ', dialog, re.M), dialog
    after = dialog[dialog.index('\n -> .\n'):]
    assert len(re.findall(r'^<-  250 2', after, re.M)) == 2, dialog
    assert [arrived(penfold_server, 'to two of three', user) for user in ('alice', 'bob')] == [1, 1]
