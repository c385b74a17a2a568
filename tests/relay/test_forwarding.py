"""Forwarded mail and the reports about it, on their way through real sockets: an alias to another host, the bounce that comes back,
and who is told of success."""
import json
import re

import pytest

from harness import wire
from harness.sink import Sink
from relaying import events, settings, to_sink, wait_for_mail, wait_until


@pytest.fixture
def away():
    with Sink() as one:
        yield one


@pytest.fixture
def home():
    with Sink() as one:
        yield one


def forwarding(make_host, away, home):
    host = make_host(settings=settings(to_sink('away.test', away), to_sink('home.test', home)))
    host.run('alias', 'add', host.address('carol'), 'carol@away.test')
    return host


def hand_in(host, sender, recipient, parameters=''):
    with wire.smtp(host) as w:
        assert w.command(f'MAIL FROM:<{sender}>')[0] == 250
        assert w.command(f'RCPT TO:<{recipient}>{parameters}')[0] == 250
        assert w.command('DATA')[0] == 354
        w.send(wire.stuff(b'From: x@home.test\r\nSubject: on\r\n\r\ntext\r\n'))
        assert w.reply()[0] == 250


def test_a_bounce_goes_back_to_the_first_sender(make_host, away, home):
    host = forwarding(make_host, away, home)
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


def test_a_refusal_is_told_to_the_first_sender(make_host, away, home):
    away.rcpt = lambda address: '550 5.1.1 gone'
    host = forwarding(make_host, away, home)
    hand_in(host, 'dave@home.test', host.address('carol'))
    home.wait(1)
    report, = home.messages
    assert report.sender == '' and report.recipients == ['dave@home.test']
    assert report.header('Auto-Submitted') == 'auto-replied'
    lines = report.data.decode().split('\r\n\r\n')
    assert f'did not reach {host.address("carol")}: there is no such mailbox.' in lines[2]  # the alias, not what is behind it
    assert f'Final-Recipient: rfc822; {host.address("carol")}\r\n' in report.data.decode()


@pytest.mark.parametrize('offers_dsn', [True, False])
def test_success_is_told_by_the_last_who_knows(make_host, home, offers_dsn):
    """[RFC3461 5.2.1]: a host with DSN has the wishes; [RFC3461 5.2.2]: without it, we say that we have passed it on."""
    offers = ('PIPELINING', '8BITMIME') + (('DSN',) if offers_dsn else ())
    with Sink(offers=offers) as away:
        host = forwarding(make_host, away, home)
        hand_in(host, 'alice@' + host.address('x')[2:], host.address('carol'), ' NOTIFY=SUCCESS')
        away.wait(1)
        wishes = away.messages[0].rcpt_parameters
        if offers_dsn:
            assert any('NOTIFY=SUCCESS' in str(w) for w in wishes)
            return
        assert 'NOTIFY' not in str(wishes)
        assert b'Action: relayed' in wait_for_mail(host, 1)[0]


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
