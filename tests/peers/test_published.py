"""`penfold check --dns` beside a name server: what `penfold dns` prints is what it looks for."""
import json
import re


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


def states(rows):
    return {state for state, _ in rows.values()}


def test_check_dns(world):
    near = world.near
    before = dict(world.zones.records)
    try:
        for domain in ('near.example', 'second.example'):
            if domain != near.domain:
                near.run('domain', 'add', domain)
            with near.place.inside():
                world.zones.set(zone_of(near.run('dns', domain)))
        world.zones.set({reverse('192.0.2.10'): ['PTR mx.near.example.'],
                         '0.1.' + '0.0.' * 11 + '8.b.d.0.1.0.0.2.ip6.arpa': ['PTR mx.near.example.']})
        rows, done = check(near)
        bad = {record: answer for record, answer in rows.items() if answer[0] not in ('ok', 'not needed')}
        assert done.returncode == 0 and not bad, bad
        kinds = {kind for kind, _, _ in rows}
        assert kinds == {'MX', 'A', 'AAAA', 'TXT', 'CNAME', 'TLSA', 'SRV', 'PTR'}, kinds
        assert ('MX', 'second.example', '10 mx.near.example.') in rows

        # One of each kind: another host, none, one that cannot be asked for.
        world.zones.set({'second.example': ['MX 10 mx.elsewhere.example.', 'TXT "v=spf1 mx -all"'], '_dmarc.second.example': [],
                         reverse('192.0.2.10'): ['PTR pool.provider.plain.']})
        rows, done = check(near)
        assert done.returncode == 1 and '2 are different' in done.stderr and '1 records are missing' in done.stderr, done.stderr
        assert rows['MX', 'second.example', '10 mx.near.example.'] == ('different', '10 mx.elsewhere.example.')
        assert [state for (_, name, _), (state, _) in rows.items() if name == '_dmarc.second.example'] == ['missing']
        assert rows['PTR', reverse('192.0.2.10'), 'mx.near.example.'] == ('different', 'pool.provider.plain.')
        world.zones.stop()
        rows, done = check(near)
        assert done.returncode == 1 and states(rows) == {'cannot be asked now'}, rows
    finally:
        world.zones.start()
        world.zones.replace(before)
