"""penfold serve: its processes, and what happens to them."""
import fcntl
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import wire
from harness.host import DOMAIN


def wait_until(true, what, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f'not after {seconds} s: {what}'
        time.sleep(0.01)


def log_has(host, pattern, after=0, seconds=20):
    """The position behind the first match after a position; waits for it."""
    found = []

    def look():
        match = re.search(pattern, host.log_text()[after:])
        found[:] = [after + match.end()] if match else []
        return match

    wait_until(look, f'{pattern} in the log')
    return found[0]


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            return f.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def process(host, name):
    return next((pid for pid, comm in host.children().items() if comm == name), None)


def serve_again(host, *args, env=None):
    return subprocess.run([host.binary, 'serve', '-c', host.conf, *args], stdout=subprocess.DEVNULL, text=True,
                          stderr=subprocess.PIPE, timeout=60, env=env, check=False)


def tls_certificate(host):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(('127.0.0.1', host.port('pop3s')), timeout=20) as plain:
        with context.wrap_socket(plain) as secure:
            assert secure.recv(3) == b'+OK'
            return secure.getpeercert(binary_form=True)


def new_certificate(host, folder):
    """Another one in the place of that of init."""
    other = os.path.join(str(folder), 'other')
    subprocess.run([host.binary, 'init', other, '--domain', DOMAIN], check=True, stdout=subprocess.DEVNULL, timeout=60)
    for name in ('key.pem', 'certificate.pem'):
        shutil.copy(os.path.join(other, 'tls', name), os.path.join(host.folder, 'tls', name))


def test_a_clean_stop_leaves_nothing(make_host):
    host = make_host()
    pids = host.all_pids()
    assert len(pids) == 4  # supervisor, two signers, server
    host.run('stat')
    host.stop()
    assert not [pid for pid in pids if is_running(pid)]
    assert not os.path.exists(os.path.join(host.folder, 'data', 'control'))
    assert 'event=stopping' in host.log_text()
    host.start()  # and it comes back


def test_a_stop_says_goodbye_to_sessions(make_host):
    host = make_host()
    with wire.smtp(host) as connection:
        host.process.send_signal(signal.SIGTERM)
        assert connection.reply()[0] == 421
        assert connection.is_closed()
    assert host.process.wait(30) == 0


def test_a_second_one_is_refused(make_host):
    host = make_host()
    done = serve_again(host)
    assert done.returncode == 1
    assert done.stderr == f'penfold: {host.folder}/data: another penfold serve is running on this folder\n'
    host.run('stat')


def test_a_start_waits_for_a_command_that_has_the_store(make_host):
    host = make_host(serve=False)
    with open(os.path.join(host.folder, 'data', 'lock'), 'rb') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen([host.binary, 'serve', '-c', host.conf], stderr=subprocess.PIPE, text=True) as serve:
            try:
                assert any('event=store-in-use cause="another penfold command' in line for line in serve.stderr)
                fcntl.flock(lock, fcntl.LOCK_UN)
                assert any('event=ready' in line for line in serve.stderr)
            finally:
                serve.terminate()
                serve.communicate(timeout=60)
    assert serve.returncode == 0


def test_a_port_in_use(make_host):
    host = make_host(serve=False)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what an earlier test left in TIME_WAIT is no user
        other.bind(('127.0.0.1', host.port('pop3')))
        other.listen()
        done = serve_again(host)
    assert done.returncode == 1
    assert done.stderr == f'penfold: listen: 127.0.0.1:{host.port("pop3")}: Address already in use\n'
    host.start()


def test_kill_of_the_server(make_host):
    host = make_host()
    for _ in range(2):
        server, at = process(host, 'penfold-server'), len(host.log_text())
        os.kill(server, signal.SIGKILL)
        with wire.Wire(host.port('smtp')) as connection:  # refused if the listeners were closed
            try:
                assert connection.reply()[0] == 220
            except wire.Closed:
                pass  # taken by the one that was being killed
        at = log_has(host, 'event=server-ended how="signal 9"', at)
        log_has(host, 'event=ready', log_has(host, 'event=server-started', at))
        assert process(host, 'penfold-server') != server
    assert tls_certificate(host)
    host.run('stat')


def test_kill_of_the_signer(make_host):
    host = make_host()
    server, signer = process(host, 'penfold-server'), process(host, 'penfold-signer')
    assert tls_certificate(host)
    os.kill(signer, signal.SIGKILL)
    log_has(host, 'event=signer-ended how="signal 9"')
    wait_until(lambda: process(host, 'penfold-signer') not in (None, signer), 'another signer')
    assert tls_certificate(host)
    assert process(host, 'penfold-server') == server


def test_kill_of_the_supervisor(make_host):
    host = make_host()
    pids = host.all_pids()
    assert len(pids) == 4  # supervisor, two signers, server
    os.kill(host.process.pid, signal.SIGKILL)
    host.process.wait()
    wait_until(lambda: not [pid for pid in pids if is_running(pid)], 'the children end')
    host.reap()
    host.start()
    host.run('stat')


@pytest.mark.parametrize('make, why', [
    (lambda path: os.unlink(path), 'No such file'),
    (lambda path: open(path, 'w', encoding='ascii').write('nothing\n'), 'not a private key'),
    (lambda path: subprocess.run(['openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out',
                                  path], check=True, stderr=subprocess.DEVNULL), 'not the key of the certificate')])
def test_a_key_that_is_not_usable(make_host, make, why):
    host = make_host(serve=False)
    make(os.path.join(host.folder, 'tls', 'key.pem'))
    done = serve_again(host)
    assert done.returncode == 1
    assert f'penfold: {host.folder}/tls/key.pem: {why}' in done.stderr
    assert 'event=ready' not in done.stderr


def test_a_certificate_that_is_none(make_host):
    host = make_host(serve=False)
    with open(host.certificate(), 'w', encoding='ascii') as f:
        f.write('nothing\n')
    assert serve_again(host).returncode == 1


def test_hup_renews_the_certificate_in_place(make_host, tmp_path):
    host = make_host()
    server, before = process(host, 'penfold-server'), tls_certificate(host)
    with wire.smtp(host) as session, wire.Wire(host.port('pop3s'), tls=True) as secure:
        secure.line()
        new_certificate(host, tmp_path)
        host.process.send_signal(signal.SIGHUP)
        log_has(host, 'event=reloaded')
        assert tls_certificate(host) != before
        assert session.command('NOOP')[0] == 250
        secure.send('CAPA\r\n')
        assert secure.line().startswith('+OK')
    assert process(host, 'penfold-server') == server
    at = len(host.log_text())
    os.kill(server, signal.SIGKILL)  # the next server has the new one, too
    log_has(host, 'event=ready', at)
    assert tls_certificate(host) != before


def test_hup_with_a_key_that_does_not_fit_changes_nothing(make_host, tmp_path):
    host = make_host()
    before = tls_certificate(host)
    kept = open(host.certificate(), 'rb').read()
    new_certificate(host, tmp_path)
    with open(host.certificate(), 'wb') as f:
        f.write(kept)
    host.process.send_signal(signal.SIGHUP)
    log_has(host, 'event=reload-refused')
    assert tls_certificate(host) == before
    with open(host.conf, 'a', encoding='ascii') as f:
        f.write('nonsense = 1\n')
    at = len(host.log_text())
    host.process.send_signal(signal.SIGHUP)
    log_has(host, 'event=reload-refused', at)
    assert tls_certificate(host) == before


def test_systemd_is_told(make_host, tmp_path):
    path = str(tmp_path / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(30)
        host = make_host(env={'NOTIFY_SOCKET': path})
        assert s.recv(100) == b'READY=1'
        host.process.send_signal(signal.SIGHUP)
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        reloading = re.fullmatch(rb'RELOADING=1\nMONOTONIC_USEC=(\d+)', s.recv(100))
        assert abs(int(reloading[1]) - before) < 60_000_000
        assert s.recv(100) == b'READY=1'
        host.stop()
        assert s.recv(100) == b'STOPPING=1'


def test_systemds_watchdog_is_fed(make_host, tmp_path):
    path = str(tmp_path / 'notify')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(30)
        make_host(env={'NOTIFY_SOCKET': path, 'WATCHDOG_USEC': '400000'})
        seen = [s.recv(100) for _ in range(6)]
        assert b'READY=1' in seen and seen.count(b'WATCHDOG=1') >= 4


def test_a_stop_within_a_pop3_session_and_a_message(make_host):
    """TERM: who is idle is told so, what has been promised is kept, and nothing else lasts."""
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'alice')
    with wire.smtp(host) as mail, wire.Wire(host.port('pop3')) as reader:
        for command in ('MAIL FROM:<s@elsewhere.test>', f'RCPT TO:<alice@{DOMAIN}>', 'DATA'):
            code = mail.command(command)[0]
        assert code == 354
        mail.send('Subject: two\r\n\r\n')
        reader.line()
        for command in (f'USER alice@{DOMAIN}', f'PASS {host.passwords["alice"]}', 'DELE 1'):
            reader.send(command + '\r\n')
            assert reader.line().startswith('+OK')
        host.process.send_signal(signal.SIGTERM)
        assert reader.line().startswith('-ERR [SYS/TEMP]')
        assert reader.is_closed()
        mail.send('y\r\n.\r\n')
        assert mail.reply()[0] == 250
        assert mail.reply()[0] == 421
    assert host.process.wait(30) == 0
    host.reap()
    host.start()
    assert len(wire.messages(host, 'alice')) == 2  # nothing is deleted without QUIT


def test_a_serve_after_a_killed_one_waits_for_what_is_left(make_host):
    """The children of a supervisor that was killed still finish a session: the next serve says that it waits."""
    host = make_host()
    with wire.smtp(host) as mail:
        for command in ('MAIL FROM:<s@elsewhere.test>', f'RCPT TO:<alice@{DOMAIN}>', 'DATA'):
            mail.command(command)
        os.kill(host.process.pid, signal.SIGKILL)
        host.process.wait()
        with subprocess.Popen([host.binary, 'serve', '-c', host.conf], stderr=subprocess.PIPE, text=True) as again:
            lines = iter(again.stderr.readline, '')
            assert any('event=waiting' in line for line in lines)
            mail.send('Subject: kept\r\n\r\nx\r\n.\r\n')
            assert mail.reply()[0] == 250
            assert any('event=ready' in line for line in lines)
            assert [m for m in wire.messages(host, 'alice') if b'Subject: kept' in m]
            again.terminate()
            assert again.wait(60) == 0
    host.reap()


def test_logs_hold_no_secrets(make_host):
    host = make_host()
    secret = 'a-word-of-the-message-text'
    wire.deliver(host, f'Subject: {secret}\r\n\r\n{secret}\r\n'.encode(), 'alice')
    assert secret.encode() in wire.messages(host, 'alice')[0]
    wrong = 'wrong-password-typed'
    with wire.Wire(host.port('pop3')) as connection:
        connection.line()
        connection.send(f'USER alice@{DOMAIN}\r\nPASS {wrong}\r\n')
        connection.line()
        assert connection.line().startswith('-ERR')
    host.run('account', 'passwd', f'bob@{DOMAIN}', '--password-stdin', stdin='a-new-password-1\n')
    host.stop()
    log = host.log_text()
    assert 'event=delivered' in log and 'event=login-failed' in log
    for word in (secret, wrong, 'a-new-password-1', *host.passwords.values()):
        assert word not in log


def blobs_of(host):
    data = os.path.join(host.folder, 'data')
    return [os.path.join(folder, f) for folder, _, files in os.walk(data) for f in files]


def test_fsck_names_damage(make_host):
    """A flipped byte in a message's bytes, small (in a segment) and large (in a file of its own)."""
    for name, text in (('small', b'the text of a message that is damaged later on\r\n' * 20),
                       ('large', b'the text of a message that is damaged later on\r\n' * 40000)):
        host = make_host(name)
        wire.deliver(host, b'Subject: x\r\n\r\n' + text, 'alice')
        host.stop()
        assert 'faults' in host.run('fsck')
        hits = 0
        for path in blobs_of(host):
            with open(path, 'r+b') as f:
                at = f.read().rfind(b'damaged later on')
                if at >= 0:
                    f.seek(at)
                    f.write(b'D')
                    hits += 1
        assert hits == 1
        done = host.run('fsck', check=False)
        assert done.returncode == 1 and re.search(r'fault +blob [0-9a-f]+', done.stdout), done
        assert 'penfold: fsck: ' in done.stderr and 'faults found' in done.stderr


def test_lmtp_socket_of_a_server_that_is_gone(make_host, tmp_path):
    """It is replaced; one that somebody listens on, or a file that is none, is never touched."""
    path = tmp_path / 'run' / 'lmtp'
    host = make_host(settings=f'listen {{ lmtp = {{"{path}"}} }}', serve=False)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen(1)
        refused = host.run('serve', check=False)
        assert refused.returncode == 1 and f'{path}: Address already in use' in refused.stderr, refused
        assert path.is_socket()
    assert path.is_socket()  # left behind
    host.start()
    assert path.stat().st_mode & 0o777 == 0o666
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        assert re.match(rb'220 \S+ LMTP ', s.recv(100))
        s.sendall(b'LHLO x\r\nQUIT\r\n')
        assert b'\r\n221 ' in b''.join(iter(lambda: s.recv(4096), b''))
    host.stop()
    assert not path.exists()
    path.write_text('not a socket')
    refused = host.run('serve', check=False)
    assert refused.returncode == 1 and f'{path}: File exists' in refused.stderr, refused
    assert path.read_text() == 'not a socket'


def test_hup_moves_an_lmtp_socket(make_host, tmp_path):
    """A new path is served, the old one is gone; one that stays keeps its connections."""
    before, stays, after = (tmp_path / name for name in ('before', 'stays', 'after'))
    host = make_host(settings=f'listen {{ lmtp = {{"{before}", "{stays}"}} }}')
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(stays))
        assert s.recv(100).startswith(b'220 ')
        with open(host.conf, encoding='ascii') as f:
            text = f.read()
        with open(host.conf, 'w', encoding='ascii') as f:
            f.write(text.replace(str(before), str(after)))
        host.process.send_signal(signal.SIGHUP)
        wait_until(lambda: after.exists() and not before.exists(), 'the socket has moved')
        s.sendall(b'LHLO x\r\nQUIT\r\n')
        assert b'\r\n221 ' in b''.join(iter(lambda: s.recv(4096), b''))
    for path in (stays, after):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(str(path))
            assert s.recv(100).startswith(b'220 ')
    host.stop()
    assert not stays.exists() and not after.exists()
