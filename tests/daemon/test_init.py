"""penfold init: what it makes, for whom, and what it refuses."""
import grp
import os
import pwd
import re
import shutil
import stat
import subprocess

import pytest

from harness.host import DOMAIN, PortBase

BIN = os.environ.get('PENFOLD_BIN')
IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam('nobody')


def penfold(*args, prefix=(), stdin='', env=None):
    return subprocess.run([*prefix, BIN, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, check=False, env=env)


def init(folder, *options, **more):
    return penfold('init', str(folder), '--domain', DOMAIN, *options, **more)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def error_line(done, status):
    """The one line that a failed command says."""
    assert done.returncode == status, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and re.match(r'penfold: .+: .+', lines[0]), done.stderr
    return lines[0]


def names_of(certificate):
    text = subprocess.run(['openssl', 'x509', '-in', str(certificate), '-noout', '-ext', 'subjectAltName'],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return set(re.findall(r'DNS:([^,\s]+)', text))


def test_files_modes_and_owners(tmp_path):
    home = tmp_path / 'mail'
    done = init(home, '--port-base', '2000')
    assert done.returncode == 0 and done.stderr == ''
    assert sorted(os.listdir(home)) == ['data', 'dkim.key', 'penfold.conf', 'tls']
    assert mode(home / 'dkim.key') == 0o600
    assert sorted(os.listdir(home / 'tls')) == ['certificate.pem', 'key.pem']
    assert mode(home / 'tls' / 'key.pem') == 0o600
    assert mode(home / 'data') == 0o700
    assert mode(home / 'penfold.conf') == 0o644
    user = 'penfold' if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
    for folder, _, files in os.walk(home / 'data'):
        for name in [folder, *(os.path.join(folder, f) for f in files)]:
            assert pwd.getpwuid(os.stat(name).st_uid).pw_name == user, name
    assert os.stat(home / 'tls' / 'key.pem').st_uid == os.geteuid()
    conf = (home / 'penfold.conf').read_text()
    assert f'user     = "{user}"' in conf and f'hostname = "mail.{DOMAIN}"' in conf
    assert '"127.0.0.1:2025", "[::1]:2025"' in conf and 'plaintext = "loopback"' in conf
    done = penfold('check', '-c', str(home / 'penfold.conf'))  # somebody else may serve on these ports
    assert all('Address already in use' in line for line in done.stderr.splitlines()), done
    assert DOMAIN in penfold('domain', 'list', '-c', str(home / 'penfold.conf')).stdout


def test_the_certificate_is_for_all_names_that_clients_try(tmp_path):
    assert init(tmp_path / 'a', '--hostname', 'mx1.example.org').returncode == 0
    certificate = tmp_path / 'a' / 'tls' / 'certificate.pem'
    assert names_of(certificate) == {'mx1.example.org'} | {
        f'{name}.{DOMAIN}' for name in ('smtp', 'imap', 'pop3', 'mail', 'autoconfig')}
    public = [subprocess.run(['openssl', *args], stdout=subprocess.PIPE, check=True).stdout for args in (
        ['x509', '-in', certificate, '-noout', '-pubkey'], ['pkey', '-in', tmp_path / 'a' / 'tls' / 'key.pem', '-pubout'])]
    assert public[0] == public[1]
    subprocess.run(['openssl', 'x509', '-in', certificate, '-noout', '-checkend', '86400'], check=True,
                   stdout=subprocess.DEVNULL)
    assert init(tmp_path / 'b').returncode == 0  # the host name is one of the five
    assert len(names_of(tmp_path / 'b' / 'tls' / 'certificate.pem')) == 5


@pytest.mark.parametrize('bind, text', [('192.0.2.7', '"192.0.2.7:25"'), ('2001:db8::7', '"[2001:db8::7]:25"'),
                                        ('[::1]', '"[::1]:25"')])
def test_bind(tmp_path, bind, text):
    assert init(tmp_path / 'mail', '--bind', bind).returncode == 0
    conf = (tmp_path / 'mail' / 'penfold.conf').read_text()
    assert f'    smtp        = {{{text}}}' in conf and 'loopback' not in conf
    done = penfold('check', '-c', str(tmp_path / 'mail' / 'penfold.conf'))
    elsewhere = '::1' not in text  # an address that this machine does not have
    assert done.returncode == elsewhere and done.stderr.count('Cannot assign requested address') == 7 * elsewhere


def test_without_a_base_the_standard_ports_on_all_addresses(tmp_path):
    assert init(tmp_path / 'mail').returncode == 0
    conf = (tmp_path / 'mail' / 'penfold.conf').read_text()
    assert '"0.0.0.0:995", "[::]:995"' in conf and 'submissions = {"0.0.0.0:465", "[::]:465"}' in conf
    assert 'lmtp        = {"/run/penfold/lmtp"}' in conf


@pytest.mark.parametrize('bind', [(), ('--bind', '192.0.2.7')])
def test_lmtp_stays_on_this_machine(tmp_path, bind):
    assert init(tmp_path / 'mail', '--port-base', '2000', *bind).returncode == 0
    conf = (tmp_path / 'mail' / 'penfold.conf').read_text()
    assert 'lmtp        = {"127.0.0.1:2024", "[::1]:2024"}' in conf
    assert ':2587"' in conf and ':2465"' in conf


@pytest.mark.parametrize('options, what', [
    (['--bind', 'here'], 'here'), (['--bind', '1.2.3.4:25'], '1.2.3.4:25'), (['--hostname', 'a b'], 'a b'),
    (['--hostname', 'x"; data = "/'], 'x'), (['--port-base', '60001'], '60001'), (['--port-base', 'x'], 'x'),
    (['--user', 'a"b'], 'a"b'), (['--colour', 'blue'], '--colour'), (['another'], 'another'), (['--bind'], '--bind')])
def test_wrong_usage_makes_nothing(tmp_path, options, what):
    line = error_line(init(tmp_path / 'mail', *options), 2)
    assert line.startswith(f'penfold: {what}')
    assert not (tmp_path / 'mail').exists()


@pytest.mark.parametrize('domain', ['no domain', '-x.test', 'a..b', 'x' * 64 + '.test', ''])
def test_a_domain_that_is_none(tmp_path, domain):
    error_line(penfold('init', str(tmp_path / 'mail'), '--domain', domain), 2)
    assert not (tmp_path / 'mail').exists()


def test_nothing_is_overwritten(tmp_path):
    home = tmp_path / 'mail'
    assert init(home).returncode == 0
    before = {name: (home / name).read_bytes() for name in ('penfold.conf', 'tls/key.pem', 'tls/certificate.pem')}
    assert 'penfold.conf' in error_line(init(home), 1)
    (home / 'penfold.conf').rename(tmp_path / 'kept')
    assert 'key.pem' in error_line(init(home), 1)
    shutil.rmtree(home / 'tls')
    assert 'dkim.key' in error_line(init(home), 1)
    (home / 'dkim.key').unlink()
    assert 'data: it is not empty' in error_line(init(home), 1)
    (tmp_path / 'kept').rename(home / 'penfold.conf')
    assert before['penfold.conf'] == (home / 'penfold.conf').read_bytes()


def test_a_parent_that_is_missing(tmp_path):
    assert 'No such file' in error_line(init(tmp_path / 'a' / 'b'), 1)


@pytest.mark.skipif(not IS_ROOT, reason='only root becomes somebody else')
class TestUsers:
    as_nobody = ('setpriv', f'--reuid={NOBODY.pw_uid}', f'--regid={NOBODY.pw_gid}', '--clear-groups')

    @pytest.fixture
    def program(self, tmp_path):
        """The program and a folder where an unprivileged user reaches them."""
        path = f'/tmp/penfold-init-{os.getpid()}-{os.path.basename(tmp_path)}'
        os.mkdir(path, 0o755)
        shutil.copy(BIN, path + '/penfold')
        os.mkdir(path + '/own')
        os.chown(path + '/own', NOBODY.pw_uid, NOBODY.pw_gid)
        yield path
        shutil.rmtree(path)

    def test_as_an_unprivileged_user(self, program):
        home = program + '/own/mail'
        run = [*self.as_nobody, program + '/penfold']
        subprocess.run([*run, 'init', home, '--domain', DOMAIN, '--port-base', '3000'], check=True, timeout=60)
        for folder, _, files in os.walk(home):
            for name in [folder, *(os.path.join(folder, f) for f in files)]:
                assert os.stat(name).st_uid == NOBODY.pw_uid, name
        with open(home + '/penfold.conf', encoding='ascii') as f:
            assert 'user     = "nobody"' in f.read()
        subprocess.run([*run, 'account', 'add', f'alice@{DOMAIN}', '--password-stdin', '-c', home + '/penfold.conf'],
                       input=b'long enough 1\n', check=True, timeout=60)
        # root's commands work there, too, and leave nothing that the user cannot read
        done = penfold('account', 'list', '-c', home + '/penfold.conf')
        assert done.returncode == 0 and f'alice@{DOMAIN}' in done.stdout
        for folder, _, files in os.walk(home + '/data'):
            assert all(os.stat(os.path.join(folder, f)).st_uid == NOBODY.pw_uid for f in files)

    def test_another_user_may_not_look(self, program, tmp_path):
        home = program + '/mail'
        assert init(home, '--port-base', '3000').returncode == 0
        done = subprocess.run([*self.as_nobody, program + '/penfold', 'account', 'list', '-c', home + '/penfold.conf'],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        assert 'data: Permission denied' in error_line(done, 1)

    def test_user_option(self, tmp_path):
        home = tmp_path / 'mail'
        assert init(home, '--user', 'nobody').returncode == 0
        assert os.stat(home / 'data').st_uid == NOBODY.pw_uid
        assert os.stat(home / 'data').st_gid == NOBODY.pw_gid == grp.getgrgid(NOBODY.pw_gid).gr_gid
        assert 'user     = "nobody"' in (home / 'penfold.conf').read_text()

    def test_below_a_folder_that_only_root_may_enter(self, tmp_path):
        closed = tmp_path / 'closed'
        closed.mkdir(mode=0o700)
        ports = PortBase()
        try:
            assert init(closed / 'mail', '--port-base', str(ports.base)).returncode == 0
            conf = str(closed / 'mail' / 'penfold.conf')
            done = penfold('account', 'add', f'alice@{DOMAIN}', '--password-stdin', '-c', conf, stdin='long enough 1\n')
            assert done.returncode == 0 and done.stderr == ''
            assert f'alice@{DOMAIN}' in penfold('account', 'list', '-c', conf).stdout
            server = subprocess.Popen([BIN, 'serve', '-c', conf], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                      text=True)
            try:
                seen = next((line for line in server.stderr if 'event=ready' in line or '-ended' in line), '')
                assert 'event=ready' in seen
                assert penfold('stat', '-c', conf).returncode == 0
            finally:
                server.terminate()
                server.stderr.read()
                assert server.wait(30) == 0
        finally:
            ports.release()
