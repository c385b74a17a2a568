"""What domains ask of those who send them mail, by a policy that they give out over HTTPS [RFC8461]."""
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
