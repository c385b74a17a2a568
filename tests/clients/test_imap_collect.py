"""Who collects how by IMAP: fetchmail, getmail6, curl; deleting, moving, or keeping and remembering."""
import itertools
import re

import pytest

from harness import clients, imap, mails, wire

TLS = (None, 'starttls', 'connect')
KINDS = ('plain', 'starttls', 'imaps')


def by_fetchmail(host, user, folder, tls, keep):
    return clients.fetchmail(host, user, folder, tls, keep=keep, protocol='imap')


def by_getmail(host, user, folder, tls, keep):
    found = clients.getmail(host, user, folder, tls == 'connect', keep=keep, protocol='imap')
    return [re.sub(rb'^X-getmail-.*\n', b'', m, flags=re.M) for m in found]


PROGRAMS = [pytest.param(program, tls, id=f'{program.__name__[3:]}-{kind}') for program, (tls, kind) in
            itertools.product((by_fetchmail, by_getmail), zip(TLS, KINDS))
            if program is not by_getmail or tls != 'starttls']  # getmail6 knows no STARTTLS


def put(host, user, *names):
    with wire.smtp(host) as connection:
        for name in names:
            wire.deliver(host, mails.sized(3000, name=name), user, wire=connection)


def subjects(messages):
    return sorted(line[9:].strip().decode() for message in messages for line in message.split(b'\n') if line.startswith(b'Subject: '))


def left(host, user, mailbox='INBOX'):
    return sorted(m.subject for m in imap.holds(host, user, mailbox))


@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_no_keep(penfold_server, new_user, tmp_path, collect, tls):
    user = new_user()
    put(penfold_server, user, 'one', 'two')
    assert subjects(collect(penfold_server, user, tmp_path, tls, False)) == ['one', 'two']
    assert left(penfold_server, user) == []
    put(penfold_server, user, 'three')
    assert subjects(collect(penfold_server, user, tmp_path, tls, False)) == ['three']
    assert collect(penfold_server, user, tmp_path, tls, False) == [] == left(penfold_server, user)


@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_keep(penfold_server, new_user, tmp_path, collect, tls):
    """Each message is collected once, whatever came or went meanwhile; fetchmail goes by \\Seen, getmail6 by UID."""
    user = new_user()
    put(penfold_server, user, 'one', 'two')
    assert subjects(collect(penfold_server, user, tmp_path, tls, True)) == ['one', 'two']
    assert collect(penfold_server, user, tmp_path, tls, True) == []
    with imap.login(penfold_server, user) as connection:
        connection.command('SELECT INBOX')
        connection.command('STORE 1 FLAGS (\\Deleted)')
        connection.command('CLOSE')
    put(penfold_server, user, 'three')
    assert subjects(collect(penfold_server, user, tmp_path, tls, True)) == ['three']
    found = imap.holds(penfold_server, user)
    assert [m.subject for m in found] == ['two', 'three']
    if collect is by_fetchmail:
        assert all(m.flags == {'\\Seen'} for m in found), found


# What fetchmail's idea of a header leaves alone.
WELL_FORMED = re.compile(rb'\A(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+\r\n')


@pytest.mark.parametrize('collect, tls', PROGRAMS)
def test_every_byte(penfold_server, new_user, tmp_path, collect, tls):
    """Real mails, and 5 MB at once; to getmail6, which writes messages anew, only such as it leaves as they are."""
    user = new_user()
    sent = [mails.sized(5 << 20), mails.sized(70000)]
    if collect is by_fetchmail:
        sent += [mails.sized(2000, eight_bit=True), *(m for _, m in mails.corpus() if WELL_FORMED.match(m))]
    with wire.smtp(penfold_server) as connection:
        for message in sent:
            wire.deliver(penfold_server, message, user, wire=connection)
    received = [m.replace(b'\n', b'\r\n') for m in collect(penfold_server, user, tmp_path, tls, False)]
    assert len(received) == len(sent)
    assert not [m[:300] for m in sent if not any(mails.same(m, got) for got in received)]
    assert left(penfold_server, user) == []


def test_fetchmail_several_mailboxes(penfold_server, new_user, tmp_path):
    """Unseen ones only, from each of the mailboxes it is told of; --expunge after every one."""
    user = new_user()
    with imap.login(penfold_server, user) as connection:
        connection.command('CREATE Lists/debian')
        for mailbox in ('INBOX', 'Lists/debian'):
            for n in range(5):
                connection.append(mailbox, mails.sized(1000, name=f'{mailbox} {n}'), '\\Seen' if n == 2 else '')
    got = clients.fetchmail(penfold_server, user, tmp_path, 'connect', keep=True, protocol='imap', options='folder INBOX,Lists/debian')
    assert subjects(got) == sorted(f'{mailbox} {n}' for mailbox in ('INBOX', 'Lists/debian') for n in (0, 1, 3, 4))
    got = clients.fetchmail(penfold_server, user, tmp_path, 'connect', protocol='imap', options='folder INBOX,Lists/debian expunge 1')
    assert len(got) == 10 and left(penfold_server, user) == [] == left(penfold_server, user, 'Lists/debian')


def test_getmail_moves(penfold_server, new_user, tmp_path):
    """What it has collected goes to another mailbox instead of away, from two mailboxes."""
    user = new_user()
    with imap.login(penfold_server, user) as connection:
        connection.command('CREATE Lists')
        for n in range(4):
            connection.append(('INBOX', 'Lists')[n % 2], mails.sized(1000, name=f'letter {n}'))
    retriever = 'mailboxes = ("INBOX", "Lists")\nmove_on_delete = Archive'
    got = clients.getmail(penfold_server, user, tmp_path, True, protocol='imap', retriever=retriever)
    assert subjects(got) == [f'letter {n}' for n in range(4)] == left(penfold_server, user, 'Archive')
    assert left(penfold_server, user) == [] == left(penfold_server, user, 'Lists')
