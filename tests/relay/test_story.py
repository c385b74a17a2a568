"""The story of a message that goes to several hosts: each try with the host's words, the report, the mailbox."""
import json

from harness.sink import Sink
from relaying import send, settings, to_sink, wait_for_mail, wait_until


def rows_of(host, what):
    done = host.run('trace', what, '--json', check=False)
    return json.loads(done.stdout) if done.returncode == 0 else []


def test_a_story_with_all_its_ends(make_host):
    with Sink() as far, Sink() as near:
        near.rcpt = lambda a: '550 5.1.1 no \x1b[2Jsuch user' if a.startswith('gone@') else '250 2.1.5 ok'
        host = make_host(settings=settings(to_sink('far.test', far), to_sink('near.test', near)))
        send(host, 'a@far.test', host.address('bob'), 'gone@near.test', subject='story')
        wait_for_mail(host, 1, 'bob')
        wait_for_mail(host, 1)
        ends = ('relayed', 'failed', 'reported', 'delivered')
        rows = wait_until(lambda: [r for r in [rows_of(host, 'gone@near.test')] if set(ends) <= {row['event'] for row in r}])[0]
        by_event = {row['event']: row for row in rows}
        assert rows[0]['event'] == 'accepted' and rows[0]['login'] == host.address('alice')
        assert by_event['relayed']['to'] == 'a@far.test' and by_event['relayed']['reply'].startswith('250')
        assert '127.0.0.1' in by_event['relayed']['host']
        failed = by_event['failed']
        assert failed['to'] == 'gone@near.test' and failed['reply'].startswith('550 5.1.1') and '\x1b' not in failed['reply']
        assert by_event['reported']['to'] == host.address('alice') and by_event['delivered']['to'] == host.address('bob')
        report = by_event['reported']['note']
        assert {row['event'] for row in rows_of(host, report) if row['message'] == report} == {'delivered'}
        said = host.run('trace', 'gone@near.test')
        assert 'said: 550 5.1.1' in said and '\x1b' not in said
