"""Forwarded mail and the reports about it, on their way through real sockets: an alias to another host, the bounce that comes back,
and who is told of success; accounts whose mail goes on."""
import json
import re

import pytest

from harness import wire
from harness.host import Host
from harness.sink import Sink
from relaying import events, inbox, settings, submission, to_sink, wait_for_mail, wait_until

DSN = ('PIPELINING', '8BITMIME', 'DSN')


@pytest.fixture(name='hosts', scope='module')
def hosts_fixture(tmp_path_factory):
    """One mail host for the file, since making it takes most of the time, and two that it sends to."""
    with Sink() as away, Sink() as home:
        with Host(tmp_path_factory.mktemp('forwarding') / 'mail',
                  settings=settings(to_sink('away.test', away), to_sink('home.test', home))) as host:
            host.run('alias', 'add', host.address('carol'), 'carol@away.test')
            yield host, away, home


@pytest.fixture(name='host')
def host_fixture(hosts):
    return hosts[0]


def renewed(sink):
    """As if nothing had been: connections that earlier tests have left know what was offered to them."""
    sink.stop()
    sink.messages.clear()
    sink.offers, sink.rcpt = DSN, lambda address: '250 2.1.5 ok'
    sink.start()
    return sink


@pytest.fixture(name='away')
def away_fixture(hosts):
    return renewed(hosts[1])


@pytest.fixture(name='home')
def home_fixture(hosts):
    return renewed(hosts[2])


def hand_in(host, sender, recipient, parameters=''):
    with wire.smtp(host) as w:
        assert w.command(f'MAIL FROM:<{sender}>')[0] == 250
        assert w.command(f'RCPT TO:<{recipient}>{parameters}')[0] == 250
        assert w.command('DATA')[0] == 354
        w.send(wire.stuff(b'From: x@home.test\r\nSubject: on\r\n\r\ntext\r\n'))
        assert w.reply()[0] == 250


def test_a_bounce_goes_back_to_the_first_sender(host, away, home):
    hand_in(host, 'dave@home.test', host.address('carol'))
    away.wait(1)
    mail, = away.messages
    assert mail.recipients == ['carol@away.test'] and mail.header('Delivered-To') == host.address('carol')
    assert re.fullmatch(r'SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=home\.test=dave@' + re.escape(host.address('x')[2:]), mail.sender)
    hand_in(host, '', mail.sender.lower())  # some hosts change the case
    home.wait(1)
    assert home.messages[0].recipients == ['dave@home.test'] and home.messages[0].sender == ''
    with wire.smtp(host) as w:
        assert w.command('MAIL FROM:<>')[0] == 250
        assert w.command(f'RCPT TO:<{mail.sender.replace("dave", "eve")}>')[0] == 550
        assert w.command('RSET')[0] == 250
        assert w.command('MAIL FROM:<eve@home.test>')[0] == 250
        assert w.command(f'RCPT TO:<{mail.sender}>')[0] == 550


def test_a_refusal_is_told_to_the_first_sender(host, away, home):
    away.rcpt = lambda address: '550 5.1.1 gone'
    hand_in(host, 'dave@home.test', host.address('carol'))
    home.wait(1)
    report, = home.messages
    assert report.sender == '' and report.recipients == ['dave@home.test']
    assert report.header('Auto-Submitted') == 'auto-replied'
    lines = report.data.decode().split('\r\n\r\n')
    assert f'did not reach {host.address("carol")}: there is no such mailbox.' in lines[2]  # the alias, not what is behind it
    assert f'Final-Recipient: rfc822; {host.address("carol")}\r\n' in report.data.decode()


@pytest.mark.parametrize('offers_dsn', [True, False])
def test_success_is_told_by_the_last_who_knows(host, away, offers_dsn):
    """[RFC3461 5.2.1]: a host with DSN has the wishes; [RFC3461 5.2.2]: without it, we say that we have passed it on."""
    away.offers = DSN if offers_dsn else DSN[:2]
    hand_in(host, 'alice@' + host.address('x')[2:], host.address('carol'), ' NOTIFY=SUCCESS')
    away.wait(1)
    wishes = away.messages[0].rcpt_parameters
    if offers_dsn:
        assert any('NOTIFY=SUCCESS' in str(w) for w in wishes)
        return
    assert 'NOTIFY' not in str(wishes)
    assert b'Action: relayed' in wait_for_mail(host, 1)[0]


def forward(host, user, *words):
    return host.run('account', 'set', host.address(user), *words, check=False)


def test_an_account_forwards_and_keeps_a_copy(host, away):
    """What `account set --forward` does, said by `account show`; with several targets success is "expanded" [RFC3461 5.2.7.3]."""
    bob = host.address('bob')
    assert forward(host, 'bob', '--forward', 'Bob@away.test', '--keep').returncode == 0
    shown = json.loads(host.run('account', 'show', bob, '--json'))[0]
    assert shown['forward'] == 'bob@away.test' and shown['keeps_copy'] is True
    hand_in(host, 'dave@home.test', bob)
    away.wait(1)
    mail, = away.messages
    assert mail.recipients == ['bob@away.test'] and mail.sender.startswith('SRS0=') and mail.header('Delivered-To') == bob
    assert len(wait_for_mail(host, 1, 'bob')) == 1
    told = json.loads(host.run('trace', mail.sender, '--json'))
    assert f'{bob} goes to 1 mailbox here, bob@away.test' in [row['note'] for row in told]


def test_an_account_forwards_all(host, away, home):
    bob = host.address('bob')
    before = len(inbox(host, 'bob'))
    assert forward(host, 'bob', '--forward', 'bob@away.test', '--no-keep').returncode == 0
    away.rcpt = lambda address: '550 5.1.1 gone'
    hand_in(host, 'dave@home.test', bob)
    home.wait(1)  # a refusal goes back to who wrote it, and names the address here
    assert f'Final-Recipient: rfc822; {bob}\r\n'.encode() in home.messages[0].data
    away.rcpt = lambda address: '250 2.1.5 ok'
    hand_in(host, 'dave@home.test', bob)
    away.wait(1)
    hand_in(host, '', away.messages[-1].sender)  # a bounce from further away too
    home.wait(2)
    assert home.messages[-1].recipients == ['dave@home.test'] and len(inbox(host, 'bob')) == before
    with submission(host, 'bob') as w:  # the address is still his own
        assert w.command(f'MAIL FROM:<{bob}>')[0] == 250


def test_mail_that_has_been_here_goes_no_further(host, away):
    bob = host.address('bob')
    assert forward(host, 'bob', '--forward', 'bob@away.test', '--no-keep').returncode == 0
    hand_in(host, 'dave@home.test', bob)
    away.wait(1)
    with wire.smtp(host) as w:  # that host sends it back
        assert w.command(f'MAIL FROM:<{away.messages[0].sender}>')[0] == 250
        assert w.command(f'RCPT TO:<{bob}>')[0] == 250
        assert w.command('DATA')[0] == 354
        w.send(wire.stuff(away.messages[0].data))
        code, text = w.reply()
        assert code == 554 and '5.4.6' in str(text)


def test_what_cannot_be_forwarded_to(host):
    for words, status, why in ((('--forward', 'nobody@' + host.domain), 1, 'nobody here has'),
                               (('--forward', host.address('bob')), 1, 'leads back'),
                               (('--forward', 'no address'), 2, 'expected an address'),
                               (('--forward', ','.join(f'a{n}@away.test' for n in range(21))), 2, 'at most 20'),
                               (('--keep', '--no-keep'), 2, 'not both')):
        done = forward(host, 'bob', *words)
        assert done.returncode == status and why in done.stderr, (words, done.stderr)
    assert forward(host, 'bob', '--forward', 'none').returncode == 0
    shown = json.loads(host.run('account', 'show', host.address('bob'), '--json'))[0]
    assert shown['forward'] == 'none' and shown['keeps_copy'] is True
    done = forward(host, 'bob', '--no-keep')
    assert done.returncode == 1 and 'goes nowhere else' in done.stderr


def test_other_hosts_do_not_write_to_strangers_by_reports_of_success(make_host, home):
    """NOTIFY=SUCCESS reports to whatever MAIL has named: so often as the configuration lets it, and no more."""
    host = make_host(settings=settings(to_sink('home.test', home), 'smtp { success_reports = "2/h" }'))
    for n in range(4):
        hand_in(host, f'victim{n}@home.test', host.address('alice'), ' NOTIFY=SUCCESS')
    assert len(wait_for_mail(host, 4)) == 4
    home.wait(2)
    wait_until(lambda: json.loads(host.run('queue', 'list', '--json')) == [])
    assert sorted(m.recipients[0] for m in home.messages) == ['victim0@home.test', 'victim1@home.test']
    assert len(events(host, 'no-success-report')) == 2
