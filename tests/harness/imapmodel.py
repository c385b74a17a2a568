"""What a session may know of a mailbox, kept from its responses alone, and every way in which a response can be untrue.

A View holds one connection at a time and is driven by a test: command() and idle() send, and each response goes through
RESPONSES to the method that knows what it may say. It knows CONDSTORE, QRESYNC, UIDONLY, IMAP4rev2, NOTIFY, saved results and
searches that are kept up to date; it comes back after a cut connection with what it remembers, and then has to have the mailbox as it is.
Facts are what several views of one account have to agree on.
"""
import collections
import re

from harness import imap, resync

LOGGED = 80  # of the newest lines that a failure shows
ITEM = re.compile(rb' (MIN|MAX|COUNT|MODSEQ) (\d+)| (ALL) ([\d:,]+)| (PARTIAL) \((-?\d+:-?\d+ \S+)\)')
PART = re.compile(rb'BODY\[[^]]*\] \{(\d+)\}\r\n')
NUMBERS = re.compile(r'UID (?:SEARCH|SORT) .*(?<!UID)(?<!PARTIAL) \d+:\d+')
BY_NUMBER = ('FETCH', 'STORE', 'SEARCH', 'SORT', 'THREAD')  # while they run, no number may change [RFC3501 7.4.1] [RFC9051 7.5.1]
RESPONSES = [(re.compile(pattern, re.S), name) for pattern, name in (
    (rb'\* (\d+) EXISTS$', 'take_exists'),
    (rb'\* (\d+) EXPUNGE$', 'take_expunge'),
    (rb'\* VANISHED (\(EARLIER\) )?([\d,:]+)$', 'take_vanished'),
    (rb'\* (\d+) (UID)?FETCH \((.*)\)$', 'take_fetch'),
    (rb'\* (SEARCH|SORT)((?: \d+)*)(?: \(MODSEQ (\d+)\))?$', 'take_numbers'),
    (rb'\* ESEARCH \(TAG "(a\d+)"\)( UID)?((?: (?:ADDTO|REMOVEFROM) \([^)]*\))+)$', 'take_update'),
    (rb'\* ESEARCH \(TAG "(a\d+)"( MAILBOX \S+ UIDVALIDITY \d+)?\)( UID)?(.*)$', 'take_esearch'),
    (rb'\* NO \[NOUPDATE "(a\d+)"\] ', 'take_no_update'),
    (rb'\* OK \[(\S+) (\d+)\] ', 'take_code'),
    (rb'\* (?:OK|LIST|STATUS|FLAGS|ENABLED|CAPABILITY|\d+ RECENT) ?|\+ ', 'take_other'))]


def uids_of(text):
    return list(resync.numbers(text))


def flags_of(items):
    found = re.search(rb'FLAGS \(([^)]*)\)', items)
    return frozenset(found[1].decode().split()) - {'\\Recent'} if found else None


class Facts:
    """What no two sessions may be told differently: the flags of a message as of a mod-sequence, and its ids."""

    def __init__(self):
        self.known = {}

    def agree(self, what, uid, value):
        known = self.known.setdefault((what, uid), value)
        assert known == value, f'UID {uid}, {what}: {known} for one, {value} for another'


class Message:
    def __init__(self, uid=None):
        self.uid, self.flags, self.modseq = uid, None, None

    def __repr__(self):
        return f'{self.uid}:{"?" if self.flags is None else " ".join(sorted(self.flags))}@{self.modseq}'


class Memory:
    """What a client keeps of a mailbox while it is away."""

    def __init__(self, view):
        self.validity, self.modseq, self.order = view.validity, view.modseq, [m.uid for m in view.messages]
        self.flags = {m.uid: m.flags for m in view.messages}


class Kept:
    """A search or sort that is kept up to date: UIDs, or messages where it goes by number [RFC5267 4.3]. is_lost: nobody knows any more
    which number is which message."""

    def __init__(self, is_uid, is_sorted, again):
        self.is_uid, self.is_sorted, self.again, self.list, self.is_lost = is_uid, is_sorted, again, [], False


class Answer:
    """What one command has brought, before and with its tagged line."""

    def __init__(self, verb):
        self.verb, self.text = verb, b''
        self.rows, self.modseqs, self.highest = [], [], None  # rows: (message, fields) of each FETCH
        self.numbers, self.esearch, self.others = None, None, []

    @property
    def is_ok(self):
        return self.text.startswith(b'OK')

    @property
    def is_by_number(self):
        return self.verb.split(' ', 1)[0] in BY_NUMBER


class View:
    def __init__(self, host, facts, name):
        self.host, self.facts, self.name = host, facts, name
        self.log = collections.deque(maxlen=LOGGED)
        self.connection, self.enabled, self.memory, self.validity, self.notified = None, set(), None, None, ''
        self.forget()

    def forget(self):
        self.messages, self.saved, self.kept, self.modseq = [], [], {}, None

    def check(self, is_true, what):
        if not is_true:
            lines = '\n'.join(f'{who} {line!r}' for who, line in self.log)
            raise AssertionError(f'{lines}\n{self.messages}\n{self.name} {" ".join(sorted(self.enabled))}: {what}')

    # --- connections and commands --------------------------------------------------------------------------------------------

    def connect(self):
        self.connection, self.is_deflated = imap.Connection(self.host), False

    def login(self, enabled, is_deflated):
        """Up to where a mailbox can be selected."""
        self.enabled, self.notified = set(), ''
        self.command(f'LOGIN {self.host.address("alice")} {self.host.passwords["alice"]}')
        if is_deflated:
            self.command('COMPRESS DEFLATE')
            self.connection.start_deflate()
            self.is_deflated = True
        if enabled:
            self.command('ENABLE ' + ' '.join(sorted(enabled)))
        self.enabled = set(enabled) | ({'CONDSTORE'} if 'QRESYNC' in enabled else set())

    def unauthenticate(self):
        self.command('UNAUTHENTICATE')
        if self.is_deflated:
            self.connection.end_deflate()
            self.is_deflated = False

    @property
    def is_by_uid(self):
        """Whether numbers are of no use, or may change before a command arrives."""
        return 'UIDONLY' in self.enabled or self.notified == 'SELECTED'

    def notify(self, which, items=''):
        """`which`: SELECTED or SELECTED-DELAYED [RFC5465 6.1, 6.2]."""
        self.notified = which  # news may come before the tagged line
        self.command(f'NOTIFY SET ({which} (MessageNew{items} MessageExpunge FlagChange))')

    def command(self, text, may=()):
        """`may`: other beginnings of the tagged line than OK."""
        answer = self.begin(text if isinstance(text, str) else text.decode())
        tag = self.connection.send_command(text)
        return self.finish(answer, self.connection.answer(tag, self.take), may)

    def idle(self):
        answer = self.begin('IDLE')
        tag = self.connection.send_command('IDLE')
        got = b''
        while not got.startswith(b'+'):
            got = self.connection.response()
            self.take(got)
        self.connection.send('DONE\r\n')
        return self.finish(answer, self.connection.answer(tag, self.take), ())

    def begin(self, text):
        self.log.append(('C', text[:300]))
        self.answer = Answer(text)
        return self.answer

    def finish(self, answer, text, may):
        self.log.append(('S', text[:300]))
        answer.text = text
        if highest := re.match(rb'OK \[HIGHESTMODSEQ (\d+)\]', text):
            answer.highest = int(highest[1])
        self.check(answer.is_ok or text.startswith(may), text)
        self.check(self.modseq is None or answer.highest is None or answer.highest >= self.modseq, 'HIGHESTMODSEQ goes back')
        if answer.highest is not None:
            self.modseq = answer.highest
        elif self.modseq is not None:
            self.modseq = max([self.modseq, *answer.modseqs])
        return answer

    def fill(self):
        """Asks for what is not known of the messages."""
        for _ in range(50):
            unknown = [n for n, m in enumerate(self.messages, 1) if m.uid is None or m.flags is None]
            if not unknown:
                break
            if self.is_by_uid:
                first = max([m.uid for m in self.messages[:unknown[0] - 1]], default=0) + 1
                self.command(f'UID FETCH {first}:* (UID FLAGS)')
            else:
                self.command(f'FETCH {unknown[0]}:{unknown[-1]} (UID FLAGS)')
        uids = [m.uid for m in self.messages]
        self.check(not unknown and uids == sorted(set(uids)), f'what is asked for is not told: {uids}')

    # --- coming and going ----------------------------------------------------------------------------------------------------

    def remember(self):
        """For a mailbox to come back to; without a mod-sequence there is no way back but to begin again."""
        self.memory = Memory(self) if 'QRESYNC' in self.enabled and self.modseq is not None else None

    def select(self, mailbox, known='', is_same=True):
        """`known`: what QRESYNC takes behind the mod-sequence. is_same: nobody changes flags meanwhile."""
        memory = self.memory if 'QRESYNC' in self.enabled else None
        self.forget()
        self.memory = memory
        self.command(f'SELECT {mailbox}' + (f' (QRESYNC ({memory.validity} {memory.modseq}{known}))' if memory else ''))
        self.fill()
        self.memory = None
        if memory:
            now = {m.uid: m.flags for m in self.messages}
            self.check(not memory.flags.keys() - now.keys(), f'not told that they have gone: {memory.flags.keys() - now.keys()}')
            self.check(not is_same or all(now[u] == flags for u, flags in memory.flags.items()), f'not told of new flags: {memory.flags}')

    # --- what is told --------------------------------------------------------------------------------------------------------

    def take(self, got):
        self.log.append(('S', got[:300]))
        for pattern, name in RESPONSES:
            if found := pattern.match(got):
                getattr(self, name)(found)
                return
        self.check(False, f'nobody knows this response: {got!r}')

    def take_exists(self, found):
        count = int(found[1])
        if self.answer.verb.startswith(('SELECT', 'EXAMINE')):
            self.messages = []
        self.check(count >= len(self.messages), 'EXISTS takes some away [RFC3501 7.3.1] [RFC9051 7.4.1]')
        self.messages += [Message() for _ in range(count - len(self.messages))]

    def take_expunge(self, found):
        self.check(not self.enabled & {'QRESYNC', 'UIDONLY'}, 'EXPUNGE [RFC7162 3.2.10] [RFC9586 3]')
        self.check_moment()
        self.check(1 <= int(found[1]) <= len(self.messages), 'no such number')
        self.messages.pop(int(found[1]) - 1)

    def take_vanished(self, found):
        uids = uids_of(found[2])
        if found[1]:
            self.check('QRESYNC' in self.enabled, 'VANISHED (EARLIER) [RFC7162 3.2.10.1]')
            self.check(not [m for m in self.messages if m.uid in uids], 'VANISHED (EARLIER) of what is there')
        else:
            self.check(self.enabled & {'QRESYNC', 'UIDONLY'}, 'VANISHED [RFC7162 3.2.10] [RFC9586 3]')
            self.check_moment()
            for uid in uids:
                self.vanish(uid)
        for uid in uids if self.memory else ():
            self.memory.flags.pop(uid, None)

    def check_moment(self):
        """A message goes while no command is under way that numbers matter to; SELECTED of NOTIFY lets it go at any time
        [RFC3501 7.4.1] [RFC9051 7.5.1] [RFC7162 3.2.10.2] [RFC5465 6.1]."""
        if self.notified != 'SELECTED':
            self.check(not self.answer.is_by_number, 'a message goes here')
            self.check('QRESYNC' not in self.enabled or not NUMBERS.match(self.answer.verb), 'VANISHED in a UID SEARCH with numbers')

    def vanish(self, uid):
        """A message may go before anybody has asked for its UID; then it is not known which of them it was."""
        there = [m for m in self.messages if m.uid == uid]
        if not there:
            there = self.unknown_of(uid)[:1]
            for kept in self.kept.values():
                kept.is_lost |= not kept.is_uid
        self.check(len(there) == 1, f'VANISHED of what is not there: {uid}')
        self.messages.remove(there[0])

    def unknown_of(self, uid):
        """Messages whose UIDs are unknown and may be this one: UIDs grow with numbers, which UIDONLY does not tell."""
        known = [] if 'UIDONLY' in self.enabled else [(n, m.uid) for n, m in enumerate(self.messages) if m.uid]
        above = min((n for n, other in known if other > uid), default=len(self.messages))
        below = max((n for n, other in known if other < uid), default=0)
        return [m for m in self.messages[below:above] if m.uid is None]

    def take_fetch(self, found):
        number, items = int(found[1]), found[3]
        self.check(bool(found[2]) == ('UIDONLY' in self.enabled), 'UIDFETCH [RFC9586 3.3]')
        while part := PART.search(items):
            items = items[:part.start()] + b'X' + items[part.end() + int(part[1]):]
        uid, modseq = re.search(rb'\bUID (\d+)', items), re.search(rb'MODSEQ \((\d+)\)', items)
        message = self.by_uid(number) if found[2] else self.by_number(number)
        if uid:
            self.check(message.uid in (None, int(uid[1])), f'message {number} was UID {message.uid}')
            message.uid = int(uid[1])
        self.learn(message, flags_of(items), int(modseq[1]) if modseq else None)
        self.answer.rows.append((message, items))

    def by_number(self, number):
        self.check(1 <= number <= len(self.messages), 'no such number')
        return self.messages[number - 1]

    def by_uid(self, uid):
        """Messages whose UIDs are unknown are all alike: one of them is taken, and put where it belongs."""
        there = [m for m in self.messages if m.uid == uid]
        if there or self.answer.verb.startswith('SELECT'):  # SELECT tells of some before all are asked for
            return there[0] if there else Message(uid)
        unknown = next((m for m in self.messages if m.uid is None), None)
        self.check(unknown, f'UIDFETCH of a message that EXISTS has not told: {uid}')
        self.messages.remove(unknown)
        above = [n for n, m in enumerate(self.messages) if m.uid and m.uid > uid]
        self.messages.insert(above[0] if above else len(self.messages), Message(uid))
        return self.by_uid(uid)

    def learn(self, message, flags, modseq):
        if flags is not None:
            is_asked = 'FETCH' in self.answer.verb  # for flags alone
            self.check(modseq is not None or is_asked or 'CONDSTORE' not in self.enabled, 'news without MODSEQ [RFC7162 3.1]')
            message.flags = flags
        if modseq is not None:
            self.check(message.modseq is None or modseq >= message.modseq, 'MODSEQ goes back')
            message.modseq = modseq
            self.answer.modseqs.append(modseq)
        if message.uid and None not in (flags, modseq):
            self.facts.agree(f'flags of {modseq}', message.uid, flags)
        if self.memory and message.uid and flags is not None and self.answer.verb.startswith('SELECT'):
            self.memory.flags[message.uid] = flags

    def take_numbers(self, found):
        self.check(self.answer.numbers is None, 'two answers')
        self.check(found[1] == b'SORT' or 'IMAP4rev2' not in self.enabled, 'SEARCH [RFC9051 7.3.4]')
        self.answer.numbers = [int(n) for n in found[2].split()]

    def take_esearch(self, found):
        mailbox, is_uid, rest, said = found[2], bool(found[3]), found[4], {}
        self.check(is_uid == (self.answer.verb.startswith('UID ') or bool(mailbox)), 'UID is said, or not [RFC4731 3.1]')
        while rest:
            item = ITEM.match(rest)
            self.check(item, f'no result: {rest!r}')
            name, value = item[1] or item[3] or item[5], item[2] or item[4] or item[6]
            self.check(name.decode() not in said, f'{name} twice')
            said[name.decode()] = uids_of(value) if item[3] else value.decode() if item[5] else int(value)
            rest = rest[item.end():]
        if mailbox:
            self.answer.others.append((mailbox.split()[1].strip(b'"').decode(), said))
            return
        self.check(self.answer.esearch is None, 'two answers')
        self.answer.esearch = said
        if kept := self.kept.get(found[1]):  # before any news, so that numbers are those of the search
            ids = said.get('ALL', [])
            kept.list = ids if kept.is_uid else [self.by_number(n) for n in ids]

    def take_no_update(self, found):
        self.check(self.kept.pop(found[1], None), 'NOUPDATE of a search that nobody keeps [RFC5267 4.3.1]')

    def take_update(self, found):
        kept = self.kept.get(found[1])
        self.check(kept, f'of a search that nobody keeps: {found[1]} [RFC5267 4.3.2]')
        self.check(kept.is_uid == bool(found[2]), 'UID is said, or not [RFC5267 4.3.1]')
        for what, pairs in re.findall(rb' (ADDTO|REMOVEFROM) \(([^)]*)\)', found[3]):
            words = pairs.split(b' ')
            for position, ids in zip(words[::2], words[1::2]):
                if not kept.is_lost:
                    self.change(kept, what == b'ADDTO', int(position), uids_of(ids))

    def change(self, kept, is_added, position, ids):
        """Positions count from 1; 0 stands for anywhere [RFC5267 4.3.3, 4.3.4]."""
        for n in ids:
            it = n if kept.is_uid else self.by_number(n)
            self.check((it in kept.list) != is_added, f'{it} of {kept.list}')
            if not is_added:
                self.check(not position or kept.list[position - 1] == it, f'{it} is not at {position} of {kept.list}')
                kept.list.remove(it)
                continue
            self.check(position <= len(kept.list) + 1, f'{position} of {kept.list}')
            kept.list.insert(position - 1 if position else len(kept.list), it)
            position += bool(position)

    def take_code(self, found):
        if found[1] == b'HIGHESTMODSEQ':
            self.answer.highest = int(found[2])
        elif found[1] == b'UIDVALIDITY' and self.answer.verb.startswith('SELECT'):
            self.check(self.validity in (None, int(found[2])), 'another UIDVALIDITY')
            self.validity = int(found[2])

    def take_other(self, found):
        pass
