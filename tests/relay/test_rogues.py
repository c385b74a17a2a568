"""Mail to hosts that misbehave, through the whole server: each ends in the right class, nothing hangs, nothing ugly gets further."""
import contextlib
import re

import pytest

from harness.rogue import BROKEN_TLS, MISDEEDS, STATES, Rogue
from harness.sink import Sink
from relaying import events, inbox, send, settings, submission, to_sink, wait_for_mail, wait_until

FOR_GOOD = {'permfail', 'controls'}  # 5yz
# Without CHUNKING, with which a whole message may be on its way before RCPT has been answered.
OFFERS = ('PIPELINING', '8BITMIME', 'SIZE 52428800', 'DSN', 'SMTPUTF8', 'ENHANCEDSTATUSCODES')

# What make check does; make check-full does all of them.
SHORT = [('greeting', 'endless'), ('ehlo', 'drop'), ('mail', 'reset'), ('mail', '421'), ('rcpt', 'long-line'), ('rcpt', 'nonsense'),
         ('rcpt', 'tempfail'), ('data', 'mixed'), ('end', 'drop'), ('end', 'slow'), ('greeting', 'stall'), ('rcpt', 'early')]


def meet(make_host, cases, quick):
    """A message to a host for each case, which misbehaves once: all of them arrive, and nobody is told of a failure."""
    with contextlib.ExitStack() as stack:
        rogues = {f'{state}-{misdeed}.test': stack.enter_context(Rogue(state, misdeed, times=1, offers=OFFERS))
                  for state, misdeed in cases}
        host = make_host(settings=settings(*(to_sink(domain, rogue) for domain, rogue in rogues.items()), quick=quick))
        with submission(host) as w:
            for domain in rogues:
                send(host, f'a@{domain}', subject=domain, connection=w)
        for domain, rogue in rogues.items():
            rogue.wait(1, seconds=120)
            assert rogue.met == 1, domain
            # An answer that gets lost behind the end of a message is the one window for a second copy.
            assert 1 <= len(rogue.messages) <= (2 if domain.startswith('end-') else 1), domain
        # The answer was good; what came behind it was nobody's.
        expected = {f'a@{domain}' for domain in rogues} - {'a@end-early.test'}
        wait_until(lambda: expected <= {e['to'] for e in events(host, 'deferred')}, seconds=120)
        assert not events(host, 'bounced') and not inbox(host)


def test_a_host_that_misbehaves_once(make_host):
    meet(make_host, SHORT, 'retry_first = 1s retry_max = 2s retry_greylisted = 1s command_time = 8s')


@pytest.mark.full
def test_a_host_that_misbehaves_once_in_every_state(make_host):
    cases = [(state, misdeed) for state in STATES for misdeed in MISDEEDS if misdeed not in FOR_GOOD]
    meet(make_host, cases, 'retry_first = 1s retry_max = 2s retry_greylisted = 1s command_time = 8s')


def test_refusals_for_good(make_host):
    """5yz to MAIL, RCPT, DATA and the message: back at once, in the host's words; what they hold does no harm."""
    cases = [(state, misdeed) for state in ('mail', 'rcpt', 'data', 'end') for misdeed in FOR_GOOD]
    with contextlib.ExitStack() as stack:
        rogues = {f'{state}-{misdeed}.test': stack.enter_context(Rogue(state, misdeed, offers=OFFERS)) for state, misdeed in cases}
        host = make_host(settings=settings(*(to_sink(domain, rogue) for domain, rogue in rogues.items())))
        with submission(host) as w:
            for domain in rogues:
                send(host, f'a@{domain}', subject=domain, connection=w)
        reports = wait_for_mail(host, len(cases), seconds=120)
        bounced = events(host, 'bounced')
        assert {e['to'] for e in bounced} == {f'a@{domain}' for domain in rogues} and len(bounced) == len(cases)
        for domain in rogues:
            report, = [r for r in reports if f'a@{domain}'.encode() in r]
            words = b'not ever' if 'permfail' in domain else b'owned'
            assert words in report
            assert not re.search(rb'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2\x85|\xe2\x80\xae', report), domain
        assert not events(host, 'forged')
        assert not re.search(r'[\x00-\x09\x0b-\x1f\x7f]', host.log_text())


def test_lies_about_size(make_host):
    with Rogue(offers=('SIZE 100',)) as small, Rogue(offers=('SIZE 52428800', 'PIPELINING')) as liar, Rogue(offers=('SIZE 0',)) as open_end:
        liar.data = lambda mail: '552 5.3.4 too large after all'
        host = make_host(settings=settings(to_sink('small.test', small), to_sink('liar.test', liar), to_sink('any.test', open_end)))
        send(host, 'a@small.test', 'a@liar.test', 'a@any.test', subject='sizes', body='x' * 500 + '\r\n')
        open_end.wait(1)
        bounced = wait_until(lambda: (e := events(host, 'bounced')) and len(e) == 2 and e)
        assert {e['to'] for e in bounced} == {'a@small.test', 'a@liar.test'}
        assert not small.messages and not small.tried  # nothing was said that could only be refused


def test_broken_tls_goes_on_in_clear(make_host):
    """Where nothing asks for TLS a host whose TLS does not work gets mail in clear [RFC7435 3]."""
    with contextlib.ExitStack() as stack:
        rogues = {f'{how}.test': stack.enter_context(Rogue(broken_tls=how)) for how in BROKEN_TLS}
        host = make_host(settings=settings(*(to_sink(domain, rogue) for domain, rogue in rogues.items()),
                                           quick='retry_first = 1s retry_max = 2s command_time = 25s'))
        with submission(host) as w:
            for domain in rogues:
                send(host, f'a@{domain}', subject=domain, connection=w)
        for rogue in rogues.values():
            rogue.wait(1, seconds=120)
        assert not events(host, 'bounced')


def test_a_stalling_host_delays_no_other_mail(make_host):
    with Rogue('greeting', 'stall') as dead, Sink() as live:
        host = make_host(settings=settings(to_sink('dead.test', dead), to_sink('live.test', live), 'relay { per_host = 2 }'))
        with submission(host) as w:
            for n in range(50):
                send(host, f'u{n}@dead.test', connection=w)
            for n in range(20):
                send(host, f'u{n}@live.test', connection=w)
        live.wait(20)
        assert not dead.messages and dead.sessions <= 3
