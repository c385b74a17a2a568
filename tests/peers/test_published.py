"""`penfold check --dns` beside a name server: what `penfold dns` prints is what it looks for."""
import json
import re

from harness.pages import Pages


def zone_of(text):
    """{name: ['TYPE DATA', ...]} of a zone file as `penfold dns` prints it."""
    text = re.sub(r'(?m)^;.*', '', text)
    text = re.sub(r'\(([^)]*)\)', lambda found: ' '.join(found[1].split()), text)
    names = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, _, record = line.split(None, 3)
        names.setdefault(name.rstrip('.'), []).append(record)
    return names


def reverse(address):
    return '.'.join(reversed(address.split('.'))) + '.in-addr.arpa'


def check(host):
    """{(type, name): (state, found)} and the status."""
    with host.place.inside():
        done = host.run('check', '--dns', '--json', check=False, timeout=300)
    assert done.stdout.startswith('['), done.stderr
    rows = json.loads(done.stdout)
    return {(row['type'], row['name'], row['value']): (row['state'], row['found']) for row in rows}, done


def policy_of(host, domain):
    """{host name: text} of the policy that `penfold dns` prints."""
    with host.place.inside():
        rows = json.loads(host.run('dns', domain, '--json'))
    return {f'mta-sts.{domain}': row['value'] for row in rows if row['type'] == 'policy'}


def states(rows):
    return {state for state, _ in rows.values()}


def test_check_dns(world):
    near = world.near
    before = dict(world.zones.records)
    near.run('domain', 'add', 'second.example')
    texts = policy_of(near, 'near.example') | policy_of(near, 'second.example')
    try:
        with Pages(near.place, world.authority, texts):
            compare(world, near, texts)
    finally:
        world.zones.start()
        world.zones.replace(before)


def compare(world, near, texts):
    for domain in ('near.example', 'second.example'):
        with near.place.inside():
            world.zones.set(zone_of(near.run('dns', domain)))
    world.zones.set({reverse('192.0.2.10'): ['PTR mx.near.example.'],
                     '0.1.' + '0.0.' * 11 + '8.b.d.0.1.0.0.2.ip6.arpa': ['PTR mx.near.example.']})
    rows, done = check(near)
    bad = {record: answer for record, answer in rows.items() if answer[0] not in ('ok', 'not needed')}
    assert done.returncode == 0 and not bad, bad
    kinds = {kind for kind, _, _ in rows}
    assert kinds == {'MX', 'A', 'AAAA', 'TXT', 'CNAME', 'TLSA', 'SRV', 'PTR', 'policy'}, kinds
    assert ('MX', 'second.example', '10 mx.near.example.') in rows

    # One of each kind: another host, none, one that cannot be asked for.
    world.zones.set({'second.example': ['MX 10 mx.elsewhere.example.', 'TXT "v=spf1 mx -all"'], '_dmarc.second.example': [],
                     reverse('192.0.2.10'): ['PTR pool.provider.plain.']})
    texts['mta-sts.second.example'] = texts['mta-sts.second.example'].replace('mx.near', 'mx.elsewhere')
    del texts['mta-sts.near.example']
    rows, done = check(near)
    assert done.returncode == 1 and '3 are different' in done.stderr and '2 records are missing' in done.stderr, done.stderr
    policies = {name.split('/')[2]: answer for (kind, name, _), answer in rows.items() if kind == 'policy'}
    assert policies['mta-sts.second.example'] == ('different', 'mode: enforce; mx: mx.elsewhere.example')
    assert policies['mta-sts.near.example'] == ('missing', 'the policy host answers 404')
    assert rows['MX', 'second.example', '10 mx.near.example.'] == ('different', '10 mx.elsewhere.example.')
    assert [state for (_, name, _), (state, _) in rows.items() if name == '_dmarc.second.example'] == ['missing']
    assert rows['PTR', reverse('192.0.2.10'), 'mx.near.example.'] == ('different', 'pool.provider.plain.')
    world.zones.stop()
    rows, done = check(near)
    assert done.returncode == 1 and states(rows) == {'cannot be asked now'}, rows
