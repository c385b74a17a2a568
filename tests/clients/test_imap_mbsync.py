"""mbsync keeps an account and a maildir tree the same, both ways: what was changed on one side, on the other, or on both."""
import concurrent.futures
import os
import shutil

import pytest

from harness import imap, imapclients, mails
from harness.sides import Sides, first_flags, mark_near, near_mail, subject_of, without_mark


def test_two_ways(penfold_server, new_user, tmp_path):
    """500 + 500 messages; then both sides change, the same messages differently among them, add and delete."""
    sides = Sides(imapclients.mbsync, penfold_server, new_user(), tmp_path)
    shared = {'INBOX': 240, 'Work/2026': 160, 'B&APw-ro': 60}
    sides.fill(shared, {'Only Far': 40}, {'Only/Near': 40})
    assert sum(map(len, sides.model.values())) == 1000
    sides.sync()
    sides.assert_same()
    sides.assert_settled()
    for mailbox in shared:
        sides.change(mailbox)
    sides.sync()
    sides.assert_same()
    sides.assert_settled()


@pytest.mark.parametrize('tls', [None, 'connect'], ids=['plain', 'imaps'])
def test_there_and_back(penfold_server, new_user, tmp_path, tls):
    """The same in the clear and by IMAPS, with a few messages; one command at a time in the first case."""
    sides = Sides(imapclients.mbsync, penfold_server, new_user(), tmp_path)
    sides.fill({'INBOX': 20})
    options = {'tls': tls, 'account': 'PipelineDepth 1' if not tls else ''}
    sides.sync(**options)
    sides.assert_same()
    sides.change('INBOX')
    sides.sync(**options)
    sides.assert_same()
    sides.assert_settled()


@pytest.mark.parametrize('second', [imapclients.mbsync, imapclients.offlineimap], ids=['mbsync', 'offlineimap'])
def test_two_computers(penfold_server, new_user, tmp_path, second):
    """Two maildirs of one account, each changed, both run at the same moment; then each once more: all three are the same."""
    user = new_user()
    homes = [str(tmp_path / name) for name in ('laptop', 'desktop')]
    both = [Sides(client, penfold_server, user, home) for client, home in zip((imapclients.mbsync, second), homes)]
    for rounds in range(3):
        for number, sides in enumerate(both):
            for n in range(30):
                sides.add_near('INBOX', f'{number}{rounds} {n}', first_flags(n))
            others = sorted(name for name in sides.near_paths('INBOX') if not name.startswith(f'{number}'))
            for name in others[:5]:
                os.unlink(sides.near_paths('INBOX')[name])
            for name in others[5:15]:
                mark_near(sides.near_paths('INBOX')[name], frozenset({'\\Seen', '\\Flagged'}))
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(Sides.sync, both))
        for sides in (*both, *both):
            sides.sync()
        far = sorted((m.subject, sorted(m.flags)) for m in imap.holds(penfold_server, user))
        assert len(far) == 60 * (rounds + 1) - 10 * rounds
        for home in homes:
            assert sorted((subject_of(data), sorted(flags)) for data, flags in near_mail(home)['INBOX']) == far
    for sides in both:
        sides.assert_settled()


def test_real_mails(make_host, tmp_path):
    """Every mail of the corpus, and 3 MB at once, into the maildir; then from another maildir into another account.

    mbsync does not enable UTF8=ACCEPT, and some of them have 8-bit headers [RFC9755 4]."""
    sent = [m for _, m in mails.corpus() if b'\r\n\r\n' in m]  # mbsync takes none without an empty line
    sent += [mails.sized(3 << 20, name='large'), mails.sized(4000, eight_bit=True)]
    host = make_host(settings='imap { append_8bit = any }\n')
    users = 'user1', 'user2'
    for user in users:
        host.add_account(user)
    with imap.login(host, users[0]) as connection:
        for message in sent:
            connection.append('INBOX', message)
    imapclients.mbsync(host, users[0], tmp_path / 'one')
    shutil.copytree(tmp_path / 'one' / 'mail' / 'INBOX', tmp_path / 'two' / 'mail' / 'INBOX', ignore=shutil.ignore_patterns('.*'))
    imapclients.mbsync(host, users[1], tmp_path / 'two', tls='connect')
    for home, user in zip(('one', 'two'), users):
        assert sorted(data for data, _ in near_mail(tmp_path / home)['INBOX']) == sorted(sent)
        assert sorted(without_mark(m.data) for m in imap.holds(host, user)) == sorted(sent)
