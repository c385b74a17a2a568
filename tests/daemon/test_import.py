"""penfold import: what comes in, what is left out and said, what a kill leaves, with a server running and without one."""
import os
import random
import re
import signal
import subprocess
import time

import pytest

from harness import imap, wire
from harness.host import DOMAIN
from harness.maildirs import Maildir, mail

REPORT = re.compile(r'(\d+) messages came in .* (\d+) were in already, (\d+) were left out, (\d+) folders were made')


def run(host, *words, code=0):
    done = subprocess.run([host.binary, 'import', *map(str, words), '-c', host.conf], capture_output=True, text=True, timeout=600,
                          check=False, env=host.env)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def counts(done):
    """(came in, in already, left out, folders)."""
    return tuple(map(int, REPORT.search(done.stdout).groups()))


def crlf(message):
    return message.replace(b'\n', b'\r\n')


def uidls(host, user):
    with wire.login(host, user) as connection:
        connection.send('UIDL\r\n')
        assert connection.line().startswith('+OK')
        return [line.split()[1] for line in connection.data().decode().split('\r\n') if line]


@pytest.mark.parametrize('is_running', [True, False], ids=['running', 'at rest'])
def test_a_maildir_of_dovecot(make_host, tmp_path, is_running):
    host = make_host()
    source = Maildir(tmp_path / 'Maildir')
    first = source.add(mail(1), flags='SFab', time=1276528487)
    second = source.add(mail(2), flags='RP')
    source.add(mail(3), part='new')
    source.add(mail(4), folder='Sent Items', flags='S')
    source.add(mail(5), folder='Lists.Entw&APw-rfe', flags='DT')
    source.add(b'Subject: no end', folder='Lists.Entw&APw-rfe')
    source.folder('Empty')
    source.write('dovecot-keywords', '0 $Label1\n1 Later\n')
    source.write('subscriptions', 'V\t2\n\nLists\tEntw&APw-rfe\nGone\tAway\n')
    source.write('dovecot-uidlist', f'3 V1275660208 N100 Gabc\n7 :{second}\n9 Pold-id W123 :{first}\n')
    if not is_running:
        host.stop()
    done = run(host, 'maildir', source.path, f'alice@{DOMAIN}')
    assert counts(done) == (6, 0, 0, 2), done.stdout
    assert counts(run(host, 'maildir', source.path, f'alice@{DOMAIN}')) == (0, 6, 0, 0)
    if not is_running:
        host.start()
    holds = imap.holds_all(host, 'alice')
    assert [m.data for m in holds['INBOX']] == [crlf(mail(2)), crlf(mail(1)), crlf(mail(3))], 'in order of UID'
    flags = [m.flags - {'\\Recent'} for m in holds['INBOX']]
    assert flags == [{'\\Answered', '$Forwarded'}, {'\\Seen', '\\Flagged', '$Label1', 'Later'}, set()]
    assert [m.subject for m in holds['Sent']] == ['mail 4']
    assert 'Sent Items' not in holds and 'Empty' in holds
    assert [m.data for m in holds['Lists/Entw&APw-rfe']] == [crlf(mail(5)), b'Subject: no end']
    assert holds['Lists/Entw&APw-rfe'][0].flags >= {'\\Draft', '\\Deleted'}
    given = uidls(host, 'alice')
    assert given[:2] == ['%08x%08x' % (7, 1275660208), 'old-id'] and re.fullmatch('[0-9a-f]{16}', given[2])
    with imap.login(host, 'alice') as connection:
        lines = b'\n'.join(connection.command('LSUB "" "*"')[1])
        assert b'Lists/Entw&APw-rfe' in lines and b'Gone/Away' in lines and b'Empty' not in lines
        connection.command('EXAMINE INBOX')
        dates = b'\n'.join(connection.command('FETCH 2 INTERNALDATE')[1])
        assert b'"14-Jun-2010 15:14:48 +0000"' in dates
    host.stop()
    assert 'faults' in host.run('fsck')


def test_what_courier_has(make_host, tmp_path):
    host = make_host(serve=False)
    source = Maildir(tmp_path / 'Maildir')
    names = [source.add(mail(n)) for n in range(4)]
    source.write('courierpop3dsizelist', f'/2 34 1190000000\n{names[0]} 80 33:1180000000\n{names[1]} 80 0:0\n{names[2]} 80 34\n')
    source.write('courierimapuiddb', f'1 1170000000 9\n8 {names[0]}\n')
    source.write('courierimapsubscribed', 'INBOX.Old\n')
    source.add(mail(9), folder='Old')
    run(host, 'maildir', source.path, f'alice@{DOMAIN}')
    host.start()
    assert uidls(host, 'alice')[:3] == ['UID33-1180000000', names[1], 'UID34-1190000000']
    with imap.login(host, 'alice') as connection:
        assert b'Old' in b'\n'.join(connection.command('LSUB "" "*"')[1])


def test_folders_within_each_other_and_a_form_of_unique_ids(make_host, tmp_path):
    host = make_host()
    source = Maildir(tmp_path / 'mail', is_fs=True)
    name = source.add(mail(1))
    source.add(mail(2), folder='a/b.c')
    source.write('dovecot-uidlist', f'1 1275660208 8\n7 {name}\n')
    assert counts(run(host, 'maildir', source.path, f'alice@{DOMAIN}', '--uidl', '%v.%u')) == (2, 0, 0, 1)
    assert uidls(host, 'alice') == ['1275660208.7']
    assert [m.subject for m in imap.holds(host, 'alice', 'a/b.c')] == ['mail 2']


def test_what_is_no_message_is_left_out_and_said(make_host, tmp_path):
    host = make_host(settings='limits { message_size = 20k }')
    source = Maildir(tmp_path / 'Maildir')
    source.add(mail(1))
    secret = tmp_path / 'secret'
    secret.write_bytes(mail(666))
    cur = os.path.join(source.path, 'cur')
    os.symlink(secret, os.path.join(cur, '1.link:2,'))
    os.mkfifo(os.path.join(cur, '2.fifo:2,'))
    os.mkdir(os.path.join(cur, '3.folder:2,'))
    source.add(b'', base='4.empty')
    source.add(mail(5, 30000), base='5.large')
    os.symlink('..', os.path.join(source.path, '.Loop'))
    source.add(mail(6), folder='x' * 200 + '.' + 'y' * 20)
    source.add(mail(7), folder='a..b')
    deep = '.'.join('abcdefghijklmnopqrstu')
    source.add(mail(8), folder=deep)
    source.add(b'Subject: nul\n\na\0b\n', base='9.nul')
    source.write('dovecot-uidlist', 'what is this\n')
    done = run(host, 'maildir', source.path, f'alice@{DOMAIN}', code=1)
    said = done.stderr
    for name, why in (('cur/1.link:2,', 'symbolic link'), ('cur/2.fifo:2,', 'no regular file'), ('cur/3.folder:2,', 'no regular file'),
                      ('cur/4.empty:2,', 'empty'), ('cur/5.large:2,', 'message_size'), ('.Loop', 'symbolic link'),
                      ('a//b', 'level of its name is empty'), (deep.replace('.', '/'), '20 levels'),
                      ('dovecot-uidlist', 'cannot be understood')):
        assert any(name in line and why in line for line in said.splitlines()), (name, why, said)
    assert sorted(m.subject for m in imap.holds(host, 'alice')) == ['mail 1', 'nul']
    assert all(m.subject != 'mail 666' for held in imap.holds_all(host, 'alice').values() for m in held)
    if os.geteuid() != 0:
        os.chmod(os.path.join(cur, '5.large:2,'), 0)
        assert 'may not be read' in run(host, 'maildir', source.path, f'alice@{DOMAIN}', code=1).stderr


def test_over_quota_what_fits_comes_in(make_host, tmp_path):
    host = make_host()
    source = Maildir(tmp_path / 'Maildir')
    source.many(30)
    host.run('account', 'set', f'alice@{DOMAIN}', '--quota-messages', '20')
    done = run(host, 'maildir', source.path, f'alice@{DOMAIN}', code=1)
    assert counts(done)[:3] == (20, 0, 10) and 'quota' in done.stderr
    host.run('account', 'set', f'alice@{DOMAIN}', '--quota-messages', 'none')
    assert counts(run(host, 'maildir', source.path, f'alice@{DOMAIN}'))[:3] == (10, 20, 0)


def mbox(*messages):
    return b''.join(b'From a@b Mon Jun 14 15:14:47 2010\n' + message + b'\n' for message in messages)


def test_mbox_files(make_host, tmp_path):
    host = make_host()
    spool = tmp_path / 'alice'
    status = b'Status: RO\nX-Status: F\nX-UIDL: old-1\nX-Keywords: $Label1\n'
    spool.write_bytes(mbox(status + mail(1), mail(2) + b'\n>From here\n', mail(2) + b'\n>From here\n'))
    assert counts(run(host, 'mbox', spool, f'alice@{DOMAIN}')) == (3, 0, 0, 0)
    inbox = imap.holds(host, 'alice')
    assert [m.data for m in inbox] == [crlf(mail(1)), *[crlf(mail(2)) + b'\r\nFrom here\r\n'] * 2]
    assert inbox[0].flags >= {'\\Seen', '\\Flagged', '$Label1'} and '\\Seen' not in inbox[1].flags
    assert uidls(host, 'alice')[0] == 'old-1'
    with imap.login(host, 'alice') as connection:
        connection.command('EXAMINE INBOX')
        assert b'"14-Jun-2010 15:14:47 +0000"' in b''.join(connection.command('FETCH 1 INTERNALDATE')[1])
    spool.write_bytes(spool.read_bytes().replace(b'Status: RO', b'Status: O') + mbox(mail(3)))
    assert counts(run(host, 'mbox', spool, f'alice@{DOMAIN}')) == (1, 3, 0, 0), 'what a mail reader changes is no other message'
    folder = tmp_path / 'folders'
    os.makedirs(folder / 'Lists.sbd')
    (folder / 'Inbox').write_bytes(mbox(mail(4)))
    (folder / 'Sent').write_bytes(mbox(mail(5)))
    (folder / 'Lists').write_bytes(b'')
    (folder / 'Lists.sbd' / 'C').write_bytes(mbox(mail(6)))
    (folder / 'Sent.msf').write_bytes(b'an index')
    os.symlink('/etc', folder / 'link')
    done = run(host, 'mbox', folder, f'bob@{DOMAIN}', code=1)
    assert counts(done) == (3, 0, 1, 2) and 'link: left out' in done.stderr
    holds = imap.holds_all(host, 'bob')
    assert {name: [m.subject for m in held] for name, held in holds.items() if held} == {
        'INBOX': ['mail 4'], 'Sent': ['mail 5'], 'Lists/C': ['mail 6']}
    run(host, 'mbox', folder / 'Sent', f'bob@{DOMAIN}', '--folder', 'Old/Sent')
    assert [m.subject for m in imap.holds(host, 'bob', 'Old/Sent')] == ['mail 5']
    assert 'no mbox' in run(host, 'mbox', folder / 'Sent.msf', f'bob@{DOMAIN}', code=1).stderr


def test_all_of_a_domain(make_host, tmp_path):
    host = make_host(users=('alice', 'bob', 'carol'))
    for user, count in (('alice', 3), ('bob', 5)):
        Maildir(tmp_path / 'vmail' / DOMAIN / user).many(count)
    done = run(host, 'maildir', tmp_path / 'vmail' / '%d' / '%n', f'@{DOMAIN}', code=1)
    assert f'alice@{DOMAIN}: 3 messages came in' in done.stdout and f'bob@{DOMAIN}: 5 messages came in' in done.stdout
    assert '3 accounts: mail of 2 came in, of 1 not or not all' in done.stdout
    assert f'carol@{DOMAIN}' in done.stderr
    Maildir(tmp_path / 'vmail' / DOMAIN / 'carol').many(1)
    host.stop()
    run(host, 'maildir', tmp_path / 'vmail' / '%d' / '%n', f'@{DOMAIN}')


def test_what_is_wrong_is_said(make_host, tmp_path):
    host = make_host()
    source = Maildir(tmp_path / 'Maildir')
    assert 'no Maildir' in run(host, 'maildir', tmp_path / 'nowhere', f'alice@{DOMAIN}', code=1).stderr
    os.mkdir(tmp_path / 'nothing')
    assert 'no Maildir' in run(host, 'maildir', tmp_path / 'nothing', f'alice@{DOMAIN}', code=1).stderr
    assert 'no such account' in run(host, 'maildir', source.path, f'nobody@{DOMAIN}', code=1).stderr
    assert 'usage' in run(host, 'maildir', source.path, code=2).stderr
    assert 'no mbox' in run(host, 'mbox', '/dev/null', f'alice@{DOMAIN}', code=1).stderr
    assert 'usage' in run(host, 'what', source.path, f'alice@{DOMAIN}', code=2).stderr


def killed_and_begun_again(host, source, count, kills):
    """Kills the command, or the server under it, at moments of chance; then all is there once."""
    chance = random.Random(8)
    words = [host.binary, 'import', 'maildir', source.path, f'alice@{DOMAIN}', '-c', host.conf]
    for _ in range(kills):
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=host.env) as process:
            time.sleep(chance.random() * count / 4000)
            if host.process and chance.random() < 0.3:
                os.kill(host.server_pid(), signal.SIGKILL)
                process.wait()
            else:
                process.kill()
    deadline = time.monotonic() + 120
    while True:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=host.env, timeout=1200)
        if done.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(0.2)  # what was killed may still hold the store
    came, known, left, _ = counts(done)
    assert done.returncode == 0 and left == 0 and came + known == count, done.stderr
    return came


@pytest.mark.parametrize('is_running', [True, False], ids=['running', 'at rest'])
def test_killed_at_random_nothing_is_twice_or_lost(make_host, tmp_path, is_full, is_running):
    count, kills = (100000, 12) if is_full else (2000, 4)
    host = make_host(serve=is_running)
    host.expect_alarm = True
    source = Maildir(tmp_path / 'Maildir')
    source.many(count, 4096 if is_full else 400)
    killed_and_begun_again(host, source, count, kills)
    if not is_running:
        host.start()
    with imap.login(host, 'alice') as connection:
        status = b''.join(connection.command('STATUS INBOX (MESSAGES)')[1])
        assert b'MESSAGES %d)' % count in status
        connection.command('EXAMINE INBOX')
        lines = b'\n'.join(connection.command('FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])')[1])
        assert len(set(re.findall(rb'<(\d+)@source.test>', lines))) == count
    host.stop()
    assert 'faults' in host.run('fsck', timeout=600)
