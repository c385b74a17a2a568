"""What becomes of mail that users hand in: signed [RFC6376], limited, held on request [RFC4865], recalled; and the sendmail command."""
import datetime
import json
import os
import re
import smtplib
import subprocess
import tempfile
import time

import dkim
import pytest

from harness.sink import Sink
from relaying import inbox, send, settings, to_sink, wait_for_mail, wait_until


@pytest.fixture
def sink():
    with Sink() as one:
        yield one


def keys(host):
    rows = json.loads(host.run('dkim', 'list', '--json'))
    return {f'{row["selector"]}._domainkey.{row["domain"]}.': row['record'].encode() for row in rows}


def signatures_hold(host, data):
    records, count = keys(host), data.split(b'\r\n\r\n', 1)[0].count(b'DKIM-Signature:')
    return [dkim.DKIM(data).verify(idx=i, dnsfunc=lambda name, timeout=5: records.get(name.decode())) for i in range(count)]


def login(host, user='alice'):
    client = smtplib.SMTP('127.0.0.1', host.port('submission'), timeout=60)
    client.ehlo('client.test')
    client.login(host.address(user), host.passwords[user])
    return client


def letter(host, subject='s', user='alice'):
    return f'From: {host.address(user)}\r\nTo: x@far.test\r\nSubject: {subject}\r\n\r\ntext\r\n'.encode()


def sendmail(host, *args, text='', env=None):
    return subprocess.run([host.binary, 'sendmail', '-C', host.conf, *args], input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, check=False, env=env)


def test_what_leaves_is_signed(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink)))
    send(host, 'x@far.test', subject='signed')
    sink.wait(1)
    assert signatures_hold(host, sink.messages[0].data) == [True, True]
    # A new key signs when it is told to; the old one is shown meanwhile and for a while after.
    old = set(keys(host))
    host.run('dkim', 'rotate', 'example.test')
    assert len(keys(host)) == 4
    assert 'new keys wait already' in host.run('dkim', 'rotate', 'example.test', check=False).stderr
    send(host, 'x@far.test', subject='still the old one')
    sink.wait(2)
    host.run('dkim', 'activate', 'example.test')
    send(host, 'x@far.test', subject='the new one')
    sink.wait(3)
    for mail, is_old in zip(sink.messages, (True, True, False)):
        assert signatures_hold(host, mail.data) == [True, True]
        used = re.findall(rb'^DKIM-Signature:.*?\ss=([^;]+);', mail.data, re.M | re.S)
        assert {f'{s.decode()}._domainkey.example.test.' in old for s in used} == {is_old}
    zone = host.run('dns', 'example.test')
    assert all(name in zone for name in keys(host)) and 'IN MX 10' in zone and '_submissions._tcp' in zone
    host.run('domain', 'set', 'example.test', '--dkim', 'none')
    send(host, 'x@far.test', subject='not signed')
    sink.wait(4)
    assert b'DKIM-Signature' not in sink.messages[3].data


def test_sending_is_limited(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink)))
    host.run('account', 'set', host.address('alice'), '--send-limit', '2/h,5r/d')
    shown, = json.loads(host.run('account', 'show', host.address('alice'), '--json'))
    assert shown['send_limit'] == '2/h,5r/d'
    client = login(host)
    client.sendmail(host.address('alice'), ['a@far.test', 'b@far.test'], letter(host))
    client.mail(host.address('alice'))
    codes = [client.rcpt(f'{name}@far.test')[0] for name in 'abcd']
    assert codes == [250, 250, 250, 450]
    client.rset()
    client.sendmail(host.address('alice'), ['a@far.test'], letter(host))
    code, text = client.mail(host.address('alice'))
    assert code == 450 and text.startswith(b'4.7.1') and b'2 messages an hour' in text and b'minute' in text, text
    login(host, 'bob').sendmail(host.address('bob'), ['a@far.test'], letter(host, user='bob'))
    host.stop()
    host.start()
    assert login(host).mail(host.address('alice'))[0] == 450  # a restart forgets nothing
    host.run('account', 'set', host.address('alice'), '--send-limit', 'default')
    assert login(host).mail(host.address('alice'))[0] == 250
    host.run('domain', 'set', 'example.test', '--send-limit-all', '1/d')
    assert login(host).mail(host.address('alice'))[0] == 250  # of the domain nothing was counted before
    login(host).sendmail(host.address('alice'), ['a@far.test'], letter(host))
    code, text = login(host, 'bob').mail(host.address('bob'))
    assert code == 450 and b'the domain' in text


def test_held_and_recalled(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink)))
    client = login(host)
    longest, until = client.esmtp_features['futurerelease'].split()
    assert int(longest) == 30 * 86400 and until.endswith('Z')
    with smtplib.SMTP('127.0.0.1', host.port('smtp'), timeout=60) as other:  # [RFC4865 4.2]: of submission alone
        other.ehlo('x.test')
        assert 'futurerelease' not in other.esmtp_features and other.docmd('MAIL FROM:<x@y.test> HOLDFOR=1')[0] == 555
    for bad in ('HOLDFOR=2592001', 'HOLDFOR=x', 'HOLDFOR=0', 'HOLDUNTIL=2026-02-30T00:00:00Z', 'HOLDUNTIL=2030-02-01T00:00:00+01:00',
                'HOLDUNTIL=9999-01-01T00:00:00Z', 'HOLDFOR=1 HOLDUNTIL=2026-11-22T00:00:00Z', 'HOLDFOR=1 HOLDFOR=1'):
        code, text = client.docmd(f'MAIL FROM:<{host.address("alice")}> {bad}')
        assert code == 501 and text.startswith(b'5.5.4'), bad  # [RFC4865 4.2]
    begun = time.time()
    soon = datetime.datetime.fromtimestamp(int(begun) + 6, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ')
    client.sendmail(host.address('alice'), ['x@far.test', host.address('bob')], letter(host, 'soon'), [f'HOLDUNTIL={soon}'])
    client.sendmail(host.address('alice'), [host.address('bob')], letter(host, 'never'), ['HOLDFOR=86400'])
    client.docmd(f'MAIL FROM:<{host.address("alice")}> HOLDFOR=86400')
    client.rcpt('x@far.test')
    answer = client.data(letter(host, 'taken back'))
    assert answer[0] == 250, answer
    identity = answer[1].split(b'message ')[1].split()[0].decode()
    assert b'soon' in wait_for_mail(host, 1, 'bob')[0] and time.time() >= int(begun) + 6
    sink.wait(1)
    assert 'no such message' in host.run('queue', 'recall', host.address('bob'), identity, check=False).stderr
    host.run('queue', 'recall', host.address('alice'), identity)
    assert 'no such message' in host.run('queue', 'recall', host.address('alice'), identity, check=False).stderr
    assert len(json.loads(host.run('queue', 'list', '--json'))) == 1  # "never" waits
    assert len(sink.messages) == 1 and len(inbox(host, 'bob')) == 1
    sink.rcpt = lambda address: '550 5.1.1 gone'  # a report says what was asked [RFC4865 5.1.2]
    client.sendmail(host.address('alice'), ['x@far.test'], letter(host, 'returns'), ['HOLDFOR=1'])
    report = wait_for_mail(host, 1)[0]
    assert b'\r\nFuture-Release-Request: for;1\r\n' in report and b'\r\nArrival-Date: ' in report


def test_the_sendmail_command(make_host, sink):
    host = make_host(settings=settings(to_sink('far.test', sink)))
    cron = 'From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@h> true\nAuto-Submitted: auto-generated\n\noutput\n.\nmore\n'
    assert sendmail(host, '-FCronDaemon', '-i', '-odi', '-oem', '-oi', '-t', text=cron).returncode == 0
    mail, = wait_for_mail(host, 1)  # the postmaster's: nobody here is called root
    assert b'From: root@mail.example.test (Cron Daemon)' in mail and mail.endswith(b'output\r\n.\r\nmore\r\n')
    assert b'(uid ' in mail and b'Date: ' in mail and b'Message-ID: ' in mail
    done = sendmail(host, '-t', '-f', 'news@example.test', '-N', 'failure,delay', '-R', 'hdrs', '-V', 'QQ+1',
                    text='To: x@far.test\nBcc: bob@example.test\nFrom: news@example.test\nSubject: t\n\nGr\u00fc\u00dfe\n')
    assert done.returncode == 0, done
    sink.wait(1)
    out, = sink.messages
    assert out.recipients == ['x@far.test'] and out.header('Bcc') is None and 'Grüße'.encode() in out.data
    if os.geteuid() == 0:  # root may name any sender, and is signed for
        assert out.sender == 'news@example.test' and signatures_hold(host, out.data) == [True, True]
        assert 'NOTIFY=FAILURE,DELAY' in ' '.join(out.rcpt_parameters[0] if isinstance(out.rcpt_parameters[0], list)
                                                  else [out.rcpt_parameters[0]]).upper()
    assert len(wait_for_mail(host, 1, 'bob')) == 1
    assert sendmail(host, 'nobody@example.test', text='x').returncode == 67
    assert sendmail(host, text='x').returncode == 64 and sendmail(host, '-k', 'x@far.test').returncode == 64
    assert sendmail(host, '-bi').returncode == 0 and sendmail(host, '-q').returncode == 0
    done = sendmail(host, '-bs', text='EHLO x\r\nQUIT\r\n')
    assert done.returncode == 0 and done.stdout.startswith('220 mail.example.test') and '221' in done.stdout
    host.stop()
    done = sendmail(host, 'x@far.test', text='x')
    assert done.returncode == 75 and 'nothing was sent' in done.stderr
    host.start()


def test_as_programs_call_it(make_host, sink):
    """The options of who calls sendmail most, each in the words that it uses."""
    host = make_host(settings=settings(to_sink('far.test', sink)))
    head = 'To: x@far.test\nSubject: t\n\ntext\n'
    calls = [('git send-email', ['-i', 'x@far.test']), ('mutt', ['-oem', '-oi', '-f', 'a@example.test', '-B8BITMIME', '--', 'x@far.test']),
             ('php', ['-t', '-i']), ('logwatch', ['-t']), ('cron of Debian', ['-FCronDaemon', '-i', '-B8BITMIME', '-oem', 'x@far.test']),
             ('cronie', ['-FCronDaemon', '-i', '-odi', '-oem', '-oi', '-t']), ('mailx', ['-i', '-eq', '-m', 'x@far.test']),
             ('fetchmail', ['-i', '-f', 'a@example.test', '--', 'x@far.test']), ('procmail', ['-oi', '-f', '<>', 'x@far.test']),
             ('vacation', ['-f', '', '-ti', '-oi']), ('bugzilla', ['-ODeliveryMode=deferred', '-t', '-oi', '-fa@example.test']),
             ('unattended-upgrades', ['-oi', '-t']), ('mailman', ['-G', '-r', 'A <a@example.test>', '-v', '-Lmail', '-h', '3', '-Am', 'x@far.test'])]
    for count, (who, words) in enumerate(calls, 1):
        done = sendmail(host, *words, text=head)
        assert done.returncode == 0, (who, done.stderr)
        sink.wait(count)
        mail = sink.messages[-1]
        assert mail.recipients == ['x@far.test'], who
        if os.geteuid() == 0:  # others have one sender
            named = '' if who in ('procmail', 'vacation') else 'a@example.test' if 'a@example.test' in ' '.join(words) else 'root@mail.example.test'
            assert mail.sender == named, who
    done = sendmail(host, '-bv', 'x@far.test', 'nobody@example.test')
    assert done.stdout == 'x@far.test... deliverable\n' and 'nobody@example.test' in done.stderr and done.returncode == 67
    assert sendmail(host, '-t', text='Resent-To: y@far.test\n' + head).returncode == 0
    sink.wait(len(calls) + 1)
    assert sink.messages[-1].recipients == ['y@far.test'] and len(sink.messages) == len(calls) + 1
    assert sendmail(host, '-f', 'jörg@example.test', host.address('alice'), text=head).returncode == 0
    for words in (['-R', 'some', 'x@far.test'], ['-bd'], ['-t', '-f'], ['-N', 'sometimes', 'x@far.test']):
        assert sendmail(host, *words, text=head).returncode in (64, 69), words
    # What waits is tried when it is asked for: by -q all, by -qR those of a domain.
    sink.rcpt = lambda address: '450 4.2.1 later'
    assert sendmail(host, 'z@far.test', text=head).returncode == 0
    wait_until(lambda: any(int(row['recipients']) for row in json.loads(host.run('queue', 'list', '--json'))))
    assert 'z@far.test' in sendmail(host, '-bp').stdout
    sink.rcpt = lambda address: '250 2.1.5 ok'
    assert sendmail(host, '-qRfar.test').returncode == 0 and sendmail(host, '-q30m').returncode == 0
    sink.wait(len(calls) + 2)


def test_who_is_not_trusted(make_host, sink):
    """An ordinary user has one sender, and no domain's signature."""
    if os.geteuid() != 0:
        pytest.skip('only root can become somebody else')
    host = make_host(settings=settings(to_sink('far.test', sink)))
    path = [line.split('"')[1] for line in open(host.conf, encoding='utf-8') if line.strip().startswith('sendmail ')][0]
    folder = os.path.dirname(path)
    while folder != '/':
        os.chmod(folder, os.stat(folder).st_mode | 0o011)
        folder = os.path.dirname(folder)
    program = f'''
import os, socket
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.connect({path!r}); f = s.makefile('rwb')
def say(line):
    f.write(line + b'\\r\\n'); f.flush()
    while True:
        got = f.readline()
        if got[3:4] != b'-': return print(got.decode(), end='')
f.readline()
for line in (b'EHLO x', b'MAIL FROM:<boss@example.test>', b'RCPT TO:<x@far.test>', b'DATA',
             b'From: boss@example.test\\r\\nSubject: forged\\r\\n\\r\\ntext\\r\\n.'): say(line)
'''
    done = subprocess.run(['/usr/bin/python3', '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1].startswith('250'), done
    sink.wait(1)
    assert sink.messages[0].sender == 'nobody@mail.example.test' and b'DKIM-Signature' not in sink.messages[0].data


def test_keys_are_made_for_an_older_host(make_host):
    """One whose file is missing, and whose domains have no keys."""
    host = make_host(serve=False)
    os.unlink(os.path.join(host.folder, 'dkim.key'))
    for row in json.loads(host.run('dkim', 'list', '--json')):
        host.run('dkim', 'remove', 'example.test', row['selector'])
    assert 'sealed for another file' in host.run('dkim', 'setup', check=False).stderr
    host.run('dkim', 'setup', '--new')
    host.start()
    wait_until(lambda: len(keys(host)) == 2)
    host.stop()


def test_the_sendmail_command_says_one_line_at_a_time(make_host, sink):
    """What a web application passes on unseen must not become commands: another recipient, another sender."""
    host = make_host(settings=settings(to_sink('far.test', sink)))
    more = 'x@far.test>\r\nRCPT TO:<victim@far.test'
    for args in (('-f', f'a@example.test>\r\nRSET\r\nMAIL FROM:<b@example.test', 'x@far.test'), (more,), ('-i', '--', f'x@far.test,{more}'),
                 ('-N', 'never\r\nRCPT TO:<victim@far.test>', 'x@far.test'), ('-f', 'a\nb@example.test', 'x@far.test'),
                 ('-V', 'id\r\nRCPT TO:<victim@far.test>', '-f', 'a\tb', 'x@far.test')):
        done = sendmail(host, *args, text='text\n')
        assert done.returncode == 64 and 'control characters' in done.stderr, (args, done)
    assert sendmail(host, 'x@far.test', text='text\n').returncode == 0
    sink.wait(1)
    assert [m.recipients for m in sink.messages] == [['x@far.test']]


@pytest.mark.skipif(os.geteuid() != 0, reason='another user of this machine is needed')
def test_users_of_this_machine_are_limited(make_host, sink):
    folder = tempfile.mkdtemp()  # where another user gets to
    os.chmod(folder, 0o755)
    place = os.path.join(folder, 'sendmail')
    host = make_host(settings=settings(to_sink('far.test', sink), 'submission { send_limit = "2/h,3r/h" }',
                                       f'listen {{ sendmail = {{"{place}"}} }}'))
    dialog = (f'import socket; s = socket.socket(socket.AF_UNIX); s.connect({place!r}); f = s.makefile("rw", newline="")\n'
              'def say(line):\n f.write(line + "\\r\\n"); f.flush(); return hear()\n'
              'def hear():\n while (line := f.readline())[3] == "-": pass\n return line.strip()\n'
              'hear(); say("EHLO x")\n'
              'for n in range(3):\n'
              ' print(say("MAIL FROM:<root@example.test>")); print(say("RCPT TO:<a@far.test>"))\n'
              ' print(say("DATA")); print(say("Subject: n\\r\\n\\r\\n."))\n')
    done = subprocess.run(['/usr/bin/python3', '-c', dialog], user=65534, group=65534, stdout=subprocess.PIPE, text=True, timeout=60,
                          check=True)
    codes = [line[:3] for line in done.stdout.splitlines()]
    assert codes[:8] == ['250', '250', '354', '250'] * 2 and codes[8] == '450', done.stdout
    assert '2 messages an hour' in done.stdout
    assert sendmail(host, 'x@far.test', text='text\n').returncode == 0  # root is not
    sink.wait(3)
    assert all(m.sender != 'root@example.test' for m in sink.messages)
    host.stop()
    os.rmdir(folder)
