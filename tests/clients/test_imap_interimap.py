"""interimap: two accounts of two servers kept the same by QRESYNC alone, each changed in between, with and without compression; and by
NOTIFY while it runs."""
import contextlib
import os
import random
import re
import subprocess
import time

import pytest

from harness import imap, imapclients, mails

FLAGS = ('\\Seen', '\\Flagged', '\\Answered', 'Work')
COMPLAINTS = re.compile(r'WARNING|ERROR|--repair|panic', re.I)


class Account:
    """One side, and what changes it."""

    def __init__(self, host, user, chance):
        self.host, self.user, self.chance, self.number = host, user, chance, 0

    def add(self, connection, mailbox, count):
        """All by one command, so that they come together."""
        command = b'APPEND ' + mailbox.encode()
        for _ in range(count):
            self.number += 1
            flags = ' '.join(flag for flag in FLAGS if self.chance.random() < 0.3)
            message = mails.sized(600 + self.number, name=f'{self.user} {self.number}')
            command += b' (%s) {%d+}\r\n%s' % (flags.encode(), len(message), message)
        connection.command(command)

    def add_some(self, mailbox):
        with imap.login(self.host, self.user) as connection:
            self.add(connection, mailbox, 3)

    def change(self, mailbox, parity):
        """Of the messages whose number is even or odd, one goes and some get other flags."""
        with imap.login(self.host, self.user) as connection:
            mine = [m.uid for m in imap.held(connection, mailbox) if int(m.subject.split()[1]) % 2 == parity]
            gone, *flagged = self.chance.sample(mine, min(len(mine), 6))
            connection.command(f'SELECT {mailbox}')
            for uid in flagged:
                connection.command(f'UID STORE {uid} {self.chance.choice("+-")}FLAGS.SILENT ({self.chance.choice(FLAGS)})')
            connection.command(f'UID STORE {gone} +FLAGS.SILENT (\\Deleted)')
            connection.command('EXPUNGE')

    def holds(self):
        return {box: sorted((m.subject, sorted(m.flags), m.data) for m in held)
                for box, held in imap.holds_all(self.host, self.user).items()}


@pytest.mark.parametrize('compress', ['NO', 'YES'])
def test_two_servers(penfold_server, make_host, new_user, tmp_path, compress):
    other = make_host('other')
    chance = random.Random(compress)
    here, there = Account(penfold_server, new_user(), chance), Account(other, 'alice', chance)

    def sync():
        said = imapclients.interimap(tmp_path, (here.host, here.user), (there.host, there.user), compress=compress)
        assert not COMPLAINTS.search(said), said
        return said

    with imap.login(here.host, here.user) as connection:
        connection.command('CREATE Projects/Penfold')
        here.add(connection, 'Projects/Penfold', 12)
        here.add(connection, 'INBOX', 20)
    with imap.login(there.host, there.user) as connection:
        there.add(connection, 'INBOX', 20)
    sync()
    assert here.holds() == there.holds()
    assert [len(held) for held in map(lambda account: account.holds()['INBOX'], (here, there))] == [40, 40]
    assert sync().count('UID') == 0  # nothing is left to do, also of what it has put there itself

    for _ in range(3):  # different messages on the two sides: of changes of the same it would make one
        for mailbox in ('INBOX', 'Projects/Penfold'):
            for parity, account in enumerate((here, there)):
                account.add_some(mailbox)
                account.change(mailbox, parity)
        sync()
        assert here.holds() == there.holds()
    assert sync().count('UID') == 0


@contextlib.contextmanager
def running(folder, here, there):
    """interimap that waits for NOTIFY and goes on."""
    line = imapclients.interimap_line(folder, (here.host, here.user), (there.host, there.user))
    with open(os.path.join(str(folder), 'said'), 'wb') as said:
        child = subprocess.Popen([*line, '--notify'], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=dict(os.environ, HOME=str(folder)))
    try:
        yield child
    finally:
        child.terminate()
        child.wait(60)


def wait_until_same(here, there, child, said):
    end = time.monotonic() + 60
    while here.holds() != there.holds():
        assert child.poll() is None, said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.2)


def test_it_is_notified(penfold_server, make_host, new_user, tmp_path):
    """What happens on one side is on the other without anybody asking: flags, additions, what is expunged, in any mailbox.

    New messages come at once, and nothing more until the other side has them: interimap 0.5.7 forgets those of which it is told
    before the end of its own UID FETCH (`pull_new_messages` sets `_NEW` to 0 behind the command), until still newer ones come. A
    server may tell of them there [RFC3501 7.3.1] [RFC9051 7.4.1]. Flags, and what has gone, may come at any time."""
    other = make_host('other')
    chance = random.Random('notify')
    here, there = Account(penfold_server, new_user(), chance), Account(other, 'alice', chance)
    with imap.login(here.host, here.user) as connection:
        connection.command('CREATE Projects')
        here.add(connection, 'INBOX', 8)
        here.add(connection, 'Projects', 8)
    imapclients.interimap(tmp_path, (here.host, here.user), (there.host, there.user))
    assert here.holds() == there.holds()
    with running(tmp_path, here, there) as child:
        for account, mailbox in ((here, 'INBOX'), (there, 'INBOX'), (there, 'Projects'), (here, 'Projects')):
            account.add_some(mailbox)
            wait_until_same(here, there, child, tmp_path / 'said')
            account.change(mailbox, 0)
            wait_until_same(here, there, child, tmp_path / 'said')
