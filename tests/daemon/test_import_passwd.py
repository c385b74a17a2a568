"""Password files of other programs: accounts with the passwords that they have there, hashed anew when they are first used.
The hashes are made by OpenSSL, by libxcrypt and by Python, not by the code that verifies them."""
import base64
import ctypes
import hashlib
import json
import os
import subprocess
import threading

import pytest

from harness import imap
from harness.host import DOMAIN

SETTINGS = '''limits { per_address = 5000 }
auth { hash_memory = 1M  hash_ops = 1  address_failures = 1000  account_failures = 1000  network_failures = 1000  delay_max = 1 }'''
PASSWORD = 'correct horse 7'


def openssl(kind):
    return subprocess.run(['openssl', 'passwd', f'-{kind}', '-stdin'], input=PASSWORD, capture_output=True, text=True,
                          check=True).stdout.strip()


def xcrypt(prefix, count=0):
    library = ctypes.CDLL('libcrypt.so.1')
    library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    setting = library.crypt_gensalt(prefix.encode(), ctypes.c_ulong(count), None, 0)
    return library.crypt(PASSWORD.encode(), setting).decode()


def salted(name, digest):
    salt = os.urandom(8)
    return f'{{{name}}}' + base64.b64encode(hashlib.new(digest, PASSWORD.encode() + salt).digest() + salt).decode()


def pbkdf2():
    return '{PBKDF2}$1$saltsalt$5000$' + hashlib.pbkdf2_hmac('sha1', PASSWORD.encode(), b'saltsalt', 5000, 20).hex()


HASHES = {
    'sha512': lambda: '{SHA512-CRYPT}' + openssl(6), 'sha256': lambda: openssl(5), 'md5': lambda: '{MD5-CRYPT}' + openssl(1),
    'blf': lambda: '{BLF-CRYPT}' + xcrypt('$2y$', 5), 'blfb': lambda: xcrypt('$2b$', 4), 'yescrypt': lambda: xcrypt('$y$', 1),
    'ssha': lambda: salted('SSHA', 'sha1'), 'ssha256': lambda: salted('SSHA256', 'sha256'),
    'ssha512': lambda: salted('SSHA512', 'sha512'), 'pbkdf2': pbkdf2, 'plain': lambda: '{PLAIN}' + PASSWORD,
}


def can_log_in(host, user, password=PASSWORD):
    connection = imap.Connection(host)
    answer, _ = connection.command(f'LOGIN {user}@{DOMAIN} "{password}"', ok=False)
    return answer.startswith(b'OK')


def bring(host, path, *options, status=0):
    """What it printed as figures, and the lines of what went wrong."""
    done = host.run('import', 'passwd', str(path), *options, '--json', check=False)
    assert done.returncode == status, done
    return json.loads(done.stdout)[0], done.stderr.splitlines()


def wait_log(host, text, times=1):
    """What goes on behind an answer is seen by its line."""
    for _ in range(3000):
        if host.log_text().count(text) >= times:
            return
        threading.Event().wait(0.02)
    raise AssertionError(f'never: {text}')


@pytest.fixture
def host(make_host):
    return make_host(settings=SETTINGS)


def test_every_scheme_logs_in_and_becomes_one_of_ours(host, tmp_path):
    source = tmp_path / 'passwd'
    source.write_text(''.join(f'{name}:{make()}:1000:1000::/home/{name}::\n' for name, make in HASHES.items()))
    figures, complaints = bring(host, source, DOMAIN)
    assert figures == {'made': len(HASHES), 'replaced': 0, 'there': 0, 'passed': 0, 'failed': 0} and complaints == []
    for name in HASHES:
        assert not can_log_in(host, name, 'wrong'), name
        assert can_log_in(host, name), name
        if name != 'plain':
            wait_log(host, f'event=password-rehashed address={name}@{DOMAIN}')
        assert can_log_in(host, name), name
    host.stop()
    host.start()
    for name in HASHES:
        assert can_log_in(host, name) and not can_log_in(host, name, 'wrong'), name
    assert host.log_text().count('event=password-rehashed') == len(HASHES) - 1
    assert PASSWORD not in host.log_text()
    # Again: nothing twice, and nothing of what has been changed since is undone.
    figures, _ = bring(host, source, DOMAIN)
    assert figures['there'] == len(HASHES) and figures['made'] == 0
    host.stop()
    host.run('fsck')


def test_each_line_that_cannot_be_taken_says_why(make_host, tmp_path):
    host = make_host(serve=False, settings=SETTINGS)
    source = tmp_path / 'shadow'
    good = openssl(6)
    source.write_text('\n'.join([
        '# of the old host', '', f'new1:{good}', f'new2@{DOMAIN}:{good}', 'daemon:*:19000:0:99999:7:::', f'locked:!{good}',
        f'alice:{good}', 'des:abQ9KY.KfrYrc', 'unsalted:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=',
        'slow:$6$rounds=999999999$abcdefgh$' + good.split('$')[3], 'short:$6$abcdefgh$abc', 'nothing', 'x' * 9000 + ':' + good,
        f'new3@elsewhere.test:{good}', f'bad name:{good}', f'last:{good}']))
    figures, complaints = bring(host, source, DOMAIN, '--dry-run', status=1)
    assert figures == {'made': 3, 'replaced': 0, 'there': 1, 'passed': 2, 'failed': 8}
    assert [row['address'] for row in json.loads(host.run('account', 'list', '--json'))] == [host.address('alice'), host.address('bob')]
    figures, complaints = bring(host, source, DOMAIN, status=1)
    assert figures == {'made': 3, 'replaced': 0, 'there': 1, 'passed': 2, 'failed': 8}
    numbers = sorted(int(line.split(':')[2]) for line in complaints)
    assert numbers == [5, 6, 8, 9, 10, 11, 12, 13, 14, 15], complaints
    assert any('rounds' in line for line in complaints) and any('domain' in line for line in complaints)
    assert not any(good.split('$')[3] in line for line in complaints)
    # Without a domain the names need one of their own.
    figures, _ = bring(host, source, status=1)
    assert figures['there'] == 1
    assert bring(host, source, DOMAIN, '--replace', status=1)[0]['replaced'] == 4
    for words, status in [([], 2), (['a', 'b', 'c'], 2), ([str(source), '--what'], 2), (['/nowhere', DOMAIN], 1)]:
        assert host.run('import', 'passwd', *words, check=False).returncode == status
    host.run('fsck')


def test_replacing_ends_sessions_and_takes_the_new_password(host, tmp_path):
    source = tmp_path / 'passwd'
    source.write_text(f'{host.address("alice")}:{openssl(6)}\n')
    session = imap.login(host, 'alice')
    assert bring(host, source)[0]['there'] == 1
    session.command('NOOP')
    assert bring(host, source, '--replace')[0]['replaced'] == 1
    assert session.response().startswith(b'* BYE ') and session.is_closed()
    assert can_log_in(host, 'alice') and not can_log_in(host, 'alice', host.passwords['alice'])


def test_the_session_that_is_rehashed_for_stays(host, tmp_path):
    source = tmp_path / 'passwd'
    source.write_text(f'carol:{openssl(6)}\n')
    bring(host, source, DOMAIN)
    session = imap.Connection(host)
    session.command(f'LOGIN carol@{DOMAIN} "{PASSWORD}"')
    wait_log(host, 'event=password-rehashed')
    host.add_account('other')  # something else in the directory changes: logins are looked at again
    session.command('NOOP')
    session.command('SELECT INBOX')
    assert can_log_in(host, 'carol')


def test_killed_in_the_midst_of_rehashing_and_revoking(host, tmp_path):
    """Whatever it was cut off at: the password works and no other does; an app password is revoked or is not."""
    source = tmp_path / 'passwd'
    names = [f'u{n}' for n in range(6)]
    one = openssl(6)
    source.write_text(''.join(f'{name}:{one}\n' for name in names))
    bring(host, source, DOMAIN)
    for name in names:
        address = f'{name}@{DOMAIN}'
        app = host.run('app-password', 'add', address, '--label', 'phone').strip()
        assert can_log_in(host, name, app)
        revoking = subprocess.Popen([host.binary, 'app-password', 'revoke', address, '--label', 'phone', '-c', host.conf],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert can_log_in(host, name)  # the hash is being made now, or soon
        host.abandon()
        revoking.communicate()
        done = revoking.returncode == 0
        host.start()
        left = json.loads(host.run('app-password', 'list', address, '--json'))
        assert left == [] if done else len(left) <= 1
        assert can_log_in(host, name, app) == bool(left)
        assert can_log_in(host, name) and not can_log_in(host, name, 'wrong')
    host.stop()
    host.run('fsck')
