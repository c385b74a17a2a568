"""Contexts compared with a slow model: a client that keeps its lists by what ADDTO and REMOVEFROM tell alone, beside searches done
anew, while sessions change the mailbox in every way [RFC5267 4.3].
"""
import random
import re

from harness import imap

ESEARCH = re.compile(rb'\* ESEARCH \(TAG "(\w+)"\)( UID)?(?: (\w+) (.*?))?(?: MODSEQ \d+)?$')
WORDS = 'alpha beta gamma delta epsilon'.split()
SEARCHES = ['UNSEEN', 'FLAGGED UNDELETED', 'SUBJECT alpha', 'OR SEEN BODY beta', 'NOT KEYWORD $Work TEXT gamma', 'UID 1:* LARGER 150', '1:20',
            'HEADER X-Word delta UNSEEN', 'OR (FLAGGED FROM beta) (KEYWORD $Work NOT BODY alpha)', 'THREADID T1', 'MODSEQ 60']
SORTS = ['(SUBJECT)', '(REVERSE SIZE)', '(FROM REVERSE SUBJECT)', '(ARRIVAL)', '(REVERSE DATE)', '(DISPLAYFROM SIZE)']
FLAGS = ['\\Seen', '\\Flagged', '\\Answered', '$Work']


def expand(text):
    """A set, in the order in which it is told."""
    found = []
    for part in text.split(b','):
        ends = [int(n) for n in part.split(b':')]
        assert ends[0] < ends[-1] or len(ends) == 1, text  # [RFC5267 3.2]
        found += range(ends[0], ends[-1] + 1)
    return found


class Kept:
    """One context: its results are objects, so that numbers may move."""
    def __init__(self, view, tag, is_uid, order):
        self.view, self.tag, self.is_uid, self.order, self.list = view, tag, is_uid, order, []

    def message(self, n):
        if not self.is_uid:
            return self.view.messages[n - 1]
        return next(m for m in self.view.messages if m['uid'] == n)

    def change(self, what, pairs):
        words = pairs.strip(b'()').split(b' ')
        for place, numbers in zip(words[::2], words[1::2]):
            place = int(place)
            for i, message in enumerate(self.message(n) for n in expand(numbers)):
                if what == b'ADDTO':
                    assert message not in self.list
                    assert bool(place) == bool(self.order)
                    self.list.insert(place - 1 + i if place else len(self.list), message)
                elif place:
                    assert self.list.pop(place - 1) is message
                else:
                    self.list.remove(message)


class View:
    """A session with what it was told."""
    def __init__(self, host, has_qresync):
        self.connection, self.messages, self.kept = imap.login(host, 'alice'), [], {}
        if has_qresync:
            self.connection.command('ENABLE QRESYNC')
        self.command('SELECT INBOX')

    def take(self, got):
        word = got.split(b' ', 2)
        if word[-1] == b'EXISTS':
            self.messages += [{'uid': None} for _ in range(int(word[1]) - len(self.messages))]
            self.is_short = True
        elif word[-1] == b'EXPUNGE':
            self.messages.pop(int(word[1]) - 1)
        elif word[1] == b'VANISHED':
            gone = expand(word[2])
            self.messages = [m for m in self.messages if m['uid'] not in gone]
        elif word[1] == b'ESEARCH':
            self.late.append(got)
            if b'REMOVEFROM' in got:  # while the numbers hold
                self.apply()
        elif word[-1].startswith(b'FETCH (UID '):
            self.messages[int(word[1]) - 1]['uid'] = int(re.search(rb'UID (\d+)', got)[1])
        elif word[1] == b'NO':
            raise AssertionError(got)

    def apply(self):
        for got in self.late:
            tag, _, what, pairs = ESEARCH.match(got).groups()
            self.kept[tag].change(what, pairs)
        self.late = []

    def command(self, text):
        self.late, self.is_short = [], False
        tag = self.connection.send_command(text)
        answer = self.connection.answer(tag, self.take)
        assert answer.startswith(b'OK'), (text, answer)
        if self.is_short:  # what is new is named before results are
            for got in self.connection.command('FETCH 1:* (UID)')[1]:
                number, uid = re.match(rb'\* (\d+) FETCH \(UID (\d+)\)', got).groups()
                self.messages[int(number) - 1]['uid'] = int(uid)
        self.apply()

    def ask(self, program, order, is_uid):
        verb = f'SORT RETURN (ALL) {order} UTF-8' if order else 'SEARCH RETURN (ALL)'
        _, found = self.connection.command(f'{"UID " * is_uid}{verb} {program}')
        answer = ESEARCH.match(found[-1])
        return expand(answer[4]) if answer[4] else []

    def keep(self, program, order, is_uid):
        verb = f'SORT RETURN (UPDATE ALL) {order} UTF-8' if order else 'SEARCH RETURN (ALL UPDATE)'
        tag = self.connection.send_command(f'{"UID " * is_uid}{verb} {program}')
        found = []
        assert self.connection.answer(tag, found.append).startswith(b'OK'), found
        kept = self.kept[tag] = Kept(self, tag, is_uid, order)
        kept.program = program
        answer = ESEARCH.match(found[-1])
        kept.list = [kept.message(n) for n in (expand(answer[4]) if answer[4] else [])]
        if re.match(r'\d', program):  # its numbers are those of now
            kept.fixed = list(kept.list)

    def check(self):
        uids = [m['uid'] for m in self.messages]
        assert None not in uids and uids == sorted(set(uids))
        for kept in self.kept.values():
            found = [m['uid'] for m in kept.list]
            if hasattr(kept, 'fixed'):
                now = [m['uid'] for m in kept.fixed if m in self.messages]
            else:
                now = self.ask(kept.program, kept.order, True)
            assert (found if kept.order else sorted(found)) == now, (kept.program, kept.order, kept.is_uid)


def message(chance):
    words = [chance.choice(WORDS) for _ in range(5)]
    lines = [f'Subject: {chance.choice(["", "Re: "])}{words[0]}', f'From: {words[1]} <{words[2]}@x>', f'X-Word: {words[3]}']
    if chance.random() < 0.5:
        lines.append(f'Date: {chance.randrange(1, 28)} Mar 2001 10:00:00 +0000')
    return '\r\n'.join([*lines, '', words[4], 'x' * chance.randrange(200), '']).encode()


def change(chance, connection):
    """What another session does."""
    def some():
        return ','.join(str(chance.randrange(1, 40)) for _ in range(chance.randrange(1, 5)))
    what = chance.random()
    if what < 0.3:
        for _ in range(chance.randrange(1, 4)):
            connection.append('INBOX', message(chance), ' '.join(chance.sample(FLAGS, chance.randrange(3))))
    elif what < 0.75:
        connection.command(f'UID STORE {some()} {chance.choice("+- ").strip()}FLAGS.SILENT ({" ".join(chance.sample(FLAGS, 2))})')
    elif what < 0.9:
        uids = some()
        connection.command(f'UID STORE {uids} +FLAGS.SILENT (\\Deleted)')
        connection.command(f'UID EXPUNGE {uids}')
    elif what < 0.95:
        connection.command(f'UID COPY {some()} INBOX')
    else:
        connection.command(f'UID STORE 1:* {chance.choice("+-")}FLAGS.SILENT ({chance.choice(FLAGS)})')


def test_what_is_told_is_what_is_found(make_host):
    chance = random.Random(5267)
    host = make_host()
    with imap.login(host, 'alice') as other:
        for _ in range(25):
            other.append('INBOX', message(chance))
        other.command('SELECT INBOX')
        views = [View(host, has_qresync) for has_qresync in (False, True)]
        for view in views:
            for got in view.connection.command('FETCH 1:* (UID)')[1]:
                view.take(got)
            for i, program in enumerate(SEARCHES):
                view.keep(program, None, i % 2 == 0)
                view.keep(program, SORTS[i % len(SORTS)], i % 3 == 0)
        for turn in range(120):
            for _ in range(chance.randrange(1, 4)):
                change(chance, other)
            for view in views:
                if chance.random() < 0.3:  # its own changes are told too
                    view.command(f'UID STORE {chance.randrange(1, 40)} +FLAGS ({chance.choice(FLAGS)})')
                view.command('NOOP')
                if turn % 4 == 0:
                    view.check()
        for view in views:
            view.command('NOOP')
            view.check()
            assert any(kept.list for kept in view.kept.values())
            view.connection.close()
