"""mbsync keeps an account and a maildir tree the same, both ways: what was changed on one side, on the other, or on both."""
import collections
import concurrent.futures
import os
import re

import pytest

from harness import imap, imapclients, mails

SHARED = {'INBOX': 240, 'Work/2026': 160, 'B&APw-ro': 60}  # mailbox: messages of each side before the first run
ONE_SIDED = 40                                             # and so many in a mailbox that only one side has
CHANGES_FAR = re.compile(r'^.*>>> .*(?:APPEND|STORE|EXPUNGE|CREATE|DELETE|COPY|MOVE).*$', re.M)


def message(name):
    return mails.sized(600 + len(name) * 7, name=name)


def first_flags(number):
    return frozenset(flag for every, flag in ((2, '\\Seen'), (5, '\\Flagged'), (7, '\\Answered'), (31, '\\Draft')) if number % every == 0)


def letters(flags):
    return ''.join(sorted(letter for letter, flag in imapclients.LETTERS.items() if flag in flags))


def mark_near(path, flags):
    """Gives a message of a maildir these flags, as a mail program does."""
    folder, name = os.path.split(path)
    os.rename(path, os.path.join(os.path.dirname(folder), 'cur', f'{name.split(":")[0]}:2,{letters(flags)}'))


class Sides:
    """The account and the maildir, and a model of what both have to hold: {mailbox: {subject: flags}}."""

    def __init__(self, host, user, folder):
        self.host, self.user, self.folder = host, user, folder
        self.model = collections.defaultdict(dict)

    def add_far(self, connection, mailbox, name, flags):
        connection.append(imap.quoted(mailbox), message(name), ' '.join(flags))
        self.model[mailbox][name] = flags

    def add_near(self, mailbox, name, flags):
        path = os.path.join(self.folder, 'mail', mailbox)
        for sub in ('cur', 'new', 'tmp'):
            os.makedirs(os.path.join(path, sub), exist_ok=True)
        with open(os.path.join(path, 'cur', f'{name.replace(" ", "-")}.test:2,{letters(flags)}'), 'wb') as f:
            f.write(message(name).replace(b'\r\n', b'\n'))
        self.model[mailbox][name] = flags

    def near_paths(self, mailbox):
        """{subject: path of the file}."""
        found = {}
        for sub in ('cur', 'new'):
            for entry in os.scandir(os.path.join(self.folder, 'mail', mailbox, sub)):
                with open(entry.path, 'rb') as f:
                    found[re.search(rb'^Subject: (.*)$', f.read(2000), re.M)[1].decode()] = entry.path
        return found

    def sync(self, **options):
        return imapclients.mbsync(self.host, self.user, self.folder, **options)

    def assert_same(self):
        """Message by message and flag by flag: the account, the maildir and the model."""
        far = {box: sorted((m.subject, sorted(m.flags), imapclients.without_mark(m.data)) for m in found)
               for box, found in imap.holds_all(self.host, self.user).items() if found}
        near = {box: sorted((subject_of(data), sorted(flags), data) for data, flags in found)
                for box, found in imapclients.near_mail(self.folder).items() if found}
        model = {box: sorted((name, sorted(flags), message(name)) for name, flags in found.items())
                 for box, found in self.model.items() if found}
        for box in sorted(far.keys() | near.keys() | model.keys()):
            for side, found in (('account', far), ('maildir', near)):
                wrong = [row[:2] for row in found.get(box, []) if row not in model.get(box, [])]
                missing = [row[:2] for row in model.get(box, []) if row not in found.get(box, [])]
                assert not wrong and not missing, f'{box} of the {side}: wrong {wrong[:5]}, missing {missing[:5]}'
            assert far.get(box) == near.get(box) == model.get(box), box

    def assert_settled(self):
        """A further run finds nothing to do on either side."""
        before = self.ids()
        said = self.sync(shows_commands=True)
        assert '>>> ' in said and not CHANGES_FAR.findall(said), CHANGES_FAR.findall(said)
        assert self.ids() == before

    def ids(self):
        far = {box: [(m.uid, m.flags) for m in found] for box, found in imap.holds_all(self.host, self.user).items()}
        near = {box: sorted(self.near_paths(box).values()) for box in imapclients.near_mail(self.folder)}
        return far, near


def subject_of(data):
    return re.search(rb'^Subject: (.*)\r$', data, re.M)[1].decode()


def fill(sides):
    """500 messages each."""
    with imap.login(sides.host, sides.user) as connection:
        for mailbox in ('Work/2026', 'B&APw-ro', 'Only Far'):
            connection.command(f'CREATE {imap.quoted(mailbox)}')
        for mailbox, count in (*SHARED.items(), ('Only Far', ONE_SIDED)):
            for n in range(count):
                sides.add_far(connection, mailbox, f'far {n}', first_flags(n))
    for mailbox, count in (*SHARED.items(), ('Only/Near', ONE_SIDED)):
        for n in range(count):
            sides.add_near(mailbox, f'near {n}', first_flags(n + 1))


# What is done to the message of a number modulo 16: to the account, to the maildir; '-' deletes, other words are flags to turn over.
CHANGES = {
    0: ('-', None), 1: (None, '-'), 2: ('-', '-'),
    3: ('\\Flagged', None), 4: (None, '\\Flagged'), 5: ('\\Answered', '\\Answered'),
    6: ('\\Seen', '\\Flagged'), 7: ('\\Answered', '\\Seen'), 8: ('\\Draft', None), 9: (None, '\\Draft'),
    10: ('-', '\\Flagged'), 11: ('\\Flagged', '-'),
}


def turn_over(flags, flag):
    return flags ^ {flag}


def change_far(sides, connection, mailbox):
    connection.command(f'SELECT {imap.quoted(mailbox)}')
    uids = {m.subject: m for m in imap.held(connection, mailbox)}
    connection.command(f'SELECT {imap.quoted(mailbox)}')
    for name, held in uids.items():
        what = CHANGES.get(int(name.split()[1]) % 16, (None, None))[0]
        if what == '-':
            connection.command(f'UID STORE {held.uid} +FLAGS.SILENT (\\Deleted)')
        elif what:
            connection.command(f'UID STORE {held.uid} {"-" if what in held.flags else "+"}FLAGS.SILENT ({what})')
    connection.command('EXPUNGE')
    for n in range(20):
        sides.add_far(connection, mailbox, f'far later {n}', first_flags(n + 3))


def change_near(sides, mailbox):
    for name, path in sides.near_paths(mailbox).items():
        what = CHANGES.get(int(name.split()[-1]) % 16, (None, None))[1]
        if what == '-':
            os.unlink(path)
        elif what:
            mark_near(path, turn_over(imapclients.maildir_flags(os.path.basename(path)), what))
    for n in range(20):
        sides.add_near(mailbox, f'near later {n}', first_flags(n + 2))


def change_model(sides, mailbox):
    for name, flags in list(sides.model[mailbox].items()):
        for what in set(CHANGES.get(int(name.split()[1]) % 16, ())) - {None}:
            if what == '-':
                sides.model[mailbox].pop(name, None)
            elif name in sides.model[mailbox]:
                sides.model[mailbox][name] = turn_over(sides.model[mailbox][name], what)


def test_two_ways(penfold_server, new_user, tmp_path):
    """500 + 500 messages; then both sides change, the same messages differently among them, add and delete."""
    sides = Sides(penfold_server, new_user(), str(tmp_path))
    fill(sides)
    assert sum(map(len, sides.model.values())) == 1000
    sides.sync()
    sides.assert_same()
    sides.assert_settled()
    for mailbox in SHARED:
        change_model(sides, mailbox)
    with imap.login(penfold_server, sides.user) as connection:
        for mailbox in SHARED:
            change_far(sides, connection, mailbox)
            change_near(sides, mailbox)
    sides.sync()
    sides.assert_same()
    sides.assert_settled()


@pytest.mark.parametrize('tls', [None, 'connect'], ids=['plain', 'imaps'])
def test_there_and_back(penfold_server, new_user, tmp_path, tls):
    """The same in the clear and by IMAPS, with a few messages; one command at a time in the first case."""
    sides = Sides(penfold_server, new_user(), str(tmp_path))
    with imap.login(penfold_server, sides.user) as connection:
        for n in range(20):
            sides.add_far(connection, 'INBOX', f'far {n}', first_flags(n))
    for n in range(20):
        sides.add_near('INBOX', f'near {n}', first_flags(n))
    options = {'tls': tls, 'account': 'PipelineDepth 1' if not tls else ''}
    sides.sync(**options)
    sides.assert_same()
    change_model(sides, 'INBOX')
    with imap.login(penfold_server, sides.user) as connection:
        change_far(sides, connection, 'INBOX')
    change_near(sides, 'INBOX')
    sides.sync(**options)
    sides.assert_same()
    sides.assert_settled()


def test_two_computers(penfold_server, new_user, tmp_path):
    """Two maildirs of one account, each changed, both run at the same moment; then each once more: all three are the same."""
    user = new_user()
    homes = [str(tmp_path / name) for name in ('laptop', 'desktop')]
    both = [Sides(penfold_server, user, home) for home in homes]
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
            assert sorted((subject_of(data), sorted(flags)) for data, flags in imapclients.near_mail(home)['INBOX']) == far
    for sides in both:
        sides.assert_settled()
