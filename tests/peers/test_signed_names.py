"""Penfold finds its way by names that are signed: two of it, and hosts with all kinds of records, each in a network namespace."""
import smtplib

from harness import zones as dns

OTHER_KEY = 'TLSA 3 1 1 ' + '5a' * 32


def is_over_tls(mail):
    """By the trace field that the receiving host put on top [RFC3848]."""
    return b'with ESMTPS' in mail.split(b'\r\nReceived:', 2)[1] if b'\r\nReceived:' in mail else b'with ESMTPS' in mail


def comes(world, sink, *recipients):
    """Each is there, once, and the sender knows."""
    sink.wait(len(recipients))
    for recipient in recipients:
        world.near.wait_for_event('relayed', to=recipient)
    assert sorted(r for m in sink.messages for r in m.recipients) == sorted(recipients)


def test_mail_both_ways(world):
    near, far = world.near, world.far
    near.submit('there', 'carol@far.example')
    assert is_over_tls(far.wait_for('carol', 'Subject: there'))
    far.submit('back', 'alice@near.example', user='carol')
    assert is_over_tls(near.wait_for('alice', 'Subject: back', service='imap'))


def test_reports_both_ways(world):
    near, far = world.near, world.far
    near.submit('to nobody', 'nobody@far.example')
    report = near.wait_for('alice', 'nobody@far.example')
    assert b'550' in report and b'Content-Type: multipart/report' in report and b'Subject: to nobody' in report
    far.submit('to nobody back', 'nobody@near.example', user='carol')
    assert b'Content-Type: multipart/report' in far.wait_for('carol', 'nobody@near.example')


# --- where to ------------------------------------------------------------------------------------------------------------

def test_one_dead_ipv6_and_one_live_ipv4_address(world):
    sink = world.sink()
    world.zones.set({'half.example': ['MX 10 mx.half.example.'], 'mx.half.example': ['AAAA 2001:db8::dead', f'A {sink.at}']})
    world.near.submit('half', 'u@half.example')
    comes(world, sink, 'u@half.example')


def test_one_live_ipv6_and_one_dead_ipv4_address(world):
    sink = world.sink('2001:db8::77')
    world.zones.set({'six.example': ['MX 10 mx.six.example.'], 'mx.six.example': ['AAAA 2001:db8::77', f'A {world.address()}']})
    world.near.submit('six', 'u@six.example')
    comes(world, sink, 'u@six.example')


def test_null_mx(world):
    sink = world.sink()
    world.zones.set({'none.example': ['MX 0 .', f'A {sink.at}']})
    world.near.submit('into nothing', 'u@none.example')
    report = world.near.wait_for('alice', 'Subject: into nothing')
    assert b'u@none.example' in report and b'5.1.10' in report  # [RFC7505 4.2]
    assert not sink.sessions


def test_no_such_domain_and_no_mx(world):
    sink = world.sink()
    world.zones.set({'bare.example': [f'A {sink.at}']})
    world.near.submit('to a bare host', 'u@bare.example', 'u@unknown.example')  # [RFC5321 5.1]
    comes(world, sink, 'u@bare.example')
    assert b'u@unknown.example' in world.near.wait_for('alice', 'Subject: to a bare host')


def test_a_backup_mx_is_used_when_the_first_is_down(world):
    sink = world.sink()
    world.zones.set({'two.example': ['MX 10 mx1.two.example.', 'MX 20 mx2.two.example.'], 'mx1.two.example': [f'A {world.address()}'],
                     'mx2.two.example': [f'A {sink.at}']})
    world.near.submit('second', 'u@two.example')
    comes(world, sink, 'u@two.example')


def test_this_host_is_a_backup_mx(world):
    """It keeps what it takes for the domain until a better host is there, and does not send it to itself [RFC5321 5.1]."""
    sink, near = world.sink(), world.near
    sink.stop()
    world.zones.set({'held.example': ['MX 10 mx.held.example.', 'MX 20 mx.near.example.'], 'mx.held.example': [f'A {sink.at}']})
    with world.far.place.inside(), smtplib.SMTP('192.0.2.10', 25, 'mx.far.example', timeout=60) as s:
        s.sendmail('carol@far.example', ['anybody@held.example'], b'Subject: held\r\n\r\ntext\r\n')
    near.wait_for_event('deferred', to='anybody@held.example')
    world.again(sink)
    comes(world, sink, 'anybody@held.example')


def test_a_host_that_comes_back_later(world):
    sink = world.sink()
    sink.stop()
    world.zones.set({'later.example': ['MX 10 mx.later.example.'], 'mx.later.example': [f'A {sink.at}']})
    for n in range(5):
        world.near.submit(f'later {n}', f'u{n}@later.example')
    for n in range(5):
        world.near.wait_for_event('deferred', to=f'u{n}@later.example')
    world.again(sink)
    comes(world, sink, *(f'u{n}@later.example' for n in range(5)))


# --- what a host must show -------------------------------------------------------------------------------------------------

def waits_then_comes(world, subject, to, reason, mend):
    """The message waits for a reason and is not heard of there; once the names are right it comes, in TLS."""
    user, domain = to.split('@')
    world.near.submit(subject, to)
    why = world.near.wait_for_event('deferred', to=to)['reply']
    assert reason in why, why
    assert not world.far.events('received', to=to) and not world.near.events('relayed', to=to)
    world.zones.set(mend)
    world.near.wait_for_event('relayed', to=to)


def test_dane_that_is_right(world):
    world.far.take('right.example')
    world.zones.set({'right.example': ['MX 10 mx.right.example.'], 'mx.right.example': ['A 192.0.2.11'],
                     '_25._tcp.mx.right.example': [dns.tlsa(world.far.certificate())]})  # which has another name in it
    world.near.submit('right', 'carol@right.example')
    assert world.near.wait_for_event('relayed', to='carol@right.example')


def test_dane_that_is_wrong(world):
    """TLSA records that do not match: the message waits, until they do [RFC7672 2.2]."""
    world.far.take('wrong.example')
    world.zones.set({'wrong.example': ['MX 10 mx.wrong.example.'], 'mx.wrong.example': ['A 192.0.2.11'],
                     '_25._tcp.mx.wrong.example': [OTHER_KEY]})
    waits_then_comes(world, 'wrong', 'carol@wrong.example', 'DANE',
                     {'_25._tcp.mx.wrong.example': [OTHER_KEY, dns.tlsa(world.far.certificate())]})


def test_dane_and_a_host_without_tls(world):
    """Never in clear [RFC7672 2.2]."""
    sink = world.sink()
    world.zones.set({'clear.example': ['MX 10 mx.clear.example.'], 'mx.clear.example': [f'A {sink.at}'],
                     '_25._tcp.mx.clear.example': [OTHER_KEY]})
    world.near.submit('clear', 'u@clear.example')
    assert 'TLS is required' in world.near.wait_for_event('deferred', to='u@clear.example')['reply']
    assert sink.sessions and not sink.tried and not sink.messages


def test_unsigned_names_prove_nothing(world):
    """TLSA records of an unsigned zone do not count [RFC7672 2.2]; neither do they stop mail."""
    sink = world.sink()
    world.zones.set({'open.plain': ['MX 10 mx.open.plain.'], 'mx.open.plain': [f'A {sink.at}'], '_25._tcp.mx.open.plain': [OTHER_KEY]})
    world.near.submit('plain', 'u@open.plain')
    comes(world, sink, 'u@open.plain')


# --- what the sender asks for ----------------------------------------------------------------------------------------------

def test_tls_required_no(world):
    """Who says so in the header gets through where DANE would not let a message go [RFC8689 4.2.2]; TLS is used all the same."""
    world.far.take('lax.example')
    world.zones.set({'lax.example': ['MX 10 mx.lax.example.'], 'mx.lax.example': ['A 192.0.2.11'], '_25._tcp.mx.lax.example': [OTHER_KEY]})
    world.near.submit('strict', 'strict@lax.example')
    world.near.submit('lax', 'carol@lax.example', headers=['TLS-Required: No'])
    world.near.wait_for_event('relayed', to='carol@lax.example')
    assert 'DANE' in world.near.wait_for_event('deferred', to='strict@lax.example')['reply']
    assert not world.near.events('relayed', to='strict@lax.example')
    sink = world.sink()
    world.zones.set({'clearly.example': ['MX 10 mx.clearly.example.'], 'mx.clearly.example': [f'A {sink.at}'],
                     '_25._tcp.mx.clearly.example': [OTHER_KEY]})
    world.near.submit('in clear', 'u@clearly.example', headers=['TLS-Required: No'])
    comes(world, sink, 'u@clearly.example')


def test_requiretls(world):
    """To a host that DNSSEC vouches for and that offers it too; from all others it comes back at once [RFC8689 4.2.1]."""
    near, sink = world.near, world.sink()
    world.far.take('sure.example')
    world.zones.set({'sure.example': ['MX 10 mx.sure.example.'], 'mx.sure.example': ['A 192.0.2.11'],
                     '_25._tcp.mx.sure.example': [dns.tlsa(world.far.certificate())],
                     'unsure.example': ['MX 10 mx.unsure.example.'], 'mx.unsure.example': [f'A {sink.at}'],
                     'unsure.plain': ['MX 10 mx.unsure.plain.'], 'mx.unsure.plain': [f'A {sink.at}']})
    recipients = ['carol@sure.example', 'u@unsure.example', 'u@unsure.plain']
    with near.place.inside(), smtplib.SMTP('127.0.0.1', near.port('submission'), 'client.example', timeout=60) as s:
        s.starttls()
        s.login(near.address('alice'), near.passwords['alice'])
        text = f'From: {near.address("alice")}\r\nSubject: for sure\r\nTLS-Required: No\r\n\r\ntext\r\n'
        assert s.sendmail(near.address('alice'), recipients, text, mail_options=['REQUIRETLS']) == {}
    near.wait_for_event('relayed', to=recipients[0])
    for recipient in recipients[1:]:
        reply = near.wait_for_event('bounced', to=recipient)['reply']
        assert '5.7.10' in reply, reply
    assert not sink.messages
