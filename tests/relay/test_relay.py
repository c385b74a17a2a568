"""Mail on its way to other hosts: from submission to what a host got, and what came back."""
import contextlib
import json
import os
import signal
import socket
import tempfile
import threading
import time
import urllib.request

import pytest

from harness.names import Names
from harness.sink import Sink, dead_port
from relaying import events, inbox, message, route, send, settings, submission, to_sink, wait_for_mail, wait_until
from harness import wire


@pytest.fixture
def sink():
    with Sink() as one:
        yield one


def test_a_message_arrives_as_it_was_sent(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink)))
    send(host, 'Carol@Far.test', subject='one', body='.dots\r\n..\r\nlast line\r\n')
    sink.wait(1)
    mail, = sink.messages
    assert mail.sender == host.address('alice') and mail.recipients == ['Carol@Far.test']
    assert mail.data.endswith(message(host, 'one', body='.dots\r\n..\r\nlast line\r\n'))
    assert mail.header('Received') and mail.header('Return-Path') is None  # [RFC5321 4.4]
    assert sink.hello[0] == f'EHLO {host.hostname}'
    sent, = wait_until(lambda: events(host, 'relayed'))
    received, = events(host, 'received')
    assert sent['message'] == received['message'] and sent['to'] == 'Carol@Far.test' and sent['reply'].startswith('250')


def test_several_domains_one_refused(make_host, sink):
    """Each recipient has an end of its own: here, there, and back with a word why not."""
    with Sink() as other:
        other.rcpt = lambda a: '550 5.1.1 no such user here' if a.startswith('gone@') else '250 2.1.5 ok'
        host = make_host(settings=settings(to_sink('far.test', sink), to_sink('near.test', other)))
        send(host, 'a@far.test', host.address('bob'), 'b@far.test', 'gone@near.test', 'c@near.test', subject='several')
        sink.wait(2)
        other.wait(1)
        assert [sorted(m.recipients) for m in sink.messages] == [['a@far.test', 'b@far.test']]  # one transaction
        assert [m.recipients for m in other.messages] == [['c@near.test']]
        assert b'Subject: several' in wait_for_mail(host, 1, 'bob')[0]
        report = wait_for_mail(host, 1)[0]
        assert b'gone@near.test' in report and b'no such user here' in report and b'c@near.test' not in report.split(b'\r\n\r\n')[1]
        bounced, = wait_until(lambda: events(host, 'bounced'))
        assert bounced['to'] == 'gone@near.test' and 'no such user here' in bounced['reply']
        assert len(inbox(host)) == 1


def test_a_host_that_comes_back(make_host, sink):
    sink.stop()
    host = make_host(settings=settings(to_sink('far.test', sink)))
    with submission(host) as w:
        for n in range(30):
            send(host, f'u{n}@far.test', subject=f's{n}', connection=w)
    wait_until(lambda: len(events(host, 'deferred')) >= 30)
    assert 'far.test' not in sink.tried and not sink.messages
    sink.start()
    sink.wait(30)
    assert sorted(r for m in sink.messages for r in m.recipients) == sorted(f'u{n}@far.test' for n in range(30))
    assert sink.sessions <= 25  # connections are kept: not one for each message


def test_greylisting(make_host, sink):
    seen = set()

    def later_at_first(address):
        if address in seen:
            return '250 2.1.5 ok'
        seen.add(address)
        return '451 4.7.1 greylisted, come back'
    sink.rcpt = later_at_first
    host = make_host(settings=settings(to_sink('far.test', sink), quick='retry_first = 1h retry_greylisted = 1s'))
    send(host, 'a@far.test', 'b@far.test')
    sink.wait(2)
    assert {e['to'] for e in events(host, 'deferred')} == {'a@far.test', 'b@far.test'}
    assert sorted(sink.tried) == ['a@far.test', 'a@far.test', 'b@far.test', 'b@far.test']


def test_connections_are_reused_up_to_a_limit(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink), 'relay { per_host = 1 per_connection = 10 }'))
    with submission(host) as w:
        for n in range(40):
            send(host, f'u{n}@far.test', connection=w)
    sink.wait(40)
    assert sink.most <= 2 and sink.sessions >= 4  # the host may see the next one before it has closed the last
    wait_until(lambda: sink.open == 0, why='an idle connection stays open')


def test_a_smarthost_with_a_login(make_host, tmp_path):
    (tmp_path / 'password').write_text('its secret\n')
    with Sink(login=('penfold', 'its secret')) as smart:
        host = make_host(settings=settings(to_sink('*', smart, login='penfold', password_file=tmp_path / 'password')))
        send(host, 'a@anywhere.test', 'b@elsewhere.test')
        smart.wait(2)
        assert smart.logins[0] == ('penfold', 'its secret')
        assert 'its secret' not in host.log_text()


def test_a_wrong_password_bounces_nothing(make_host, tmp_path):
    (tmp_path / 'password').write_text('wrong\n')
    with Sink(login=('penfold', 'right')) as smart:
        host = make_host(settings=settings(to_sink('*', smart, login='penfold', password_file=tmp_path / 'password')))
        send(host, 'a@anywhere.test')
        wait_until(lambda: events(host, 'deferred'))
        (tmp_path / 'password').write_text('right\n')
        host.process.send_signal(signal.SIGHUP)
        smart.wait(1)
        assert not events(host, 'bounced') and not inbox(host)


@pytest.mark.parametrize('socket_file', [False, True])
def test_lmtp(make_host, socket_file):
    with tempfile.TemporaryDirectory() as folder, Sink(lmtp=True, path=f'{folder}/lmtp' if socket_file else None,
                                                       offers=('PIPELINING', '8BITMIME')) as lmtp:
        os.chmod(folder, 0o755)  # the server is another user
        if socket_file:
            os.chmod(lmtp.path, 0o666)
        host = make_host(settings=settings(to_sink('local.test', lmtp, protocol='lmtp')))
        send(host, 'a@local.test', 'b@local.test')
        lmtp.wait(2)
        assert lmtp.hello[0] == f'LHLO {host.hostname}'


def test_a_backup_mx(make_host, sink):
    host = make_host(settings=settings(to_sink('backup.test', sink), 'relay { accept = {"backup.test"} }'))
    with wire.smtp(host) as w:
        assert w.command('MAIL FROM:<sender@elsewhere.test>')[0] == 250
        for nobody in ('a@elsewhere.test', 'a@sub.backup.test', 'a%backup.test@elsewhere.test'):
            assert w.command(f'RCPT TO:<{nobody}>')[0] == 550
        assert w.command('RCPT TO:<anybody@backup.test>')[0] == 250
        assert w.command('DATA')[0] == 354
        w.send(wire.stuff(b'Subject: for another\r\n\r\ntext\r\n'))
        assert w.reply()[0] == 250
    sink.wait(1)
    assert sink.messages[0].sender == 'sender@elsewhere.test'


def test_two_penfolds(make_host):
    far = make_host('far', users=(), settings='hostname = "mx.far.test"')
    far.run('domain', 'add', 'far.test')
    far.run('account', 'add', 'carol@far.test', '--password-stdin', stdin='a long password\n')
    near = make_host('near', settings=settings(route('far.test', f'127.0.0.1:{far.port("smtp")}', tls='opportunistic')))
    send(near, 'carol@far.test', 'nobody@far.test', subject='from afar')
    report, = wait_for_mail(near, 1)
    assert b'nobody@far.test' in report
    received, = wait_until(lambda: events(far, 'delivered'))
    assert received
    assert any('TLS' in e.get('tls', 'TLS') for e in events(far, 'received'))


def test_what_waits_survives_a_restart(make_host, sink):
    sink.stop()
    host = make_host(settings=settings(to_sink('far.test', sink)))
    send(host, 'a@far.test', 'b@far.test')
    wait_until(lambda: len(events(host, 'deferred')) >= 2)
    host.stop()
    sink.start()
    host.start()
    sink.wait(2)
    time.sleep(3)
    assert sink.taken() == 2


def test_a_dead_host_delays_no_other(make_host, sink):
    host = make_host(settings=settings(to_sink('live.test', sink), route('dead.test', f'127.0.0.1:{dead_port()}'), quick='retry_first = 1h'))
    with submission(host) as w:
        for n in range(200):
            send(host, f'u{n}@dead.test', connection=w)
        for n in range(20):
            send(host, f'u{n}@live.test', connection=w)
    sink.wait(20)
    wait_until(lambda: len(events(host, 'deferred')) == 200)


def test_a_silent_host_delays_no_other(make_host, sink):
    """Connected, and then not a word."""
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(1000)
        place = f'127.0.0.1:{silent.getsockname()[1]}'
        host = make_host(settings=settings(to_sink('live.test', sink), route('silent.test', place), 'relay { command_time = 1s }',
                                           quick='retry_first = 1h'))
        with submission(host) as w:
            for n in range(50):
                send(host, f'u{n}@silent.test', connection=w)
            for n in range(20):
                send(host, f'u{n}@live.test', connection=w)
        sink.wait(20)
        wait_until(lambda: len(events(host, 'deferred')) == 50, 120)


def test_it_expires(make_host):
    host = make_host(settings=settings(route('dead.test', f'127.0.0.1:{dead_port()}'), 'relay { expire = 3s }'))
    send(host, 'a@dead.test')
    report, = wait_for_mail(host, 1)
    assert b'a@dead.test' in report and b'refused' in report


def test_a_reload_changes_a_route(make_host, sink):
    host = make_host(settings=settings(route('far.test', f'127.0.0.1:{dead_port()}')))
    send(host, 'a@far.test')
    wait_until(lambda: events(host, 'deferred'))
    with open(host.conf, 'a', encoding='utf-8') as f:
        f.write(to_sink('far.test', sink) + '\n')
    host.process.send_signal(signal.SIGHUP)
    sink.wait(1)


def reload(host, *settings):
    """Other settings, behind those that there are."""
    before = host.log_text().count('event=reloaded')
    with open(host.conf, 'a', encoding='utf-8') as f:
        f.write('\n'.join(settings) + '\n')
    host.process.send_signal(signal.SIGHUP)
    wait_until(lambda: host.log_text().count('event=reloaded') > before)


def test_a_retry_wakes_a_destination_that_is_left_alone(make_host, sink):
    """Its host would be tried again in an hour, its messages too; another destination is not touched."""
    sink.stop()
    host = make_host(settings=settings(to_sink('far.test', sink), route('dead.test', f'127.0.0.1:{dead_port()}'), quick='retry_first = 1h'))
    with submission(host) as w:
        for n in range(20):
            send(host, f'u{n}@far.test', connection=w)
        send(host, 'a@dead.test', connection=w)
    wait_until(lambda: len(events(host, 'deferred')) == 21)
    sink.start()
    assert host.run('queue', 'retry', '--domain', 'far.test').split()[-1] == '20'
    sink.wait(20)
    wait_until(lambda: len(events(host, 'relayed')) == 20)
    assert len(events(host, 'deferred')) == 21
    assert 'dead.test' in host.run('queue', 'list', '--state', 'deferred')


def test_a_reload_changes_how_long_mail_waits(make_host):
    """Also for what waits already: the next try finds that its time is over."""
    host = make_host(settings=settings(route('dead.test', f'127.0.0.1:{dead_port()}'), 'relay { expire = 5d delay_notice = 4h }'))
    send(host, 'a@dead.test')
    wait_until(lambda: events(host, 'deferred'))
    reload(host, 'relay { delay_notice = 1s }')
    report, = wait_for_mail(host, 1)
    assert b'Action: delayed' in report
    reload(host, 'relay { expire = 1s }')
    reports = wait_for_mail(host, 2)
    assert b'Action: failed' in reports[1] and b'a@dead.test' in reports[1]


def test_many_domains_are_accepted(make_host, sink):
    """As many as the configuration may name, also after a reload; no other is."""
    some = ', '.join(f'"B{n}.test"' for n in range(200))
    many = ', '.join(f'"b{n}.test"' for n in range(10000))
    host = make_host(settings=settings(to_sink('*', sink), f'relay {{ accept = {{{some}}} }}'))

    def answers(*domains):
        with wire.smtp(host) as w:
            assert w.command('MAIL FROM:<sender@elsewhere.test>')[0] == 250
            return [w.command(f'RCPT TO:<a@{domain}>')[0] for domain in domains]
    assert answers('b0.test', 'b199.TEST', 'b200.test', 'x.test') == [250, 250, 550, 550]
    reload(host, f'relay {{ accept = {{{many}}} }}')
    assert answers('b0.test', 'b200.test', 'b9999.test', 'b10000.test', 'x.test') == [250, 250, 250, 550, 550]
    with open(host.conf, 'a', encoding='utf-8') as f:
        f.write(f'relay {{ accept = {{{many}, "one.more.test"}} }}\n')
    assert 'accept has more than 10000 entries' in host.run('check', check=False).stderr


def test_names_are_asked_for(make_host, sink):
    table = {('mx.far.test', 'A'): ['127.0.0.1'], ('mx.later.test', 'A'): ['127.0.0.1']}
    with Names(table) as names:
        names.failing.add('mx.later.test')
        port = sink.port
        host = make_host(settings=settings(names.settings(), route('far.test', f'mx.far.test:{port}'),
                                           route('later.test', f'mx.later.test:{port}')))
        send(host, 'a@far.test', 'b@no-such.test', 'c@later.test')
        sink.wait(1)
        report, = wait_for_mail(host, 1)
        assert b'b@no-such.test' in report and b'c@later.test' not in report.split(b'\r\n\r\n')[1]
        names.failing.clear()
        sink.wait(2)


def can_bind_25():
    with socket.socket() as s:
        try:
            s.bind(('127.0.25.1', 25))
        except OSError:
            return False
    return True


@pytest.mark.skipif(not can_bind_25(), reason='MX hosts are on port 25, which this user may not bind')
def test_mx(make_host):
    """The better host is dead, the next one takes it; null MX bounces at once [RFC7505 4.2]."""
    table = {('far.test', 'MX'): ['10 dead.far.test', '20 live.far.test'], ('dead.far.test', 'A'): ['127.0.25.9'],
             ('live.far.test', 'A'): ['127.0.25.1'], ('null.test', 'MX'): ['0 .'], ('implicit.test', 'A'): ['127.0.25.1'],
             ('loop.test', 'MX'): ['10 us.test'], ('us.test', 'A'): ['127.0.0.1'], ('trap.test', 'A'): ['127.0.25.8']}
    with Names(table) as names, Sink(address='127.0.25.1', port=25) as mx:
        host = make_host(settings=settings(names.settings(), 'relay { avoid = {"127.0.25.8"} }'))
        send(host, 'a@far.test', 'b@implicit.test', 'c@null.test', 'd@trap.test')
        mx.wait(2)
        reports = b''.join(wait_for_mail(host, 2))
        assert b'c@null.test' in reports and b'd@trap.test' in reports and b'127.0.25.8' in reports


def test_figures(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink), route('dead.test', f'127.0.0.1:{dead_port()}')))
    send(host, 'a@far.test', 'b@dead.test')
    sink.wait(1)
    wait_until(lambda: events(host, 'deferred'))

    def shown():
        return urllib.request.urlopen(f'http://127.0.0.1:{host.port("admin")}/metrics', timeout=60).read().decode()
    wait_until(lambda: 'penfold_relay_destination_sent_total{destination="far.test"} 1\n' in shown())
    assert 'penfold_relayed_total 1\n' in shown()


def test_killed_in_the_middle(make_host, sink):
    """Whatever was acknowledged arrives; a second copy only of what was under way at a kill."""
    sink.data = lambda mail: (time.sleep(0.02), '250 2.0.0 taken')[1]
    host = make_host(settings=settings(to_sink('far.test', sink)))
    acknowledged, kills, stop = [], 0, threading.Event()

    def submit(worker):
        n = 0
        while not stop.is_set():
            with contextlib.suppress(OSError, AssertionError):
                with submission(host, timeout=20) as w:
                    while not stop.is_set():
                        address = f'w{worker}-{n}@far.test'
                        n += 1
                        send(host, address, connection=w)
                        acknowledged.append(address)
            time.sleep(0.05)
    workers = [threading.Thread(target=submit, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for _ in range(4):
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 20)
        os.kill(host.server_pid(), signal.SIGKILL)
        kills += 1
    stop.set()
    for worker in workers:
        worker.join()
    got = lambda: [r for m in list(sink.messages) for r in m.recipients]  # noqa: E731
    wait_until(lambda: set(acknowledged) <= set(got()), 120, 'something that was acknowledged never arrived')
    extra = len(got()) - len(set(got()))
    assert extra <= kills * 20, f'{extra} second copies after {kills} kills'  # at most what was under way each time


def test_what_waits_says_why_and_what_is_taken_out_says_by_whom(make_host):
    host = make_host(settings=settings(route('dead.test', f'127.0.0.1:{dead_port()}'), quick='retry_first = 1h'))
    send(host, 'x@dead.test')

    def shown():
        rows = json.loads(host.run('queue', 'list', '--state', 'deferred', '--json'))
        return [row for row in rows if 'Connection refused' in row['cause']]
    item, = wait_until(shown)
    assert 'Connection refused' in host.run('trace', 'x@dead.test')
    host.run('queue', 'remove', item['id'], '--report')
    report, = wait_for_mail(host, 1)
    words = b' '.join(report.split())
    assert b'whoever looks after this mail server has taken it out' in words and b'<x@dead.test>, before it was sent:' in words
