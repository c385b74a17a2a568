"""What the tests of the relay share."""
import base64
import re
import time

from harness import wire

# Waits that a test can sit through; the times between are the scheduler's, tested in src/relay.
QUICK = 'retry_first = 1s retry_max = 2s retry_greylisted = 1s'


def route(domain, place, **more):
    """A route of the configuration."""
    settings = ''.join(f' {key} = "{value}"' for key, value in more.items())
    return f'relay {{ route "{domain}" {{ host = "{place}"{settings} }} }}'


def to_sink(domain, sink, **more):
    return route(domain, sink.path or f'{sink.address}:{sink.port}', **more)


def settings(*parts, quick=QUICK):
    return '\n'.join([f'relay {{ {quick} }}', *parts])


def submission(host, user='alice', timeout=60):
    """A connection that has logged in."""
    w = wire.Wire(host.port('submission'), timeout=timeout)
    assert w.reply()[0] == 220
    assert w.command('EHLO client.test')[0] == 250
    login = base64.b64encode(f'\0{host.address(user)}\0{host.passwords[user]}'.encode()).decode()
    assert w.command(f'AUTH PLAIN {login}')[0] == 235
    return w


def message(host, subject='hello', user='alice', body='text\r\n'):
    return (f'From: {host.address(user)}\r\nTo: somebody@far.test\r\nSubject: {subject}\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000\r\n'
            f'Message-ID: <{subject}@client.test>\r\n\r\n{body}').encode()


def send(host, *recipients, subject='hello', user='alice', body='text\r\n', connection=None, parameters=''):
    """Submits one message; every recipient must be taken."""
    w = connection or submission(host, user)
    code, text = w.command(f'MAIL FROM:<{host.address(user)}>{parameters}')
    assert code == 250, text
    for recipient in recipients:
        code, text = w.command(f'RCPT TO:<{recipient}>')
        assert code == 250, (recipient, text)
    assert w.command('DATA')[0] == 354
    w.send(wire.stuff(message(host, subject, user, body)))
    code, text = w.reply()
    assert code == 250, text
    if connection is None:
        w.close()


def wait_until(what, seconds=60, why=''):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, why or f'not after {seconds} s'
        time.sleep(0.05)
    return found


def events(host, name):
    """The fields of each log line of that event."""
    found = []
    for line in host.log_text().splitlines():
        if f' event={name} ' in f' {line} ':
            fields = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line)
            found.append({key: value.strip('"') for key, value in fields})
    return found


def inbox(host, user='alice'):
    """All messages of INBOX, as POP3 shows them."""
    with wire.Wire(host.port('pop3'), timeout=60) as w:
        assert w.line().startswith('+OK')
        for command in (f'USER {host.address(user)}', f'PASS {host.passwords[user]}', 'STAT'):
            w.send(command + '\r\n')
            answer = w.line()
            assert answer.startswith('+OK'), answer
        mails = []
        for n in range(1, int(answer.split()[1]) + 1):
            w.send(f'RETR {n}\r\n')
            assert w.line().startswith('+OK')
            mails.append(w.data())
        w.send('QUIT\r\n')
        return mails


def wait_for_mail(host, count, user='alice', seconds=60):
    return wait_until(lambda: (found := inbox(host, user)) and len(found) >= count and found, seconds,
                      f'{user} has no {count} messages')
