"""Mail with Postfix, Exim and OpenSMTPD, both ways, in network namespaces and in Debian roots of their own. mx.near.example is Penfold."""
import os

import pytest

from harness import peers
from harness import zones as dns
from harness.mailhost import wait_until

pytestmark = pytest.mark.full
OTHER_KEY = 'TLSA 3 1 1 ' + '5a' * 32


@pytest.fixture(scope='module', params=sorted(peers.KINDS))
def peer(request, hosts, module_world):
    w = module_world
    place = w.network.place(w.address())
    kind = peers.KINDS[request.param]
    with kind(place, os.path.join(w.folder, 'peers'), f'{request.param}.example', w.zones, w.authority, astray='nobody@near.example') as one:
        w.zones.set(one.names())
        yield one


@pytest.fixture
def near(world):
    return world.near


def test_dane_with_the_peer(world, near, peer):
    """Wrong at first: the message waits, and the peer never has it. Then right, and so for all tests that follow."""
    name, subject = f'_25._tcp.{peer.hostname}', f'dane at {peer.domain}'
    world.zones.set({name: [OTHER_KEY]})
    near.submit(subject, peer.address('carla'))
    reply = near.wait_for_event('deferred', to=peer.address('carla'))['reply']
    assert 'DANE' in reply or not peer.takes_tls and 'TLS' in reply, reply
    assert not peer.collect('carla')
    assert near.run('queue', 'list', '--domain', peer.domain)
    world.zones.set({name: [dns.tlsa(peer.certificate)] if peer.takes_tls else []})
    mail = peer.wait_for('carla', f'Subject: {subject}')
    assert (b'ESMTPS' in mail.upper()) == peer.takes_tls


def test_dane_of_penfold(world, near, peer):
    """A peer that looks at TLSA records sends to Penfold what they prove, and nothing else; once they are right what waited comes."""
    if not peer.proven:
        pytest.skip(f'{peer.kind} is not made to look at TLSA records')
    name, subject = f'_25._tcp.{near.hostname}', f'to whom DANE proves at {peer.domain}'
    try:
        world.zones.set({name: [OTHER_KEY]})
        peer.submit(subject, near.address('alice'))
        wait_until(lambda: all(words in peer.log_text() for words in peer.unproven), peer.log_text)
        assert not [m for m in near.collect('alice') if subject.encode() in m]
        world.zones.set({name: [OTHER_KEY, dns.tlsa(near.certificate())]})
        assert b'with ESMTPS' in near.wait_for('alice', f'Subject: {subject}')
        wait_until(lambda: all(words in peer.log_text() for words in peer.proven), peer.log_text)
    finally:
        world.zones.set({name: []})


def test_to_the_peer(near, peer):
    subject = f'to {peer.domain}'
    near.submit(subject, peer.address('bob'), peer.address('carla'))
    for user in ('bob', 'carla'):
        mail = peer.wait_for(user, f'Subject: {subject}')
        assert (b'ESMTPS' in mail.upper()) == peer.takes_tls and b'mx.near.example' in mail
        assert f'This is {subject}.'.encode() in mail and b'DKIM-Signature: ' in mail
    for user in ('bob', 'carla'):
        assert near.wait_for_event('relayed', to=peer.address(user))['host'].startswith(peer.hostname)


def test_from_the_peer(near, peer):
    subject = f'from {peer.domain}'
    peer.submit(subject, near.address('alice'), near.address('bob'))
    for user, service in (('alice', 'pop3'), ('bob', 'imap')):
        mail = near.wait_for(user, f'Subject: {subject}', service=service)
        assert b'with ESMTPS' in mail and f'This is {subject}.'.encode() in mail


def test_a_user_whom_the_peer_does_not_know(near, peer):
    """The peer refuses; the report is Penfold's."""
    subject = f'nobody at {peer.domain}'
    near.submit(subject, peer.address('nobody'), peer.address('bob'))
    report = near.wait_for('alice', f'Subject: {subject}')
    assert b'Content-Type: multipart/report' in report and peer.address('nobody').encode() in report and b'550' in report
    assert peer.wait_for('bob', f'Subject: {subject}')


def test_a_user_whom_penfold_does_not_know(near, peer):
    """Penfold refuses; the report is the peer's."""
    subject = f'nobody from {peer.domain}'
    peer.submit(subject, near.address('nobody'))
    report = peer.wait_for('bob', f'Subject: {subject}')
    assert b'multipart/' in report and b'550' in report  # OpenSMTPD has a form of its own


def test_the_peers_report_comes_to_penfolds_user(near, peer):
    """The peer takes the message, and cannot pass it on."""
    subject = f'astray at {peer.domain}'
    near.submit(subject, peer.address('away'))
    report = near.wait_for('alice', f'Subject: {subject}')
    assert b'multipart/' in report and b'nobody@near.example' in report and b'\r\nReceived: from ' + peer.hostname.encode() in report
    assert near.events('relayed', to=peer.address('away'))


def test_penfolds_report_comes_to_the_peers_user(near, peer):
    """An alias of Penfold leads to where the peer knows nobody."""
    alias, subject = f'away-{peer.domain.split(".")[0]}', f'astray from {peer.domain}'
    near.run('alias', 'add', near.address(alias), peer.address('nobody'))
    peer.submit(subject, near.address(alias))
    report = peer.wait_for('bob', f'Subject: {subject}')
    assert b'multipart/report' in report and b'mx.near.example' in report


def test_a_peer_that_comes_back_later(near, peer):
    subject = f'later at {peer.domain}'
    peer.stop()
    try:
        near.submit(subject, peer.address('bob'))
        near.wait_for_event('deferred', to=peer.address('bob'))
    finally:
        peer.start()
    assert peer.wait_for('bob', f'Subject: {subject}')
