"""curl by IMAP: lists, reads, searches, flags and appends, one command a run, as shell scripts do."""
import pytest

from harness import clients, imap, mails

KINDS = [('imap', None), ('imap', 'starttls'), ('imaps', 'connect')]


@pytest.fixture(params=KINDS, ids=['plain', 'starttls', 'imaps'])
def curl(request, penfold_server, new_user):
    """curl(path, options...) on a new account, named by its attribute `user`."""
    service, tls = request.param
    options, place = clients.tls_options(penfold_server, service, tls)
    user = new_user()

    def run(path, *more):
        return clients.check(['curl', *options, *more, '--user', f'{penfold_server.address(user)}:{penfold_server.passwords[user]}',
                              f'{service}://{place}/{path}'])
    run.user, run.wrong = user, ['curl', *options, '--user', f'{penfold_server.address(user)}:wrong', f'{service}://{place}/']
    return run


def test_there_and_back(penfold_server, curl, tmp_path):
    sent = [mails.sized(size, name=f'of {size}') for size in (300, 5000, 3 << 20)]
    for message in sent:
        (tmp_path / 'mail').write_bytes(message)
        curl('INBOX', '--upload-file', str(tmp_path / 'mail'))
    assert [m.data for m in imap.holds(penfold_server, curl.user)] == sent
    for n, message in enumerate(sent, 1):
        assert curl(f'INBOX/;UID={n}') == message
        assert curl(f'INBOX/;MAILINDEX={n}') == message
    assert curl('INBOX/;UID=2/;SECTION=HEADER.FIELDS%20(SUBJECT)') == b'Subject: of 5000\r\n\r\n'
    assert curl('INBOX/;UID=2/;SECTION=TEXT/;PARTIAL=0.10') in (b'0000000000', sent[1].split(b'\r\n\r\n', 1)[1])


def test_commands(penfold_server, curl, tmp_path):
    assert b'\\Sent) "/" Sent\r\n' in curl('')
    curl('', '--request', 'CREATE Shelf')
    (tmp_path / 'mail').write_bytes(mails.sized(400, name='one'))
    for _ in range(3):
        curl('INBOX', '--upload-file', str(tmp_path / 'mail'))
    assert curl('INBOX?ALL') == b'* SEARCH 1 2 3\r\n'
    assert curl('INBOX?SUBJECT%20two') == b'* SEARCH\r\n'
    assert b'3 EXISTS' in curl('INBOX', '--request', 'EXAMINE INBOX')
    assert curl('INBOX', '--request', 'STORE 2 +Flags \\Deleted').count(b'\\Deleted') == 1
    assert curl('INBOX', '--request', 'EXPUNGE') == b'* 2 EXPUNGE\r\n'
    curl('INBOX', '--request', 'MOVE 1 Shelf')
    assert [len(imap.holds(penfold_server, curl.user, name)) for name in ('INBOX', 'Shelf')] == [1, 1]
    curl('', '--request', 'RENAME Shelf Cupboard')
    curl('', '--request', 'DELETE Cupboard')
    with imap.login(penfold_server, curl.user) as connection:
        assert not {'Shelf', 'Cupboard'} & imap.mailboxes(connection).keys()


def test_wrong_password(curl):
    status, _, error = clients.program(curl.wrong)
    assert status == 67 and 'denied' in error.lower(), (status, error)


@pytest.mark.parametrize('auth', ['PLAIN', 'LOGIN'])
@pytest.mark.parametrize('initial', [False, True], ids=['challenge', 'initial'])
def test_mechanisms(curl, auth, initial):
    """With and without the initial response [RFC4959]."""
    assert b'INBOX' in curl('', '--login-options', f'AUTH={auth}', *(['--sasl-ir'] if initial else []))
