"""The commands, with a server running and without: what they do, their exit statuses, their errors."""
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import termios
import threading

import pytest

from harness import wire
from harness.host import DOMAIN

PASSWORD = 'correct horse battery 7'


@pytest.fixture(scope='module', params=['online', 'offline'])
def host(request, tmp_path_factory):
    from harness.host import Host
    host = Host(tmp_path_factory.mktemp(request.param) / 'mail', serve=request.param == 'online')
    host.online = request.param == 'online'
    with host:
        yield host


def say(host, *args, status=0, stdin=''):
    """Runs it; what it printed, or the one line of its error."""
    done = host.run(*args, check=False, stdin=stdin)
    assert done.returncode == status, done
    assert 'Sanitizer' not in done.stderr
    if status == 0:
        return done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith('penfold: warning:')]
    assert len(lines) == 1 and re.match(r'penfold: \S.*: \S', lines[0]), done.stderr
    return lines[0]


def test_domains(host):
    say(host, 'domain', 'add', 'two.test')
    assert say(host, 'domain', 'add', 'two.test', status=1) == 'penfold: two.test: there is one already'
    listed = json.loads(say(host, 'domain', 'list', '--json'))
    assert [row['domain'] for row in listed] == [DOMAIN, 'two.test']
    assert listed[0]['accounts'] == 2 and listed[1]['accounts'] == 0
    assert 'remove them first' in say(host, 'domain', 'remove', DOMAIN, status=1)
    say(host, 'domain', 'remove', 'two.test')
    say(host, 'domain', 'remove', 'two.test', status=1)


def test_accounts(host):
    address = f'carol@{DOMAIN}'
    say(host, 'account', 'add', address, '--password-stdin', '--quota', '3M', stdin=PASSWORD + '\n')
    say(host, 'account', 'add', address, '--password-stdin', status=1, stdin=PASSWORD + '\n')
    shown, = json.loads(say(host, 'account', 'show', address, '--json'))
    assert shown['address'] == address and shown['quota'] == 3 << 20 and shown['enabled'] is True
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT.*', shown['created'])
    say(host, 'account', 'set', address, '--quota', '0', '--enabled', 'no')
    assert shown['modseq'] >= 0
    shown, = json.loads(say(host, 'account', 'show', address, '--json'))
    assert shown['quota'] == 0 and shown['enabled'] is False
    assert address in [row['address'] for row in json.loads(say(host, 'account', 'list', '--json'))]
    assert address in say(host, 'account', 'list', DOMAIN)
    say(host, 'account', 'list', 'nowhere.test', status=1)
    say(host, 'account', 'passwd', address, '--password-stdin', stdin=PASSWORD + 'x\n')
    say(host, 'account', 'remove', address)
    say(host, 'account', 'show', address, status=1)
    say(host, 'account', 'remove', address, '--now')
    say(host, 'account', 'remove', address, status=1)
    say(host, 'account', 'add', 'x@nowhere.test', '--password-stdin', status=1, stdin=PASSWORD + '\n')


def shown(host, *words):
    return json.loads(say(host, *words, '--json'))


def test_a_removed_account_comes_back(host):
    address = f'frank@{DOMAIN}'
    say(host, 'account', 'add', address, '--password-stdin', stdin=PASSWORD + '\n')
    first, = shown(host, 'account', 'show', address)
    say(host, 'account', 'remove', address)
    gone, = shown(host, 'account', 'list', '--removed', DOMAIN)
    assert gone['address'] == address and gone['id'] == first['id'] and gone['removed'] < gone['kept_until']
    say(host, 'account', 'add', address, '--password-stdin', stdin=PASSWORD + '\n')
    assert 'has been given away since' in say(host, 'account', 'restore', address, status=1)
    say(host, 'account', 'remove', address, '--now')
    assert 'no removed account to restore' in say(host, 'account', 'restore', address, status=1)
    assert shown(host, 'account', 'list', '--removed') == []


def test_a_renamed_account_keeps_its_id(host):
    old, new = f'gail@{DOMAIN}', f'gale@{DOMAIN}'
    say(host, 'account', 'add', old, '--password-stdin', stdin=PASSWORD + '\n')
    before, = shown(host, 'account', 'show', old)
    say(host, 'account', 'rename', old, new)
    after, = shown(host, 'account', 'show', new)
    assert after['id'] == before['id']
    assert shown(host, 'alias', 'list', old) == [{'alias': old, 'target': new}]
    say(host, 'alias', 'remove', old)
    say(host, 'account', 'remove', new, '--now')
    say(host, 'account', 'rename', old, new, status=1)


def test_aliases(host):
    team = f'team@{DOMAIN}'
    say(host, 'alias', 'add', team, f'alice@{DOMAIN}', f'bob@{DOMAIN}')
    assert len(shown(host, 'alias', 'list')) == 2
    assert 'leads back to' in say(host, 'alias', 'add', team, team, status=1)
    assert 'no such account or alias' in say(host, 'alias', 'add', team, f'nobody@{DOMAIN}', status=1)
    say(host, 'alias', 'add', team, status=2)
    say(host, 'alias', 'remove', team, f'alice@{DOMAIN}')
    assert shown(host, 'alias', 'list', DOMAIN) == [{'alias': team, 'target': f'bob@{DOMAIN}'}]
    say(host, 'alias', 'remove', team)
    assert 'no such alias' in say(host, 'alias', 'remove', team, status=1)


def test_an_alias_with_all_the_targets_it_may_have(host):
    parts = [f'{n:03}' + 'x' * 61 for n in range(100)]
    long = 'y' * 60 + '.' + 'z' * 60 + '.' + 'w' * 50 + '.test'
    say(host, 'domain', 'add', long)
    say(host, 'domain', 'set', long, '--catch-all', host.address('alice'))
    say(host, 'alias', 'add', f'all@{long}', *(f'{part}@{long}' for part in parts))
    assert len(shown(host, 'alias', 'list', f'all@{long}')) == 100
    say(host, 'alias', 'remove', f'all@{long}', *(f'{part}@{long}' for part in parts))
    if host.online:
        assert 'too long for the server' in say(host, 'account', 'show', 'x' * 60000, status=1)


def test_what_holds_for_a_domain(host):
    alice = f'alice@{DOMAIN}'
    say(host, 'domain', 'set', DOMAIN, '--quota', '3M', '--quota-messages', '1000', '--pop3-delete', '14', '--catch-all', alice,
        '--delimiter', '-')
    domain, = shown(host, 'domain', 'show', DOMAIN)
    assert (domain['quota'], domain['quota_messages'], domain['pop3_delete']) == (3 << 20, 1000, 14)
    assert domain['catch_all'] == alice and domain['delimiter'] == '-'
    account, = shown(host, 'account', 'show', alice)
    assert account['quota'] == 3 << 20 and account['quota_own'] is False and account['pop3_delete'] == 'default'
    say(host, 'account', 'set', alice, '--suspended', 'yes', '--reason', 'moving house', '--quota', 'none')
    account, = shown(host, 'account', 'show', alice)
    assert account['suspended'] is True and account['reason'] == 'moving house' and account['quota'] == 0
    assert 'reason' in say(host, 'account', 'show', alice)
    say(host, 'account', 'set', alice, '--suspended', 'no', '--quota', 'default')
    say(host, 'domain', 'set', DOMAIN, '--quota', 'none', '--quota-messages', 'none', '--pop3-delete', 'client', '--catch-all', 'none',
        '--delimiter', '+')
    assert 'add it first' in say(host, 'domain', 'set', DOMAIN, '--catch-all', f'nobody@{DOMAIN}', status=1)
    say(host, 'domain', 'set', DOMAIN, status=2)
    say(host, 'domain', 'set', DOMAIN, '--pop3-delete', 'never', status=2)


def test_passwords(host):
    add = ('account', 'add', f'dave@{DOMAIN}')
    assert 'empty' in say(host, *add, '--password-stdin', status=1, stdin='\n')
    assert 'too long' in say(host, *add, '--password-stdin', status=1, stdin='x' * 5000 + '\n')
    assert 'longer than' in say(host, *add, '--password-stdin', status=1, stdin='x' * 1025 + '\n')
    assert 'NUL' in say(host, *add, '--password-stdin', status=1, stdin='abc\0defghijk\n')
    assert '--password-stdin' in say(host, *add, status=2)
    done = host.run(*add, '--password-stdin', check=False, stdin='1234\n')
    assert done.returncode == 0 and 'warning: this password is weak' in done.stderr
    say(host, 'account', 'remove', f'dave@{DOMAIN}', '--now')


@pytest.mark.parametrize('words', [
    ['account'], ['account', 'frob'], ['account', 'add'], ['account', 'show', 'a', 'b'], ['domain', 'add'],
    ['account', 'set', f'alice@{DOMAIN}'], ['account', 'set', f'alice@{DOMAIN}', '--quota'],
    ['account', 'set', f'alice@{DOMAIN}', '--quota', 'much'], ['account', 'set', f'alice@{DOMAIN}', '--colour', 'red'],
    ['domain', 'list', '--password-stdin'], ['nonsense'], ['fsck', 'now'], ['check', '--dsn'], ['serve', 'now']])
def test_wrong_usage(host, words):
    say(host, *words, status=2)


def test_fsck_of_a_sound_store(host):
    figures = {row['what']: row['value'] for row in json.loads(say(host, 'fsck', '--json'))}
    assert figures['faults'] == 0 and figures['accounts'] == 2 and figures['rows'] > 0
    assert 'faults' in say(host, 'fsck')


def test_stat(host):
    if not host.online:
        assert 'no server is running' in say(host, 'stat', status=1)
        return
    rows = json.loads(say(host, 'stat', '--json'))
    assert len(rows) > 5 and all(isinstance(row['value'], int) for row in rows)


def test_check(host, tmp_path):
    say(host, 'check')
    assert f'hostname = "mail.{DOMAIN}"' in say(host, 'check', '--show')
    text = open(host.conf, encoding='ascii').read()
    bad = tmp_path / 'bad.conf'
    for wrong, what in [('hostnam = "x"', 'hostnam'), ('listen { smtp = {"nowhere"} }', 'an address and a port'),
                        ('log = "loud"', '"warning"'), ('limits { recipients = 100000 }', '1 to 1000')]:
        bad.write_text(f'# one\n{wrong}\n')
        done = host.run('check', '-c', str(bad), conf=False, check=False)
        assert done.returncode == 1 and f'{bad}:2: ' in done.stderr and what in done.stderr, done
    bad.write_text(text.replace('"data"', '"nodata"').replace('"tls/', f'"{host.folder}/tls/'))
    done = host.run('check', '-c', str(bad), conf=False, check=False)
    assert done.returncode == 1 and 'nodata: No such file' in done.stderr


def test_check_looks_at_what_the_relay_reads(host, tmp_path):
    bad = tmp_path / 'bad.conf'
    (tmp_path / 'open').write_text('secret\n')
    os.chmod(tmp_path / 'open', 0o644)
    for wrong, what in [('tls { ca_file = "nosuch.pem" }', 'bad.conf:2: .*nosuch.pem: No such file'),
                        ('tls { ca_file = "open" }', 'bad.conf:2: .*open: no certificate in PEM'),
                        ('dns { trust_anchor = "nosuch.key" }', 'bad.conf:2: .*nosuch.key: No such file'),
                        ('dkim { key = "open" }', 'bad.conf:2: .*open: not a file that penfold dkim setup has made'),
                        ('dkim { key = "nosuch" }', 'warning: .*nosuch: not there, so mail is not signed'),
                        ('sendmail { trusted = {"no-such-user"} }', 'bad.conf:2: trusted = "no-such-user": there is no such user'),
                        ('submission { send_limit = "100" }', 'bad.conf:2: send_limit = "100": expected none, or such as 100/h'),
                        ('smtp { success_reports = "1/w" }', 'bad.conf:2: success_reports'),
                        ('relay { route "x.test" { host = "y.test" login = "u" password_file = "nosuch" } }', 'route "x.test": .*nosuch: No such'),
                        ('relay { route "x.test" { host = "y.test" login = "u" password_file = "open" } }', 'open: others than its owner')]:
        bad.write_text(f'# one\n{wrong}\n')
        done = host.run('check', '-c', str(bad), conf=False, check=False)
        assert re.search(what, done.stderr), (wrong, done.stderr)


def test_check_shows_what_can_be_read_again(host, tmp_path):
    shown = say(host, 'check', '--show')
    again = tmp_path / 'again.conf'
    again.write_text(shown)
    done = host.run('check', '--show', '-c', str(again), conf=False)
    assert done == shown and f'data = "{host.folder}/data"' in shown


def test_check_tells_everything_that_is_wrong_at_once(host, tmp_path):
    bad = tmp_path / 'bad.conf'
    bad.write_text('hostnam = "x"\nlimits {\n    recipients = 0\n    colour = "red"\n}\nlog = "loud"\n')
    done = host.run('check', '-c', str(bad), conf=False, check=False)
    assert done.returncode == 1
    assert [re.match(rf'penfold: {bad}:(\d+): ', line)[1] for line in done.stderr.splitlines()] == ['1', '3', '4', '6']


def test_check_looks_at_what_is_named(host, tmp_path):
    """Certificate, key, data folder, user, addresses: each with its file and line."""
    for name in ('own', 'other'):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                        tmp_path / f'{name}.key', '-out', tmp_path / f'{name}.pem', '-subj', '/CN=x', '-addext',
                        'subjectAltName=DNS:mail.example.org', '-days', '10'], check=True, stderr=subprocess.DEVNULL)
    os.chmod(tmp_path / 'other.key', 0o644)
    os.chmod(tmp_path / 'own.key', 0o600)
    (tmp_path / 'data').mkdir(mode=0o700)
    shutil.chown(tmp_path / 'data', os.stat(os.path.join(host.folder, 'data')).st_uid)
    with open(host.conf, encoding='ascii') as f:
        user = re.search(r'user     = "(.*)"', f.read())[1]
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]

        def check(certificate='own.pem', key='own.key', hostname='mail.example.org', data='data', smtp='', owner=user):
            conf = tmp_path / 'c.conf'
            conf.write_text(f'hostname = "{hostname}"\ndata = "{data}"\nuser = "{owner}"\ntls {{\n'
                            f'certificate = "{certificate}"\nkey = "{key}"\n}}\nlisten {{\nsmtp = {{{smtp}}}\n'
                            'submission = {} submissions = {} lmtp = {} pop3 = {} pop3s = {} imap = {} imaps = {}\n'
                            'admin = {}\n}\n')
            done = host.run('check', '-c', str(conf), conf=False, check=False)
            lines = [line for line in done.stderr.splitlines() if 'warning' not in line]
            assert done.returncode == bool(lines) and all(line.startswith(f'penfold: {conf}:') for line in lines), done
            return [line[len(f'penfold: {conf}:'):] for line in lines], done.stderr

        faults, text = check()
        assert not faults and re.search(r'warning: .*/own.pem: it expires in (9|10) days', text)
        assert check(certificate='none.pem')[0] == [f'5: {tmp_path}/none.pem: No such file or directory']
        assert check(certificate='own.key')[0][0] == f'5: {tmp_path}/own.key: not a certificate in PEM'
        assert check(hostname='other.example.org')[0] == [f'5: {tmp_path}/own.pem: it is not for the host name other.example.org']
        assert check(key='own.pem')[0][0] == f'6: {tmp_path}/own.pem: not a private key'
        assert check(key='other.key')[0] == [f'6: {tmp_path}/other.key: not the key of the certificate',
                                             f'6: {tmp_path}/other.key: others than its owner may use it: chmod 600']
        assert check(data='nothing')[0] == [f'2: {tmp_path}/nothing: No such file or directory']
        os.chmod(tmp_path / 'data', 0o755)
        assert check()[0] == [f'2: {tmp_path}/data: others than its owner may look into it: chmod 700']
        os.chmod(tmp_path / 'data', 0o700)
        assert check(smtp=f'"127.0.0.1:{port}"')[0] == [f'9: 127.0.0.1:{port}: Address already in use']
        assert check(smtp='"192.0.2.1:2525"')[0] == ['9: 192.0.2.1:2525: Cannot assign requested address']
        if os.geteuid() == 0:
            assert check(owner='nobody-at-all')[0] == ['3: user "nobody-at-all": there is no such user']
        assert len(check(certificate='none.pem', key='none', data='nothing', smtp=f'"127.0.0.1:{port}"')[0]) == 4


def test_help_and_version(host):
    everything = host.run('--help', conf=False)
    for word in ('init DIR', 'serve', 'check', 'account add ADDRESS', 'domain list', 'fsck', 'stat', '-c FILE'):
        assert word in everything
    one = host.run('account', 'add', '--help', conf=False)
    assert 'account add ADDRESS [--quota SIZE]' in one and 'domain' not in one and 'account list' not in one
    several = host.run('account', '--help', conf=False)
    assert 'account add' in several and 'account remove' in several and 'fsck' not in several
    assert 'init DIR --domain NAME' in host.run('init', '--help', conf=False)
    assert 'in the foreground' in host.run('serve', '--help', conf=False)
    with open(os.path.join(os.path.dirname(__file__), '..', '..', 'VERSION'), encoding='ascii') as f:
        assert host.run('--version', conf=False) == f'penfold {f.read().strip()}\n'
    done = host.run(conf=False, check=False)
    assert done.returncode == 2
    done = host.run('stat', '-c', conf=False, check=False)
    assert done.returncode == 2 and '-c: needs a value' in done.stderr


def test_a_configuration_that_is_missing(host):
    done = host.run('account', 'list', '-c', '/nonexistent/penfold.conf', conf=False, check=False)
    assert done.returncode == 1
    assert done.stderr == 'penfold: /nonexistent/penfold.conf: No such file or directory\n'
    done = host.run('serve', '-c', host.folder, conf=False, check=False)
    assert done.returncode == 1 and 'not a file' in done.stderr


def test_the_environment_names_the_configuration(host):
    host.env['PENFOLD_CONF'] = host.conf
    try:
        assert DOMAIN in host.run('domain', 'list', conf=False)
    finally:
        del host.env['PENFOLD_CONF']


def test_a_full_standard_output(host):
    with open('/dev/full', 'w', encoding='ascii') as full:
        done = subprocess.run([host.binary, 'domain', 'list', '-c', host.conf], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=60, check=False)
    assert done.returncode == 1 and 'standard output' in done.stderr


def test_a_new_account_is_known_at_once(host):
    if not host.online:
        pytest.skip('needs a server')
    with wire.smtp(host) as connection:
        assert connection.command('MAIL FROM:<s@elsewhere.test>')[0] == 250
        assert connection.command(f'RCPT TO:<erin@{DOMAIN}>')[0] == 550
        say(host, 'account', 'add', f'erin@{DOMAIN}', '--password-stdin', stdin=PASSWORD + '\n')
        assert connection.command(f'RCPT TO:<erin@{DOMAIN}>')[0] == 250
        say(host, 'account', 'set', f'erin@{DOMAIN}', '--enabled', 'no')
        assert connection.command(f'RCPT TO:<erin@{DOMAIN}>')[0] == 550
        say(host, 'account', 'remove', f'erin@{DOMAIN}')


def test_an_interrupted_password_leaves_the_terminal_as_it_was(host):
    for sign in (signal.SIGINT, signal.SIGTERM):
        ours, theirs = pty.openpty()
        before = termios.tcgetattr(theirs)
        with subprocess.Popen([host.binary, 'account', 'passwd', f'bob@{DOMAIN}', '-c', host.conf], stdin=theirs,
                              stdout=theirs, stderr=theirs, start_new_session=True,
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as child:  # a job in the background ignores it
            seen = b''
            while b'New password: ' not in seen:
                seen += os.read(ours, 1000)
            assert not termios.tcgetattr(theirs)[3] & termios.ECHO
            child.send_signal(sign)
            assert child.wait(60) == -sign
        assert termios.tcgetattr(theirs) == before and before[3] & termios.ECHO
        os.close(ours)
        os.close(theirs)


def test_a_password_from_a_terminal(host):
    """Asked twice, unseen; two different ones are refused."""
    for answers, status in [((PASSWORD, PASSWORD), 0), ((PASSWORD, 'another one 1'), 1)]:
        ours, theirs = pty.openpty()
        command = [host.binary, 'account', 'passwd', f'bob@{DOMAIN}', '-c', host.conf]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as child:
            os.close(theirs)
            seen = b''
            for prompt, answer in zip((b'New password: ', b'Again: '), answers):
                while prompt not in seen:
                    seen += os.read(ours, 1000)
                os.write(ours, answer.encode() + b'\n')
            try:
                while more := os.read(ours, 1000):
                    seen += more
            except OSError:
                pass  # the other end is closed
            assert child.wait(60) == status, seen
        os.close(ours)
        assert PASSWORD.encode() not in seen
        assert status == 0 or b'different' in seen


def test_nothing_of_root_is_left_in_the_data(host):
    owner = os.stat(os.path.join(host.folder, 'data')).st_uid
    for folder, _, files in os.walk(os.path.join(host.folder, 'data')):
        for name in files:
            assert os.lstat(os.path.join(folder, name)).st_uid == owner, name


def test_only_root_and_the_owner_reach_the_control_socket(host):
    if not host.online:
        pytest.skip('needs a server')
    path = os.path.join(host.folder, 'data', 'control')
    data = os.stat(os.path.dirname(path))
    assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(path).st_uid == data.st_uid
    assert data.st_mode & 0o777 == 0o700
    if os.geteuid() != 0:
        return
    os.chmod(os.path.dirname(path), 0o711)  # whatever the folder lets through, the socket does not
    try:
        done = subprocess.run(['/usr/bin/python3', '-c', 'import socket; socket.socket(socket.AF_UNIX).connect("control")'],
                              cwd=os.path.dirname(path), user='nobody', extra_groups=[], stderr=subprocess.PIPE, text=True,
                              check=False, timeout=60)
    finally:
        os.chmod(os.path.dirname(path), 0o700)
    assert done.returncode and 'PermissionError' in done.stderr, done.stderr


def test_a_heavy_command_keeps_nobody_waiting(host):
    if not host.online:
        pytest.skip('needs a server')
    threads = [threading.Thread(target=host.run, args=('fsck',)) for _ in range(3)]
    for thread in threads:
        thread.start()
    done = 0
    while any(thread.is_alive() for thread in threads) or done < 3:
        assert DOMAIN in host.run('domain', 'list')
        done += 1
    for thread in threads:
        thread.join()


def test_garbage_on_the_control_socket(host):
    if not host.online:
        pytest.skip('needs a server')
    path = os.path.join(host.folder, 'data', 'control')
    for garbage in (b'\0\0\0\5\1\0\0\0', b'\xff' * 64, b'\0\0\0\0', b'\0\0\0\5\1\0\0\0\0', b'\0\0\1\0' + b'\xff' * 256,
                    b'\0\0\x40\x01' + b'x' * 40000):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(path)
            try:
                s.sendall(garbage)
                s.shutdown(socket.SHUT_WR)
                assert s.recv(100) == b''
            except (ConnectionResetError, BrokenPipeError):
                pass
    threads = [threading.Thread(target=host.run, args=('account', 'list')) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    host.check_log()
