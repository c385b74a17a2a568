"""What domains ask of those who send them mail, by a policy that they give out over HTTPS [RFC8461]."""
import contextlib
import socket

from harness.pages import Pages


def policy(mode, *hosts):
    return ''.join(f'{line}\r\n' for line in ('version: STSv1', f'mode: {mode}', *(f'mx: {host}' for host in hosts), 'max_age: 86400'))


def test_mta_sts(world):
    """enforce: only hosts that the policy names, with a certificate for that name; testing: as if there were none [RFC8461 5]."""
    domains = ('sts-good.example', 'sts-name.example', 'sts-cert.example', 'sts-testing.example')
    for domain in domains:
        world.far.take(domain)
    texts = dict(zip((f'mta-sts.{domain}' for domain in domains), (
        policy('enforce', 'mx.far.example'), policy('enforce', 'mx.elsewhere.example'), policy('enforce', 'cert.far.example'),
        policy('testing', 'mx.elsewhere.example'))))
    place = world.network.place(world.address())
    with Pages(place, world.authority, texts) as pages:
        records = {'cert.far.example': ['A 192.0.2.11']}
        for domain in domains:
            records |= {domain: [f'MX 10 {"cert" if "cert" in domain else "mx"}.far.example.'], f'mta-sts.{domain}': [f'A {place.addresses[0]}'],
                        f'_mta-sts.{domain}': ['TXT "v=STSv1; id=1;"']}
        world.zones.set(records)
        for domain in domains:
            world.near.submit(domain, f'carol@{domain}')
        for domain in ('sts-good.example', 'sts-testing.example'):
            world.near.wait_for_event('relayed', to=f'carol@{domain}')
        for domain in ('sts-name.example', 'sts-cert.example'):
            reply = world.near.wait_for_event('deferred', to=f'carol@{domain}')['reply']
            assert ('MTA-STS' if 'name' in domain else 'certificate') in reply, reply
            assert not world.near.events('relayed', to=f'carol@{domain}')
        assert set(pages.asked) == set(texts)


@contextlib.contextmanager
def silence(place):
    """Takes connections for HTTPS, and says nothing."""
    with place.inside():
        listener = socket.create_server((place.addresses[0], 443), backlog=128)
    with listener:
        yield


def test_policy_hosts_that_stall(world):
    """Their domains' mail waits for them, and goes as if there were no policy; nobody else's waits."""
    stalled = [f'stalls{n}.example' for n in range(20)]
    for domain in (*stalled, 'plain.example'):
        world.far.take(domain)
    place = world.network.place(world.address())
    records = {'plain.example': ['MX 10 mx.far.example.']}
    for domain in stalled:
        records |= {domain: ['MX 10 mx.far.example.'], f'mta-sts.{domain}': [f'A {place.addresses[0]}'],
                    f'_mta-sts.{domain}': ['TXT "v=STSv1; id=1;"']}
    world.zones.set(records)
    with silence(place):
        for domain in stalled:
            world.near.submit(domain, f'carol@{domain}')
        world.near.submit('plain.example', 'carol@plain.example')
        world.near.wait_for_event('relayed', to='carol@plain.example')
        for domain in stalled:
            world.near.wait_for_event('relayed', to=f'carol@{domain}')
    # One after the other they would have taken minutes.
    assert len(world.near.events('mta-sts-failed')) >= len(stalled)
