"""An account and a maildir tree that a client keeps the same, with a model of what both have to hold; and changes to one side, the
other, or both."""
import collections
import os
import re

from harness import imap, mails
from harness.clients import read_file

LETTERS = {'D': '\\Draft', 'F': '\\Flagged', 'P': '$Forwarded', 'R': '\\Answered', 'S': '\\Seen', 'T': '\\Deleted'}  # of a maildir


def near_mail(folder):
    """{mailbox: [(message, flags)]} of the maildir tree; line ends as CRLF, without the mark that mbsync leaves in what it hands on."""
    root, found = os.path.join(str(folder), 'mail'), {}
    for path, subfolders, _ in os.walk(root):
        if 'cur' in subfolders:
            found[os.path.relpath(path, root)] = [
                (without_mark(read_file(entry.path).replace(b'\n', b'\r\n')), maildir_flags(entry.name))
                for sub in ('cur', 'new') for entry in os.scandir(os.path.join(path, sub))]
    return found


def without_mark(message):
    return re.sub(rb'^X-TUID: .*\r\n', b'', message, count=1, flags=re.M)


def maildir_flags(name):
    return frozenset(LETTERS[letter] for letter in name.partition(':2,')[2])


def message(name):
    return mails.sized(600 + len(name) * 7, name=name)


def first_flags(number):
    return frozenset(flag for every, flag in ((2, '\\Seen'), (5, '\\Flagged'), (7, '\\Answered'), (31, '\\Draft')) if number % every == 0)


def letters(flags):
    return ''.join(sorted(letter for letter, flag in LETTERS.items() if flag in flags))


def mark_near(path, flags):
    """Gives a message of a maildir these flags, as a mail program does."""
    folder, name = os.path.split(path)
    os.rename(path, os.path.join(os.path.dirname(folder), 'cur', f'{name.split(":")[0]}:2,{letters(flags)}'))


def subject_of(data):
    return re.search(rb'^Subject: (.*)\r$', data, re.M)[1].decode()


# What is done to the message of a number modulo 16: to the account, to the maildir; '-' deletes, other words are flags to turn over.
CHANGES = {
    0: ('-', None), 1: (None, '-'), 2: ('-', '-'),
    3: ('\\Flagged', None), 4: (None, '\\Flagged'), 5: ('\\Answered', '\\Answered'),
    6: ('\\Seen', '\\Flagged'), 7: ('\\Answered', '\\Seen'), 8: ('\\Draft', None), 9: (None, '\\Draft'),
    10: ('-', '\\Flagged'), 11: ('\\Flagged', '-'),
}


CHANGES_FAR = re.compile(r'^.*>>> .*(?:APPEND|STORE|EXPUNGE|CREATE|DELETE|COPY|MOVE).*$', re.M)  # in what the client says


def change_of(name):
    return CHANGES.get(int(name.split()[1]) % 16, (None, None)) if name.split()[1].isdigit() else (None, None)


class Sides:
    """The account and the maildir, and a model of what both have to hold: {mailbox: {subject: flags}}."""

    def __init__(self, client, host, user, folder):
        self.client, self.host, self.user, self.folder = client, host, user, str(folder)
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
        return self.client(self.host, self.user, self.folder, **options)

    def assert_same(self):
        """Message by message and flag by flag: the account, the maildir and the model."""
        far = {box: sorted((m.subject, sorted(m.flags), without_mark(m.data)) for m in found)
               for box, found in imap.holds_all(self.host, self.user).items() if found}
        near = {box: sorted((subject_of(data), sorted(flags), data) for data, flags in found)
                for box, found in near_mail(self.folder).items() if found}
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
        assert not CHANGES_FAR.findall(said), CHANGES_FAR.findall(said)
        assert self.ids() == before

    def ids(self):
        far = {box: [(m.uid, m.flags) for m in found] for box, found in imap.holds_all(self.host, self.user).items()}
        near = {box: sorted(self.near_paths(box).values()) for box in near_mail(self.folder)}
        return far, near

    # --- filling and changing --------------------------------------------------------------------------------------------

    def fill(self, shared, only_far={}, only_near={}):
        """Messages for either side, 'far N' and 'near N': {mailbox: how many}."""
        with imap.login(self.host, self.user) as connection:
            for mailbox in (shared | only_far).keys() - {'INBOX'}:
                connection.command(f'CREATE {imap.quoted(mailbox)}')
            for mailbox, count in (shared | only_far).items():
                for n in range(count):
                    self.add_far(connection, mailbox, f'far {n}', first_flags(n))
        for mailbox, count in (shared | only_near).items():
            for n in range(count):
                self.add_near(mailbox, f'near {n}', first_flags(n + 1))

    def change(self, mailbox, added=20):
        """Does on both sides what CHANGES says, and adds to both."""
        for name, flags in list(self.model[mailbox].items()):
            words = set(change_of(name)) - {None}
            if '-' in words:
                del self.model[mailbox][name]
            else:
                self.model[mailbox][name] = flags ^ words
        with imap.login(self.host, self.user) as connection:
            self.change_far(connection, mailbox)
            for n in range(added):
                self.add_far(connection, mailbox, f'far later {n}', first_flags(n + 3))
        self.change_near(mailbox)
        for n in range(added):
            self.add_near(mailbox, f'near later {n}', first_flags(n + 2))

    @staticmethod
    def change_far(connection, mailbox):
        held = imap.held(connection, mailbox)
        connection.command(f'SELECT {imap.quoted(mailbox)}')
        for one in held:
            what = change_of(one.subject)[0]
            if what == '-':
                connection.command(f'UID STORE {one.uid} +FLAGS.SILENT (\\Deleted)')
            elif what:
                connection.command(f'UID STORE {one.uid} {"-" if what in one.flags else "+"}FLAGS.SILENT ({what})')
        connection.command('EXPUNGE')

    def change_near(self, mailbox):
        for name, path in self.near_paths(mailbox).items():
            what = change_of(name)[1]
            if what == '-':
                os.unlink(path)
            elif what:
                mark_near(path, maildir_flags(os.path.basename(path)) ^ {what})
