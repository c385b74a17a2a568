"""penfold export: what went out comes in again as the same mailbox, from each kind of file, with a server running and without one."""
import mailbox
import os
import re
import subprocess
import tarfile

import pytest

from harness import imap, wire
from harness.host import DOMAIN
from harness.maildirs import Maildir, mail


def run(host, *words, code=0):
    done = subprocess.run([host.binary, *map(str, words), '-c', host.conf], capture_output=True, text=True, timeout=600, check=False,
                          env=host.env)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def crlf(message):
    return message.replace(b'\n', b'\r\n')


def fill(host):
    """A mailbox with everything that can be told of one."""
    with imap.login(host, 'alice') as connection:
        for name in ('Lists', 'Lists/Entw&APw-rfe', 'St. Petersburg', 'INBOX/below', 'Empty'):
            connection.command(f'CREATE "{name}"')
        for name in ('Lists/Entw&APw-rfe', 'Gone'):
            connection.command(f'SUBSCRIBE "{name}"')
        for n in range(30):
            connection.append('INBOX', crlf(mail(n)), ('\\Seen', '\\Answered $Forwarded', '\\Flagged $Label1 Later', '\\Deleted', '')[n % 5])
        connection.append('INBOX', crlf(mail(40)) + b'From here on\r\n>From there\r\nX\r\n', '\\Draft')
        connection.append('"Lists/Entw&APw-rfe"', crlf(mail(50)) + b'last line\r\n')
        connection.append('"St. Petersburg"', b'Subject: large\r\n\r\n' + b'0123456789\r\n' * 40000)
        connection.append('Sent', crlf(mail(60)), '\\Seen')
        connection.append('INBOX/below', crlf(mail(70)))
        connection.command('SELECT INBOX')
        connection.command('UID STORE 2:3 +FLAGS (\\Deleted)')
        connection.command('UID EXPUNGE 2:3')


def validity(host, user):
    with imap.login(host, user) as connection:
        return re.search(rb'UIDVALIDITY (\d+)', b' '.join(connection.command('STATUS INBOX (UIDVALIDITY)')[1]))[1]


def another(host):
    """A new account whose INBOX is none of the second in which alice's was made: what POP3 tells of its own messages begins with UIDVALIDITY,
    and an import keeps clear of that."""
    for n in range(1000):
        host.add_account(f'user{n}')
        if validity(host, f'user{n}') != validity(host, 'alice'):
            return f'user{n}'
    raise AssertionError('a thousand accounts in one second')


def seen(host, user):
    """All that an import can bring again: no UIDs."""
    holds = {name: [(sorted(m.flags - {'\\Recent'}), m.data) for m in held] for name, held in imap.holds_all(host, user).items()}
    with imap.login(host, user) as connection:
        subscribed = sorted(line.rsplit(b' ', 1)[-1] for line in connection.command('LSUB "" "*"')[1])
        dates = {}
        for name in holds:
            connection.command(f'EXAMINE {imap.quoted(name)}')
            found = connection.command('FETCH 1:* INTERNALDATE')[1] if holds[name] else []
            dates[name] = [line.split(b'INTERNALDATE ')[1] for line in found if b'INTERNALDATE' in line]
    with wire.login(host, user) as connection:
        connection.send('UIDL\r\n')
        connection.line()
        uidls = connection.data()
    return holds, subscribed, dates, uidls


@pytest.mark.parametrize('is_running', [True, False], ids=['running', 'at rest'])
@pytest.mark.parametrize('kind', ['maildir', 'mbox', 'archive'])
def test_what_went_out_comes_in_again(make_host, tmp_path, kind, is_running):
    host = make_host()
    fill(host)
    other = another(host)
    before = seen(host, 'alice')
    target = tmp_path / ('alice.tar.gz' if kind == 'archive' else 'out')
    if not is_running:
        host.stop()
    done = run(host, 'export', kind, target, f'alice@{DOMAIN}')
    assert 'alice@example.test: 33 messages in ' in done.stdout and '0 were left out' in done.stdout
    run(host, 'import', kind, target, host.address(other))
    assert '0 messages came in' in run(host, 'import', kind, target, host.address(other)).stdout
    if not is_running:
        host.start()
    after = seen(host, other)
    assert after[0] == before[0]
    assert after[2:] == before[2:], 'dates and unique-ids'
    if kind != 'mbox':  # which knows of no subscriptions
        assert after[1] == before[1]
    assert 'there is something of that name' in run(host, 'export', kind, target, f'alice@{DOMAIN}', code=1).stderr
    host.stop()
    assert 'faults' in host.run('fsck')


def test_an_archive_is_exact(make_host, tmp_path):
    """Line ends of every sort, NULs and messages without an end."""
    host = make_host()
    odd = [b'Subject: a\r\n\r\nbare\nlf', b'Subject: b\r\n\r\ncr\ralone\r', b'no header at all', b'\r\n', b'Subject: c\r\n\r\n\x80\r\n']
    with imap.login(host, 'alice') as connection:
        for message in odd:
            connection.append('INBOX', message)
    run(host, 'export', 'archive', tmp_path / 'a.tar', f'alice@{DOMAIN}')
    run(host, 'import', 'archive', tmp_path / 'a.tar', f'bob@{DOMAIN}')
    assert [m.data for m in imap.holds(host, 'bob')] == odd
    with tarfile.open(tmp_path / 'a.tar') as tar:
        assert tar.extractfile('messages/0/1.eml').read() == odd[0]
    os.truncate(tmp_path / 'a.tar', os.path.getsize(tmp_path / 'a.tar') // 2)
    host.add_account('carol')
    assert 'damaged' in run(host, 'import', 'archive', tmp_path / 'a.tar', f'carol@{DOMAIN}', code=1).stderr
    (tmp_path / 'none.tar').write_bytes(b'x' * 2000)
    assert 'no archive' in run(host, 'import', 'archive', tmp_path / 'none.tar', f'carol@{DOMAIN}', code=1).stderr


def test_others_can_read_it(make_host, tmp_path):
    """Python's own readers find the same messages."""
    host = make_host()
    fill(host)
    run(host, 'export', 'maildir', tmp_path / 'Maildir', f'alice@{DOMAIN}')
    run(host, 'export', 'mbox', tmp_path / 'mbox', f'alice@{DOMAIN}')
    box = mailbox.Maildir(tmp_path / 'Maildir', create=False)
    assert len(box) == 29
    assert {'Lists', 'Lists.Entw&APw-rfe', 'Sent', 'Empty', 'INBOX.below'} <= set(box.list_folders())
    flagged = [m for m in box if 'F' in m.get_flags()]
    assert flagged and {m['Subject'] for m in flagged} <= {f'mail {n}' for n in range(2, 30, 5)}
    assert len(mailbox.mbox(tmp_path / 'mbox' / 'INBOX', create=False)) == 29
    lines = (tmp_path / 'Maildir' / 'dovecot-uidlist').read_text(encoding='ascii').splitlines()
    assert lines[0].startswith('3 V') and len(lines) == 30
    assert (tmp_path / 'Maildir' / '.Sent' / 'dovecot-specialuse').read_text(encoding='ascii') == '\\Sent\n'
    assert '0 $Label1' in (tmp_path / 'Maildir' / 'dovecot-keywords').read_text(encoding='ascii')


def test_all_of_a_domain_and_what_is_wrong(make_host, tmp_path):
    host = make_host()
    source = Maildir(tmp_path / 'source')
    source.many(3)
    run(host, 'import', 'maildir', source.path, f'alice@{DOMAIN}')
    done = run(host, 'export', 'archive', tmp_path / '%n.tar.zst', f'@{DOMAIN}')
    assert '2 accounts: mail of 2 went out' in done.stdout
    assert sorted(name for name in os.listdir(tmp_path) if 'tar' in name) == ['alice.tar.zst', 'bob.tar.zst']
    assert 'no such account' in run(host, 'export', 'mbox', tmp_path / 'x', f'nobody@{DOMAIN}', code=1).stderr
    assert not os.path.exists(tmp_path / 'x')
    assert 'cut short' in run(host, 'export', 'mbox', tmp_path / 'x', f'alice@{DOMAIN}', code=1).stderr
    assert 'its folder is not there' in run(host, 'export', 'mbox', tmp_path / 'no' / 'x', f'alice@{DOMAIN}', code=1).stderr
    assert 'usage' in run(host, 'export', 'imap', tmp_path / 'y', f'alice@{DOMAIN}', code=2).stderr
