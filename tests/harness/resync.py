"""An IMAP client that keeps a copy of a mailbox over its connections and believes nothing: it comes back by QRESYNC or CONDSTORE with what it
knew, and compares its copy with what the server has, message by message, each time.

A copy may be wrong in no message that has not changed since the mod-sequence that the client has kept: so it can be compared while others
go on writing [RFC7162 3.1.1].
"""
import re

from harness import imap

NUMBERED = re.compile(rb'\* (\d+) (FETCH|UIDFETCH) \((.*)\)$', re.S)
VANISHED = re.compile(rb'\* VANISHED (\(EARLIER\) )?([\d,:]+)$')
HIGHEST = re.compile(rb'(?:\* )?OK \[HIGHESTMODSEQ (\d+)\]')
MODIFIED = re.compile(rb'OK \[MODIFIED ([\d,:]+)\]')
APPEND_UID = re.compile(rb'\[APPENDUID (\d+) (\d+)\]')


def numbers(text):
    """The numbers of a set without '*', ranges in either direction."""
    for part in text.decode().split(','):
        first, _, last = part.partition(':')
        ends = sorted((int(first), int(last or first)))
        yield from range(ends[0], ends[1] + 1)


def as_set(uids):
    """[1, 2, 3, 5] as '1:3,5'."""
    ranges = []
    for uid in sorted(uids):
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ','.join(f'{a}' if a == b else f'{a}:{b}' for a, b in ranges)


class Copy:
    """What a client keeps while it is away: flags and mod-sequence of each UID, up to where it has heard of all changes (modseq), and up
    to which UID it knows of all messages (last)."""

    def __init__(self):
        self.validity, self.modseq, self.last = None, 0, 0
        self.flags, self.changed = {}, {}

    def forget_what_has_gaps(self):
        for uid in [uid for uid in self.flags if uid > self.last]:
            self.drop(uid)

    def drop(self, uid):
        self.flags.pop(uid, None)
        self.changed.pop(uid, None)

    def learn(self, uid, flags, modseq):
        before = self.changed.get(uid, 0)
        if modseq is not None:
            assert modseq >= before, f'UID {uid}: mod-sequence {before}, and then {modseq}'
            self.changed[uid] = modseq
        if flags is not None:
            assert modseq is None or modseq > before or self.flags.get(uid, flags) == flags, \
                f'UID {uid} has other flags with the same mod-sequence {modseq}: {sorted(self.flags[uid])}, {sorted(flags)}'
            self.flags[uid] = flags


class Session:
    """One connection on a copy. `ways` are words of: qresync, condstore, uidonly, compress, notify."""

    def __init__(self, host, user, copy, ways, chance, mailbox='INBOX'):
        self.copy, self.ways, self.chance, self.mailbox = copy, ways, chance, mailbox
        self.order, self.verb, self.is_numbered = None, None, 'uidonly' not in ways
        self.state, self.is_searching, self.is_current, self.is_at_once = None, False, False, False
        self.rows, self.gone, self.told, self.modseq = None, set(), set(), copy.modseq
        copy.forget_what_has_gaps()
        self.connection = imap.login(host, user)
        try:
            self.begin()
        except BaseException:
            self.connection.close()
            raise

    def begin(self):
        if 'compress' in self.ways:
            self.connection.command('COMPRESS DEFLATE')
            self.connection.start_deflate()
        names = ('QRESYNC ' if 'qresync' in self.ways else 'CONDSTORE ') + ('UIDONLY' if not self.is_numbered else '')
        answer = self.connection.command(f'ENABLE {names}')[1]
        assert all(name in answer[0].decode().split() for name in names.split()), answer
        if 'notify' in self.ways:
            self.is_at_once = self.chance.random() < 0.7  # what goes is told at any time, and numbers mean nothing [RFC5465 6.1.1]
            items = self.chance.choice(('', ' (FLAGS)', ' (UID FLAGS)'))
            self.connection.command(f'NOTIFY SET (SELECTED{"" if self.is_at_once else "-DELAYED"} (MessageNew{items} MessageExpunge FlagChange))')
        self.select()
        self.audit()

    # --- commands ----------------------------------------------------------------------------------------------------------

    def command(self, text, ok=True):
        """The tagged answer; what it tells is in the copy. Only then, and not in the midst of it, the mod-sequence counts."""
        words = text.upper().split()
        self.verb = ' '.join(words[:2]) if words[0] == 'UID' else words[0]
        answer = self.connection.answer(self.connection.send_command(text), self.take)
        self.finish(answer)
        if ok and not answer.startswith(b'OK'):
            raise imap.Refused(f'{text!r}: {answer!r}')
        return answer

    def append(self, text, flags):
        self.verb = 'APPEND'
        tag = self.connection.send_command(b'APPEND %s (%s) {%d+}\r\n' % (self.mailbox.encode(), flags.encode(), len(text)) + text)
        answer = self.connection.answer(tag, self.take)
        self.finish(answer)
        return answer

    def finish(self, answer):
        self.verb = None
        self.told_last, self.told = self.told, set()
        if highest := HIGHEST.match(answer):
            self.modseq = int(highest[1])
        if answer.startswith(b'OK') and self.is_current:
            self.copy.modseq = self.modseq

    def listen(self, seconds):
        """What is told in IDLE, or by NOTIFY without any command."""
        if 'notify' in self.ways:
            self.hear(seconds)
            self.command('NOOP')
            return
        self.verb = 'IDLE'
        tag = self.connection.send_command('IDLE')
        self.take(self.connection.response())
        self.hear(seconds)
        self.connection.send('DONE\r\n')
        self.finish(self.connection.answer(tag, self.take))

    def hear(self, seconds):
        self.connection.socket.settimeout(seconds)
        try:
            while True:
                self.take(self.connection.response())
        except TimeoutError:
            pass
        finally:
            self.connection.socket.settimeout(60)

    # --- coming back -------------------------------------------------------------------------------------------------------

    def known(self):
        """Parameters of SELECT: sometimes with the UIDs that are known, sometimes with some of their numbers [RFC7162 3.2.5.1, 3.2.5.2]."""
        copy = self.copy
        if 'qresync' not in self.ways or not copy.validity:
            return ' (CONDSTORE)' if 'qresync' not in self.ways and self.chance.random() < 0.5 else ''
        more = ''
        if copy.flags and self.chance.random() < 0.6:
            more += ' ' + (as_set(copy.flags) if self.chance.random() < 0.5 else f'1:{copy.last}')
        if more and self.is_numbered and self.chance.random() < 0.5:
            uids = sorted(copy.flags)
            picked = sorted(self.chance.sample(range(len(uids)), min(len(uids), 5)))
            more += f' ({as_set(n + 1 for n in picked)} {as_set(uids[n] for n in picked)})'
        return f' (QRESYNC ({copy.validity} {copy.modseq}{more}))'

    def select(self):
        copy, known, since = self.copy, self.known(), self.copy.modseq
        state = self.state = {}
        self.command(f'SELECT {self.mailbox}{known}')
        self.state = None
        assert 'HIGHESTMODSEQ' in state, 'SELECT without HIGHESTMODSEQ [RFC7162 3.1.2.1]'
        assert copy.validity in (None, state['UIDVALIDITY']), 'another UIDVALIDITY'
        assert state['HIGHESTMODSEQ'] >= since, 'a HIGHESTMODSEQ that is less than one that was told'
        copy.validity = state['UIDVALIDITY']
        if 'QRESYNC' not in known and copy.flags:
            self.catch_up(since)
        self.is_current = True
        self.fill()

    def catch_up(self, since):
        """Without QRESYNC at SELECT: what has gone, by VANISHED or by the UIDs that are there; then what has changed [RFC7162 6]."""
        if 'qresync' in self.ways:
            self.command(f'UID FETCH 1:{self.copy.last} (FLAGS) (CHANGEDSINCE {since} VANISHED)')
            return
        self.is_searching = True
        self.command('UID SEARCH RETURN (ALL) ALL')
        assert not self.is_searching, 'no ESEARCH'
        self.command(f'UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(since, 1)})')

    def settle(self):
        """Numbers: what is known comes first, in the order of UIDs; behind it what is not [RFC3501 2.3.1.1]."""
        if self.order is None:
            known = sorted(self.copy.flags)
            assert len(known) <= self.exists, f'{len(known)} messages are known and {self.exists} are there'
            self.order = known + [None] * (self.exists - len(known))

    def fill(self):
        """Asks for what is not known yet."""
        self.settle()
        for _ in range(20):
            if None not in self.order:
                break
            self.command(f'UID FETCH {self.copy.last + 1}:* (FLAGS MODSEQ)')
        assert None not in self.order, f'of {len(self.order)} messages these have no UID: {[n for n, u in enumerate(self.order) if not u][:5]}'
        self.copy.last = max(self.order, default=self.copy.last)

    def audit(self):
        """Compares every message that has not changed since with the copy."""
        copy, since, before = self.copy, self.copy.modseq, dict(self.copy.flags)
        self.rows, self.gone = {}, set()
        self.command('UID FETCH 1:* (FLAGS MODSEQ)')
        rows, self.rows = self.rows, None
        for uid, (flags, modseq) in rows.items():
            assert modseq > since or before.get(uid) == flags, \
                f'{self.ways}: UID {uid} has {sorted(flags)} since {modseq}, the copy of {since} has {before.get(uid) and sorted(before[uid])}'
        missing = [uid for uid in before if uid not in rows and uid not in self.gone]
        assert not missing, f'{self.ways}: not there, and nobody has said so: {missing}'
        self.fill()
        assert sorted(copy.flags) == sorted(self.order)

    # --- what is told ------------------------------------------------------------------------------------------------------

    def take(self, got):
        numbered, vanished, highest = NUMBERED.match(got), VANISHED.match(got), HIGHEST.match(got)
        words = got.split(b' ', 2)
        if numbered:
            self.take_fetch(int(numbered[1]), numbered[2], numbered[3])
        elif vanished:
            self.take_vanished(bool(vanished[1]), list(numbers(vanished[2])))
        elif words[-1] == b'EXISTS':
            self.take_exists(int(words[1]))
        elif words[-1] == b'EXPUNGE':
            self.take_expunge(int(words[1]))
        elif got.startswith(b'* ESEARCH') and self.is_searching:
            self.take_search(re.search(rb' ALL ([\d,:]+)', got))
        elif highest:
            self.modseq = int(highest[1])
        if self.state is not None and (code := re.match(rb'\* OK \[(UIDVALIDITY|UIDNEXT|HIGHESTMODSEQ) (\d+)\]', got)):
            self.state[code[1].decode()] = int(code[2])

    def take_search(self, found):
        self.is_searching = False
        for uid in set(self.copy.flags).difference(numbers(found[1]) if found else ()):
            self.copy.drop(uid)
        self.settle()

    def take_exists(self, count):
        if self.verb == 'SELECT':
            self.state['EXISTS'] = self.exists = count
            return
        self.settle()
        assert count >= len(self.order), f'EXISTS {count}, and {len(self.order)} were known [RFC3501 7.3.1]'
        self.order += [None] * (count - len(self.order))

    def may_go(self):
        if self.is_at_once:
            return
        assert self.verb, 'a message goes without a command [RFC3501 7.4.1]'
        assert self.verb not in imap.NO_EXPUNGE, f'a message goes during {self.verb} [RFC3501 7.4.1]'

    def take_expunge(self, number):
        assert not {'qresync', 'uidonly'} & set(self.ways), 'EXPUNGE [RFC7162 3.2.10]'
        self.may_go()
        self.settle()
        assert 1 <= number <= len(self.order), f'EXPUNGE {number} of {len(self.order)}'
        uid = self.order.pop(number - 1)
        self.gone.add(uid)
        self.copy.drop(uid)

    def take_vanished(self, is_earlier, uids):
        assert {'qresync', 'uidonly'} & set(self.ways), 'VANISHED without being asked for'
        if not is_earlier:
            self.may_go()
            self.settle()
            for uid in uids:
                self.order.pop(self.place_of(uid))
        for uid in uids:
            self.gone.add(uid)
            self.copy.drop(uid)

    def place_of(self, uid):
        """Where it is, or one of the places that nobody has told the UID of: among messages with numbers, between those around it."""
        if uid in self.order:
            return self.order.index(uid)
        places = [n for n, there in enumerate(self.order) if there is None]
        if self.is_numbered:
            first = max((n for n, there in enumerate(self.order) if there and there < uid), default=-1)
            last = min((n for n, there in enumerate(self.order) if there and there > uid), default=len(self.order))
            places = [n for n in places if first < n < last]
        assert places, f'VANISHED {uid}, which was not there'
        return places[0]

    def take_fetch(self, number, kind, items):
        assert (kind == b'UIDFETCH') == (not self.is_numbered), f'{kind} [RFC9586 3.3]'
        self.settle()
        uid, flags, modseq = (re.search(pattern, items) for pattern in (rb'\bUID (\d+)', rb'FLAGS \(([^)]*)\)', rb'MODSEQ \((\d+)\)'))
        uid = int(uid[1]) if uid else None if self.is_numbered else number
        if self.is_numbered:
            assert 1 <= number <= len(self.order), f'FETCH {number} of {len(self.order)}'
            there = self.order[number - 1]
            assert uid or 'qresync' not in self.ways, f'FETCH without UID [RFC7162 3.2.4]: {items!r}'
            assert there in (None, uid) or uid is None, f'message {number} was UID {there} and is {uid}'
            self.order[number - 1] = uid = uid or there
        elif uid not in self.order:
            assert None in self.order, f'UIDFETCH {uid} of a message that EXISTS has not told'
            self.order[self.order.index(None)] = uid
        if uid is None:
            return  # asked for before anybody knew its UID: fill() comes
        flags = frozenset(flags[1].decode().split()) if flags else None
        modseq = int(modseq[1]) if modseq else None
        assert flags is None or modseq is not None, f'flags without MODSEQ [RFC7162 3.2]: {items!r}'
        if self.rows is not None and flags is not None:
            self.rows[uid] = (flags, modseq)
        self.copy.learn(uid, flags, modseq)
        if flags is not None:
            self.told.add(uid)
        self.modseq = max(self.modseq, modseq or 0)
