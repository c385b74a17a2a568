"""The story of a message that goes to several hosts: each try with the host's words, the report, the mailbox."""
import json

from harness import wire
from harness.sink import Sink
from relaying import route, send, settings, submission, to_sink, wait_for_mail, wait_until


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


def test_the_tls_of_each_try(make_host):
    """Which TLS it was, how the host was verified, or why not; a host that is down is told too, whoever tried it."""
    with Sink() as far:
        other = make_host('other', domain='penfold.test', users=('dora',))
        place = f'127.0.0.1:{other.port("smtp")}'
        host = make_host(settings=settings(to_sink('far.test', far), route('penfold.test', place), route('strict.test', place, tls='verify'),
                                           route('dead.test', '127.0.0.1:1')))
        send(host, 'a@far.test', 'dora@penfold.test', 'e@strict.test', 'x@dead.test', subject='tls')
        rows = wait_until(lambda: [r for r in [rows_of(host, 'tls@client.test')]
                                   if {'a@far.test', 'dora@penfold.test', 'e@strict.test', 'x@dead.test'} <= {row['to'] for row in r[1:]}])[0]
        by_address = {row['to']: row for row in reversed(rows[1:])}
        assert by_address['a@far.test']['tls'] == 'no TLS: it is not offered'
        tls = by_address['dora@penfold.test']['tls']
        assert tls.startswith('TLSv1.3 ') and tls.endswith(', opportunistic, not verified')
        strict = by_address['e@strict.test']
        assert strict['event'] == 'deferred' and 'self-signed' in strict['reply'] and strict['tls'] == 'no TLS, and the route asks for it'
        dead = by_address['x@dead.test']
        assert dead['event'] == 'deferred' and 'Connection refused' in dead['reply'] and dead['tls'] == '' and dead['note'] == ''
        said = host.run('trace', 'tls@client.test')
        assert '127.0.0.1[127.0.0.1]: 4.4.1 cannot connect: Connection refused' in said and 'said: 250' in said


def test_what_was_not_taken_is_told(make_host):
    """Limits of sending, a size that MAIL announces, a message that is refused at its end, one that is not complete."""
    host = make_host(settings='relay { connections = 0 }')
    alice, bob = host.address('alice'), host.address('bob')
    host.run('account', 'set', alice, '--send-limit', '2r/h')
    with submission(host) as w:
        assert w.command(f'MAIL FROM:<{alice}> SIZE=999999999999')[0] == 552
        assert w.command(f'MAIL FROM:<{alice}>')[0] == 250
        assert [w.command(f'RCPT TO:<{to}>')[0] for to in (bob, f'{bob[:3]}+1{bob[3:]}', alice)] == [250, 250, 450]
        assert w.command('DATA')[0] == 354
        w.send(wire.stuff(b'From: boss@elsewhere.test\r\nMessage-ID: <forged@client.test>\r\n\r\ntext\r\n'))
        assert w.reply()[0] == 550
    row, = [row for row in rows_of(host, alice) if row['to'] == alice and row['event'] != 'login']
    assert row['event'] == 'refused' and row['reply'].startswith('450 4.7.1 sending limit of this account, 2 recipients an hour')
    assert [row['reply'][:9] for row in rows_of(host, alice) if not row['story']] == ['552 5.3.4']
    assert {row['event'] for row in rows_of(host, '<forged@client.test>')} == {'refused'}
    with wire.smtp(host) as w:
        assert w.command('MAIL FROM:<cut@far.test>')[0] == 250
        assert w.command(f'RCPT TO:<{bob}>')[0] == 250
        assert w.command('DATA')[0] == 354
        w.send(b'Subject: half')
    row, = wait_until(lambda: rows_of(host, 'cut@far.test'))
    assert row['event'] == 'refused' and row['note'] == 'the connection ended before the message was complete'
