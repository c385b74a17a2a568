"""The queue's commands on one that has something in it, with a server running and without."""
import json
import os
import subprocess

import pytest

BENCH = os.path.join(os.environ.get('PENFOLD_BUILD', 'build'), 'bench', 'queuebench')
DOMAINS = 3
MESSAGES = 30


def listed(host, *filters):
    return json.loads(host.run('queue', 'list', '--json', *filters))


def items(host, *words):
    return int(json.loads(host.run('queue', *words, '--json'))[0]['items'])


@pytest.mark.skipif('PENFOLD_STORE_CEPH' in os.environ, reason='the messages are put into a store on this machine')
def test_a_queue_is_looked_at_and_changed(make_host):
    host = make_host(serve=False)
    subprocess.run([BENCH, os.path.join(host.folder, 'data'), 'fill', str(MESSAGES), str(DOMAINS)], check=True, timeout=120)
    assert len(listed(host)) == MESSAGES
    rows = listed(host, '--domain', 'd1.bench.test', '--limit', '50')
    assert len(rows) == MESSAGES // DOMAINS
    assert all(row['to'].endswith('@d1.bench.test') and row['state'] == 'waiting' and row['recipients'] == 1 for row in rows)
    assert len(listed(host, '--domain', 'd1.bench.test', '--limit', '4')) == 4
    assert listed(host, '--sender', 'nobody@bench.test') == [] and listed(host, '--older', '1d') == []
    assert items(host, 'hold', '--all') == MESSAGES
    shown, = json.loads(host.run('queue', 'show', rows[0]['id'], '--json'))
    assert shown['id'] == rows[0]['id'] and shown['recipient'] == rows[0]['to'] and shown['tries'] == 0
    assert shown['state'] == 'held' and 'held by an administrator' in host.run('queue', 'show', rows[0]['id'])
    assert items(host, 'retry', '--domain', 'd1.bench.test') == 0  # held ones stay so

    host.start()
    assert len(listed(host, '--state', 'held', '--error', 'administrator')) == MESSAGES
    assert items(host, 'remove', '--domain', 'd2.bench.test') == MESSAGES // DOMAINS
    assert items(host, 'remove', '--sender', 'SENDER@bench.test', '--limit', '3') == 3
    host.run('queue', 'remove', listed(host, '--limit', '1')[0]['id'])
    assert len(listed(host)) == MESSAGES - MESSAGES // DOMAINS - 4
    assert listed(host, '--domain', 'd2.bench.test') == []
    items(host, 'remove', '--all')
    assert listed(host) == []
