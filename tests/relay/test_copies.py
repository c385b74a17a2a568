"""How often a message reaches a host when the server is killed in the middle: once, and twice only where the host has taken it and we do
not know yet, which SMTP cannot tell apart [RFC5321 6.1]. See docs/ops/queue.md."""
import os
import signal
import threading

import pytest

from harness.sink import Sink
from relaying import events, send, settings, to_sink, wait_until

# Where the host is when the server dies, and how many copies it gets. 'refused': it has the whole message, and closes without taking it.
STAGES = [('greeting', 1), ('mail', 1), ('rcpt', 1), ('refused', 1), ('taken', 2)]


def is_empty(host):
    return len(host.run('queue', 'list').splitlines()) <= 1


@pytest.mark.parametrize('stage,copies', STAGES)
def test_killed_at_each_stage(make_host, stage, copies):
    with Sink(offers=('8BITMIME',)) as sink:  # step by step: with PIPELINING and CHUNKING the message may be there at RCPT already
        host = make_host(settings=settings(to_sink('far.test', sink)))
        submitted, killed = threading.Event(), []

        def kill(answer):
            """Once, and not before the message was acknowledged to who submitted it."""
            if not killed:
                assert submitted.wait(60)
                killed.append(host.server_pid())
                os.kill(killed[0], signal.SIGKILL)
                wait_until(lambda: not os.path.exists(f'/proc/{killed[0]}'))
                return answer
            return '220 sink.test' if stage == 'greeting' else '250 2.0.0 ok'
        if stage == 'greeting':
            sink.greeting = lambda: kill('220 sink.test')
        elif stage in ('mail', 'rcpt'):
            setattr(sink, stage, lambda address: kill('250 2.1.0 ok'))
        else:
            sink.data = lambda mail: kill('250 2.0.0 taken' if stage == 'taken' else None)
        send(host, 'a@far.test')
        submitted.set()
        sink.wait(copies)
        wait_until(lambda: events(host, 'relayed'))
        wait_until(lambda: is_empty(host))
        assert killed and [m.recipients for m in sink.messages] == [['a@far.test']] * copies
        assert len(events(host, 'relayed')) == 1


def test_an_answer_that_gets_lost(make_host):
    """The host takes it, and the connection ends before it can say so: it is sent again."""
    with Sink() as sink:
        answers = []

        def lose_one(mail):
            answers.append(mail)
            return '250 2.0.0 taken' if len(answers) > 1 else None
        sink.data = lose_one
        host = make_host(settings=settings(to_sink('far.test', sink)))
        send(host, 'a@far.test')
        sink.wait(1)
        wait_until(lambda: is_empty(host))
        assert len(answers) == 2 and answers[0].data.split(b'\r\n\r\n', 1)[1] == answers[1].data.split(b'\r\n\r\n', 1)[1]
