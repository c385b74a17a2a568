"""imapfilter: rules that search on the server, and flag, move, copy and delete what they found."""
import pytest

from harness import imap, imapclients

RULES = '''
inbox = account.INBOX
assert(account:create_mailbox('Lists/debian') and account:subscribe_mailbox('Lists/debian'))

-- Searches by the server [RFC3501 6.4.4] [RFC9051 6.4.4].
old = inbox:arrived_before('01-Jan-2025')
assert(#old == 10);
(inbox:contain_subject('letter 1') * inbox:is_unseen()):move_messages(account['Lists/debian']);
(inbox:contain_field('X-Kind', 'offer') + inbox:is_larger(100000)):delete_messages()
inbox:contain_body('Quarterly figures'):mark_flagged()
inbox:contain_from('boss@'):add_flags({ 'Important', '\\\\Seen' });
(inbox:sent_since('01-Feb-2024') - inbox:contain_from('boss@')):copy_messages(account.Archive)
inbox:has_keyword('Important'):unmark_seen()

-- By expressions, of what was fetched.
hits = inbox:match_subject('^letter [23]$')
assert(#hits == 2)
hits:mark_answered()

-- Moving where there is nothing yet: TRYCREATE [RFC3501 6.4.7] [RFC9051 6.4.7].
inbox:contain_subject('letter 4'):move_messages(account['Made/for it'])

exists, recent, unseen, uidnext = inbox:check_status()
print(exists, recent, unseen, uidnext)
all, folders = account:list_all('Lists')
print(table.concat(all, ' '))
account:rename_mailbox('Lists/debian', 'Lists/ubuntu')
'''


def letter(n):
    """3 is large, 5 an offer, 6 has figures, 7 and 8 are from the boss, 9 has no date."""
    head = ''.join(f'{line}\r\n' for line in (
        f'From: {"boss" if n in (7, 8) else "sender"}@elsewhere.test', f'Subject: letter {n}',
        *([f'Date: Sat, {n + 1:02d} Feb 2024 10:11:12 +0000'] if n != 9 else []), *(['X-Kind: offer'] if n == 5 else [])))
    body = 'The quarterly\r\nfigures.\r\nQuarterly Figures\r\n' if n == 6 else 'text\r\n' * (30000 if n == 9 else 3)
    return (head + '\r\n' + body).encode()


@pytest.mark.parametrize('tls', [None, 'starttls', 'connect'], ids=['plain', 'starttls', 'imaps'])
def test_rules(penfold_server, new_user, tmp_path, tls):
    user = new_user()
    with imap.login(penfold_server, user) as connection:
        for n in range(10):
            message = letter(n)
            connection.command(b'APPEND INBOX (%s) "03-Feb-2024 10:11:12 +0000" {%d+}\r\n' % (b'\\Seen' if n == 0 else b'', len(message)) + message)
    said = imapclients.imapfilter(penfold_server, user, tmp_path, RULES, tls=tls)
    account = imap.holds_all(penfold_server, user)
    assert {m.subject: sorted(m.flags) for m in account['INBOX']} == {
        'letter 0': ['\\Seen'], 'letter 2': ['\\Answered'], 'letter 3': ['\\Answered'], 'letter 6': ['\\Flagged'],
        'letter 7': ['Important'], 'letter 8': ['Important']}, said
    assert [m.subject for m in account['Lists/ubuntu']] == ['letter 1']
    assert [m.subject for m in account['Made/for it']] == ['letter 4']
    assert [m.subject for m in account['Archive']] == ['letter 0', 'letter 2', 'letter 3', 'letter 4', 'letter 6']
    assert said == '6\t0\t5\t11\nLists/debian\n'
