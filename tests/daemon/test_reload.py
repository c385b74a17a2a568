"""HUP: other settings come into force, and no session notices."""
import json
import os
import re
import signal
import socket
import threading

from harness import wire
from harness.host import DOMAIN
from test_serve import is_running, log_has, new_certificate, process, tls_certificate, wait_until

ANCHOR = '. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n'


def change(host, *replacements, more=''):
    with open(host.conf, encoding='ascii') as f:
        text = f.read()
    for pattern, replacement in replacements:
        text, n = re.subn(pattern, replacement, text)
        assert n == 1, pattern
    with open(host.conf, 'w', encoding='ascii') as f:
        f.write(text + more)


def reload(host, event='reloaded'):
    at = len(host.log_text())
    host.process.send_signal(signal.SIGHUP)
    log_has(host, f'event={event}', at)
    return at


def size_limit(host):
    with wire.smtp(host) as connection:
        return next(text for text in connection.command('EHLO client.test')[1] if text.startswith('SIZE'))


def pop3_login(host, user, **options):
    reader = wire.Wire(host.port('pop3'), **options)
    reader.line()
    for command in (f'USER {user}@{DOMAIN}', f'PASS {host.passwords[user]}'):
        reader.send(command + '\r\n')
        assert reader.line().startswith('+OK')
    return reader


def test_sessions_in_the_middle_of_something_go_on(make_host):
    """A RETR that is half read, a message that is half sent, an idle session: none is cut; new ones get the new limit."""
    host = make_host()
    text = b'Subject: big\r\n\r\n' + b''.join(b'%062d\r\n' % n for n in range(200000))
    wire.deliver(host, text, 'alice')
    server = process(host, 'penfold-server')
    with pop3_login(host, 'alice', buffer=4096) as reader, wire.smtp(host) as mail, wire.smtp(host) as idle:
        reader.send('RETR 1\r\n')
        assert reader.line().startswith('+OK')
        for command in ('EHLO client.test', 'MAIL FROM:<s@elsewhere.test>', f'RCPT TO:<bob@{DOMAIN}>', 'DATA'):
            code = mail.command(command)[0]
        assert code == 354
        half = len(text) // 2
        mail.send(text[:half])
        change(host, more='limits { message_size = 1M }\n')
        for _ in range(3):
            reload(host)
        assert size_limit(host) == 'SIZE 1048576'
        assert idle.command('NOOP')[0] == 250
        mail.send(text[half:] + b'.\r\n')
        assert mail.reply()[0] == 250  # with the limit that it was told
        assert text in reader.data()
        reader.send('QUIT\r\n')
        assert reader.line().startswith('+OK')
        assert 'SIZE 1048576' not in idle.command('EHLO client.test')[1]
    assert process(host, 'penfold-server') == server
    assert len(wire.messages(host, 'bob')) == 1
    assert 'event=server-started' in host.log_text() and host.log_text().count('event=server-started') == 1


def test_every_live_setting(make_host):
    host = make_host()
    change(host, (r'plaintext = "loopback"', 'plaintext = "never"'), (r'hostname = "[^"]*"', 'hostname = "other.test"'),
           more='limits { trusted = {} per_address = 2 command_time = 90s }\nlog = "error"\n')
    reload(host)
    with wire.smtp(host) as one, wire.Wire(host.port('pop3')) as two, wire.Wire(host.port('smtp')) as three:
        assert 'other.test' in one.command('EHLO client.test')[1][0]
        assert 'other.test' in two.line()
        two.send(f'USER alice@{DOMAIN}\r\n')
        assert two.line().startswith('-ERR')
        assert three.reply()[0] == 421
    at = len(host.log_text())
    wire.deliver(host, b'Subject: quiet\r\n\r\nx\r\n', 'alice')
    assert 'event=delivered' not in host.log_text()[at:]  # the log's level has changed, too


def test_a_listener_comes_and_goes(make_host):
    host = make_host()
    other = host.ports.base + 443
    change(host, (r'pop3 ( *)= \{"127.0.0.1:\d+"', rf'pop3 \1= {{"127.0.0.1:{other}"'))
    with wire.Wire(host.port('pop3')) as before:
        before.line()
        reload(host)
        with wire.Wire(other) as reader:
            assert reader.line().startswith('+OK')
        with socket.socket() as s:
            assert s.connect_ex(('127.0.0.1', host.port('pop3'))) != 0
        before.send('CAPA\r\n')
        assert before.line().startswith('+OK')
    server, at = process(host, 'penfold-server'), len(host.log_text())
    os.kill(server, signal.SIGKILL)  # the next server has it as well
    log_has(host, 'event=ready', at)
    with wire.Wire(other) as reader:
        assert reader.line().startswith('+OK')


def test_a_port_that_is_taken_changes_nothing(make_host):
    host = make_host()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(('127.0.0.1', host.ports.base + 443))
        other.listen()
        change(host, (r'pop3 ( *)= \{', rf'pop3 \1= {{"127.0.0.1:{host.ports.base + 443}", '),
               more='limits { message_size = 1M }\n')
        reload(host, 'reload-refused')
    assert f'listen: 127.0.0.1:{host.ports.base + 443}: Address already in use' in host.log_text()
    assert size_limit(host) != 'SIZE 1048576'
    reload(host)
    assert size_limit(host) == 'SIZE 1048576'


def test_what_needs_a_restart_is_said(make_host):
    host = make_host()
    at = len(host.log_text())
    change(host, (r'data     = "data"', 'data = "elsewhere"'), more='store { memory = 32M }\n')
    reload(host)
    for setting in ('data', 'store memory'):
        log_has(host, f'event=needs-restart setting="?{setting}', at)
    host.run('stat', check=False)
    with wire.smtp(host) as connection:
        assert connection.command('NOOP')[0] == 250


def test_files_for_the_way_to_others_are_read_again(make_host, tmp_path):
    """Authorities and trust anchor: what is no such file changes nothing, what is needs no restart."""
    host = make_host()
    authorities, anchor = tmp_path / 'authorities.pem', tmp_path / 'root.ds'
    with open(os.path.join(host.folder, 'tls', 'certificate.pem'), encoding='ascii') as f:
        authorities.write_text(f.read())
    anchor.write_text(ANCHOR)
    at = len(host.log_text())
    change(host, more=f'tls {{ ca_file = "{authorities}" }}\ndns {{ trust_anchor = "{anchor}" resolver = {{"127.0.0.1:9"}} cache = 2M }}\n')
    reload(host)
    change(host, more='limits { message_size = 1M }\n')
    for path, bad, why in ((authorities, 'no certificate\n', 'authorities: no certificate in it'), (anchor, '', 'root.ds: empty')):
        good, before = path.read_text(), len(host.log_text())
        path.write_text(bad)
        reload(host, 'reload-refused')
        assert why in host.log_text()[before:] and size_limit(host) != 'SIZE 1048576'
        path.write_text(good)
    anchor.write_text(ANCHOR.replace('20326', '20327'))
    authorities.write_text(authorities.read_text() * 2)
    reload(host)
    assert size_limit(host) == 'SIZE 1048576'
    assert not re.search('event=(needs-restart|dns-not-reloaded|authorities-not-reloaded)', host.log_text()[at:])


def test_removed_accounts_are_kept_as_long_as_it_says_now(make_host):
    host = make_host()
    host.run('account', 'remove', f'alice@{DOMAIN}')

    def kept_until():
        return json.loads(host.run('account', 'list', '--removed', '--json'))[0]['kept_until']

    before = kept_until()
    change(host, more='store { keep_removed = 365d }\n')
    reload(host)
    assert kept_until() > before  # both ISO 8601 in UTC


def test_sessions_of_before_end_after_reload_time(make_host):
    host = make_host(settings='limits { reload_time = 1s }')
    with wire.smtp(host) as old:
        reload(host)
        with wire.smtp(host) as new:
            assert old.reply()[0] == 421
            assert new.command('NOOP')[0] == 250


def test_old_signers_end_with_the_last_session_that_may_need_them(make_host, tmp_path):
    """STARTTLS in a session from before three renewals is signed with the key that it began with."""
    host = make_host()
    first = process(host, 'penfold-signer')
    before = tls_certificate(host)
    with wire.smtp(host) as old:
        old.command('EHLO client.test')
        for n in range(3):
            folder = tmp_path / str(n)
            folder.mkdir()
            new_certificate(host, folder)
            reload(host)
        assert tls_certificate(host) != before
        assert is_running(first)
        assert old.command('STARTTLS')[0] == 220
        old.start_tls()
        assert old.socket.getpeercert(binary_form=True) == before
    wait_until(lambda: not is_running(first), 'the first signer ends')
    wait_until(lambda: list(host.children().values()).count('penfold-signer') == 1, 'one signer is left')


def test_many_reloads_under_load(make_host):
    from harness.load import Load, collect
    host = make_host()
    with Load(host, ['alice', 'bob'], threads=4, per_connection=20) as load:
        load.wait_for(50)
        for n in range(10):
            change(host, more=f'limits {{ recipients = {10 + n} }}\n')
            reload(host)
        load.wait_for(load.count() + 50)
    assert not load.refused_connects and not load.refusals
    load.verify(collect(host, ['alice', 'bob']))
    assert host.log_text().count('event=server-started') == 1


def test_hup_and_term_at_once(make_host):
    host = make_host()
    threads = [threading.Thread(target=host.process.send_signal, args=(s,))
               for s in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.process.wait(60) == 0
