"""Sessions that do at random what IMAP has, each against a model of what it may see (harness/imapmodel.py).

One after the other, a given seed repeats what is done and every result is known beforehand; beside each other, only what all have to
agree on is. Then sessions that break off in the midst of commands, and a server that is stopped meanwhile. The seed of a run is printed
and can be given as PENFOLD_SEED; PENFOLD_FULL=1 does more of all.
"""
import contextlib
import random
import re
import threading
import zlib

import pytest

from harness import chances, imap, imapmodel, mails, resync, wire

FLAGS = ['\\Seen', '\\Flagged', '\\Answered', '\\Deleted', '\\Draft', 'kw1', 'kw2', '$Junk']
ENABLED = ['CONDSTORE', 'QRESYNC', 'UIDONLY', 'IMAP4rev2', 'UTF8=ACCEPT']
GONE = (b'NO [EXPUNGEISSUED] ', b'NO [LIMIT] ')  # what may become of a message that another session has expunged
KEPT = ['ALL', 'FLAGGED', 'UNSEEN', 'KEYWORD kw1', 'NOT DELETED', 'OR ANSWERED KEYWORD kw2', 'NOT FLAGGED', 'SUBJECT one',
        'OR SUBJECT two FLAGGED', 'NOT SUBJECT one']
ORDERS = ['SUBJECT', 'REVERSE SUBJECT SIZE', 'SIZE', 'REVERSE SIZE ARRIVAL', 'REVERSE ARRIVAL SIZE']
ACTS = {'noop': 2, 'list': 1, 'late_enable': 1, 'fetch': 2, 'changed_since': 1, 'store': 4, 'search': 4, 'sort': 1, 'multisearch': 1, 'keep': 3,
        'expunge': 1, 'uid_expunge': 1, 'append': 2, 'replace': 1, 'copy': 1, 'move': 1, 'idle': 1, 'reselect': 1, 'cut': 2, 'again': 1, 'notify': 1}
NEED_MESSAGES = {'fetch', 'changed_since', 'store', 'uid_expunge', 'replace', 'copy', 'move'}
AT_LEAST, AT_MOST = 20, 70  # messages, now and then


class Player(imapmodel.View):
    """is_alone: nobody else does anything while one of its commands runs."""

    is_alone = True

    def __init__(self, host, facts, name, chance):
        super().__init__(host, facts, name)
        self.chance, self.asleep, self.done = chance, 0, dict.fromkeys(ACTS, 0)
        self.connect()
        self.begin_session()

    def likely(self, share):
        return self.chance.random() < share

    def begin_session(self):
        """With what it remembers it enables what it had."""
        wanted = self.enabled if self.memory else {name for name in ENABLED if self.likely(0.4)}
        self.login(wanted, not self.is_deflated and self.likely(0.3))
        self.select_inbox()

    def turn(self):
        if self.asleep:
            self.asleep -= 1
            if self.asleep and self.is_alone:
                return
            self.asleep = 0
            self.connect()
            self.begin_session()
        act = self.chance.choices(list(ACTS), list(ACTS.values()))[0]
        if self.notified and self.is_alone:  # what is told already may not be read yet
            self.command('NOOP')
            self.fill()
        if not self.messages and act in NEED_MESSAGES:
            act = 'append'
        self.done[act] += 1
        getattr(self, 'do_' + act)()
        if not self.asleep:
            self.fill()

    # --- coming and going ----------------------------------------------------------------------------------------------------

    def select_inbox(self):
        memory = self.memory if 'QRESYNC' in self.enabled else None
        known = ''
        if memory and memory.order and self.likely(0.75):
            first, last = memory.order[0], memory.order[-1]
            known = ' ' + self.chance.choice([resync.as_set(memory.order), f'{first}:{last}', f'1:{last + 5}'])
            if 'UIDONLY' not in self.enabled and self.likely(0.5):
                picked = sorted(self.chance.sample(range(len(memory.order)), min(len(memory.order), self.chance.randrange(1, 6))))
                known += f' ({resync.as_set(n + 1 for n in picked)} {resync.as_set(memory.order[n] for n in picked)})'
        self.select('INBOX', known, self.is_alone)

    def do_reselect(self):
        self.memory = None
        self.kept, self.modseq = {}, None
        which = self.chance.randrange(4)
        if self.notified:  # up to here, news are of the mailbox that was selected
            self.command('UNSELECT')
        elif which == 0:
            self.command(self.chance.choice(['CLOSE', 'UNSELECT']))
        elif which == 1:
            self.command('SELECT Nowhere', (b'NO [NONEXISTENT] ',))
        elif which == 2:
            self.command('EXAMINE Other')
        self.select_inbox()

    def do_cut(self):
        self.remember()
        self.connection.close()
        self.is_deflated = False
        if self.likely(0.5):
            self.asleep = self.chance.randrange(1, 30)
            return
        self.connect()
        self.begin_session()

    def do_again(self):
        self.remember()
        self.kept = {}
        self.unauthenticate()
        self.begin_session()

    # --- looking -------------------------------------------------------------------------------------------------------------

    def do_noop(self):
        self.command(self.chance.choice(['NOOP', 'CHECK']))

    def do_idle(self):
        self.idle()

    def do_notify(self):
        self.notify(self.chance.choice(['SELECTED', 'SELECTED-DELAYED']), self.chance.choice(['', ' (UID FLAGS)', ' (UID PREVIEW)']))

    def do_list(self):
        """The counts are those of now, which may be ahead of the view; asking for HIGHESTMODSEQ enables CONDSTORE."""
        self.command(self.chance.choice(['LIST "" * RETURN (STATUS (MESSAGES UNSEEN HIGHESTMODSEQ DELETED))',
                                         'STATUS INBOX (HIGHESTMODSEQ MESSAGES)']))
        self.enabled.add('CONDSTORE')

    def do_late_enable(self):
        self.command('ENABLE CONDSTORE', (b'BAD ',))

    def pick(self):
        """(verb's prefix, set, messages)."""
        is_uid, messages = self.is_by_uid or self.likely(0.5), self.messages
        prefix = 'UID ' if is_uid else ''
        if self.likely(0.2):
            return prefix, '$', [m for m in messages if m.uid in self.saved]
        picked = sorted(self.chance.sample(range(len(messages)), self.chance.randrange(1, min(len(messages), 8) + 1)))
        if self.likely(0.3):
            picked = range(picked[0], len(messages))
            return prefix, f'{messages[picked[0]].uid if is_uid else picked[0] + 1}:*', [messages[n] for n in picked]
        return prefix, resync.as_set(messages[n].uid if is_uid else n + 1 for n in picked), [messages[n] for n in picked]

    def do_fetch(self):
        prefix, numbers, messages = self.pick()
        what = self.chance.choice(['(UID FLAGS INTERNALDATE)', 'BODY[]', '(EMAILID THREADID SAVEDATE)', '(UID PREVIEW RFC822.SIZE)'])
        answer = self.command(f'{prefix}FETCH {numbers} {what}', GONE)
        if answer.is_ok and not self.is_alone:
            return
        told = {m.uid: fields for m, fields in answer.rows}
        self.check(not answer.is_ok or told.keys() >= {m.uid for m in messages}, 'not all that was asked for')
        for uid, fields in told.items():
            for name in ('EMAILID', 'THREADID', 'SAVEDATE', 'PREVIEW', 'RFC822.SIZE', 'INTERNALDATE'):
                if value := re.search(rb'\b%s (\([^)]*\)|"[^"]*"|\w+)' % name.encode(), fields):
                    self.facts.agree(name, uid, value[1])

    def do_changed_since(self):
        highest = max([1, *(m.modseq or 0 for m in self.messages)])
        since = max(1, self.chance.choice([1, self.modseq or 5, highest - self.chance.randrange(6)]))
        prefix, numbers, messages = self.pick()
        modifiers = f'CHANGEDSINCE {since}'
        if 'QRESYNC' in self.enabled and self.likely(0.6):
            prefix, numbers, modifiers, messages = 'UID ', '1:*', modifiers + ' VANISHED', list(self.messages)
        answer = self.command(f'{prefix}FETCH {numbers} (FLAGS) ({modifiers})', GONE)
        self.enabled.add('CONDSTORE')
        self.check(self.notified or all(modseq > since for modseq in answer.modseqs), f'not changed since {since}')
        told = [m for m, _ in answer.rows]
        if answer.is_ok and self.is_alone:
            self.check(all(m in told for m in messages if m.modseq and m.modseq > since), f'changed since {since}, and not told')

    # --- searches ------------------------------------------------------------------------------------------------------------

    def one_key(self):
        """(search key, what it finds: a function of number and message)."""
        saved, messages = set(self.saved), self.messages
        keys = [('ALL', lambda n, m: True), ('FLAGGED', lambda n, m: '\\Flagged' in m.flags), ('UNSEEN', lambda n, m: '\\Seen' not in m.flags),
                ('KEYWORD kw1', lambda n, m: 'kw1' in m.flags), ('NOT DELETED', lambda n, m: '\\Deleted' not in m.flags),
                ('$', lambda n, m: m.uid in saved)]
        if messages:
            a, b = sorted(self.chance.choices(range(len(messages)), k=2))
            low, high = messages[a].uid, messages[b].uid
            keys.append((f'UID {low}:{high}', lambda n, m: low <= m.uid <= high))
            if not self.is_by_uid:
                keys.append((f'{a + 1}:{b + 1}', lambda n, m: a < n <= b + 1))
        return self.chance.choice(keys)

    def program(self):
        """(program, [(number, message)] that it finds)."""
        text, is_found = self.one_key()
        shape = self.chance.randrange(3)
        if shape == 1:
            other, is_other = self.one_key()
            return f'OR {text} {other}', [(n, m) for n, m in enumerate(self.messages, 1) if is_found(n, m) or is_other(n, m)]
        return 'NOT ' * (shape == 2) + text, [(n, m) for n, m in enumerate(self.messages, 1) if is_found(n, m) != (shape == 2)]

    def results(self):
        """What RETURN asks for: {name: its words}; {} for RETURN (), None without RETURN."""
        if self.likely(0.3):
            return None
        if not self.is_alone:
            return {name: name for name in ['ALL'] + ['SAVE'] * (not self.notified and self.likely(0.4))}
        wanted = {name: name for name in ('MIN', 'MAX', 'COUNT', 'SAVE') if self.likely(0.4)}
        if self.likely(0.4):
            wanted['ALL'] = 'ALL'
        elif self.likely(0.5):
            sign = self.chance.choice(['', '-'])
            wanted['PARTIAL'] = 'PARTIAL ' + ':'.join(f'{sign}{self.chance.randrange(1, 12)}' for _ in range(2))
        return wanted

    @staticmethod
    def part(words, found):
        """The part of a list that PARTIAL means [RFC9394 3.1]."""
        low, high = sorted(abs(int(n)) for n in words.split()[1].split(':'))
        return found[max(0, len(found) - high):max(0, len(found) - low + 1)] if '-' in words else found[low - 1:high]

    def do_search(self):
        is_uid = self.is_by_uid or self.likely(0.5)
        program, found = self.program()
        wanted, view = self.results(), list(self.messages)
        modseq = 'MODSEQ 1 ' if self.likely(0.15) else ''
        asked = '' if wanted is None else f'RETURN ({" ".join(wanted.values())}) '
        answer = self.command(f'{"UID " if is_uid else ""}SEARCH {asked}{modseq}{program}')
        if modseq:
            self.enabled.add('CONDSTORE')
        if wanted == {} or (wanted is None and 'IMAP4rev2' in self.enabled):
            wanted = {'ALL': 'ALL'}
        if self.is_alone:
            numbers = [m.uid if is_uid else n for n, m in found]
            self.compare(answer, wanted, numbers)
        else:
            told = set(answer.numbers if wanted is None else answer.esearch.get('ALL', []))
            found = self.told_beside_others(told, found, is_uid, view)
        if wanted and 'SAVE' in wanted:
            self.saved = self.to_save(wanted, [m.uid for _, m in found])

    def compare(self, answer, wanted, numbers):
        if wanted is None or set(wanted) == {'SAVE'}:
            self.check(answer.esearch is None and answer.numbers == (numbers if wanted is None else None), f'found is {numbers}')
            return
        self.check(answer.esearch is not None, 'no ESEARCH')
        should = {'COUNT': len(numbers)} if 'COUNT' in wanted else {}
        if numbers:
            should |= {name: value for name, value in (('MIN', numbers[0]), ('MAX', numbers[-1]), ('ALL', numbers)) if name in wanted}
        if 'PARTIAL' in wanted:
            should['PARTIAL'] = f'{wanted["PARTIAL"].split()[1]} {resync.as_set(self.part(wanted["PARTIAL"], numbers)) or "NIL"}'
        told = {name: value for name, value in answer.esearch.items() if name != 'MODSEQ'}
        self.check(told == should, f'{told} should be {should}')

    def to_save(self, wanted, uids):
        """What $ stands for afterwards [RFC5182 2.4] [RFC9394 3.1]."""
        if not uids or {'ALL', 'COUNT'} & set(wanted) or not {'MIN', 'MAX', 'PARTIAL'} & set(wanted):
            return uids
        saved = {uids[0]} if 'MIN' in wanted else set()
        saved |= {uids[-1]} if 'MAX' in wanted else set()
        return sorted(saved.union(self.part(wanted['PARTIAL'], uids) if 'PARTIAL' in wanted else ()))

    def told_beside_others(self, told, found, is_uid, view):
        """What was found; only messages that are about to go may be missing, or be there. News that come before the answer let nobody say."""
        before = {m.uid for _, m in found}
        now = [(n, m) for n, m in enumerate(view, 1) if (m.uid if is_uid else n) in told]
        doubtful = before ^ {m.uid for _, m in now}
        if doubtful and not self.notified:
            self.command('NOOP')
            self.check(not doubtful & {m.uid for m in self.messages}, f'not what was found: {doubtful}')
        return now

    def do_sort(self):
        is_uid = self.is_by_uid or self.likely(0.5)
        program, found = self.program()
        view = list(self.messages)
        answer = self.command(f'{"UID " if is_uid else ""}SORT (REVERSE ARRIVAL) UTF-8 {program}')
        if self.is_alone:
            self.check(sorted(answer.numbers) == [m.uid if is_uid else n for n, m in found], f'found is {found}')
        else:
            self.told_beside_others(set(answer.numbers), found, is_uid, view)

    def do_multisearch(self):
        """The selected mailbox is searched as the client knows it [RFC7377 2.2]."""
        program, found = self.program()
        if '$' in program or (':' in program and 'UID' not in program):
            return
        answer = self.command(f'ESEARCH IN (mailboxes INBOX subtree Other) RETURN (ALL COUNT) {program}')
        uids = [m.uid for _, m in found]
        told = dict(answer.others).get('INBOX', {'COUNT': 0})
        self.check(len(dict(answer.others)) == len(answer.others), 'one mailbox twice')
        if self.is_alone:
            self.check(told.get('ALL', []) == uids and told['COUNT'] == len(uids), f'found is {uids}')

    def do_keep(self):
        """Beside others nobody can say which news a kept search has seen."""
        if not self.is_alone:
            return
        if len(self.kept) > 6 or (self.kept and self.likely(0.2)):
            tag = self.chance.choice(list(self.kept))
            self.command(f'CANCELUPDATE "{tag.decode()}"')
            del self.kept[tag]
            return
        verb = 'UID ' if self.is_by_uid or self.likely(0.5) else ''
        key, is_sorted = self.chance.choice(KEPT), self.likely(0.4)
        rest = f'({self.chance.choice(ORDERS)}) UTF-8 {key}' if is_sorted else key
        verb += 'SORT' if is_sorted else 'SEARCH'
        tag = b'a%d' % (self.connection.number + 1)
        self.kept[tag] = imapmodel.Kept(verb.startswith('UID'), is_sorted, f'{verb} RETURN (ALL) {rest}')
        self.command(f'{verb} RETURN (UPDATE ALL) {rest}')

    def check_kept(self):
        """What was told adds up to what is found now; nothing may be new to the session."""
        for tag, kept in list(self.kept.items()):
            if tag not in self.kept or kept.is_lost:
                continue
            ids = self.command(kept.again).esearch.get('ALL', [])
            should = ids if kept.is_uid else [self.messages[n - 1] for n in ids]
            told = kept.list if kept.is_sorted else sorted(kept.list, key=(lambda u: u) if kept.is_uid else self.messages.index)
            wrong = [it for it in told + should if (it in told) != (it in should)]
            self.check(tag not in self.kept or told == should, f'{tag}, {kept.again}: {told} should be {should}; not in both: {wrong}')

    # --- changes -------------------------------------------------------------------------------------------------------------

    def some_flags(self):
        return self.chance.sample(FLAGS, self.chance.randrange(4))

    def do_store(self):
        is_current = self.is_alone and self.likely(0.5)
        if is_current:
            self.command('NOOP')
            self.fill()
            if not self.messages:
                return
        prefix, numbers, messages = self.pick()
        sign, flags, silent = self.chance.choice(['', '+', '-']), set(self.some_flags()), self.chance.choice(['', '.SILENT'])
        if self.notified and not self.is_alone:  # nobody could say whether news came before it or behind
            silent = ''
        since, condition, places = None, '', {m: n for n, m in enumerate(self.messages, 1)}
        if self.likely(0.4):
            since = self.chance.choice([0, 1, self.modseq or 1, max([1, *(m.modseq or 0 for m in self.messages)]), 1 << 40])
            condition = f'(UNCHANGEDSINCE {since}) '
        before = {m: (m.flags, m.modseq) for m in messages}
        answer = self.command(f'{prefix}STORE {numbers} {condition}{sign}FLAGS{silent} ({" ".join(flags)})', GONE + (b'NO [MODIFIED ',))
        if condition:
            self.enabled.add('CONDSTORE')
        refused = re.search(rb'\[MODIFIED ([\d:,]+)\]', answer.text)
        refused = set(imapmodel.uids_of(refused[1])) if refused else set()
        self.check(condition or not refused, 'MODIFIED')
        refused = {m for m in messages if (m.uid if prefix else places[m]) in refused}
        if is_current and condition and answer.is_ok:
            wrong = [m for m in messages if before[m][1] and (before[m][1] > since) != (m in refused)]
            self.check(not wrong, f'changed since {since}, or not: {wrong}')
        self.stored(answer, {m: before[m][0] for m in messages if m not in refused}, sign, flags, silent)

    def stored(self, answer, before, sign, flags, silent):
        """What a silent STORE leaves to the client; the others are told."""
        told = [m for m, fields in answer.rows if imapmodel.flags_of(fields) is not None]
        for message, old in before.items():
            new = frozenset(flags if not sign else old | flags if sign == '+' else old - flags)
            if silent and message not in told:
                message.flags = new
            elif answer.is_ok and self.is_alone and message in self.messages:
                self.check(message in told, f'nobody has told of the flags of {message}')
        if not answer.is_ok:  # of those that have gone meanwhile, nothing was changed
            self.command('NOOP')

    def do_expunge(self):
        deleted = [m for m in self.messages if '\\Deleted' in m.flags]
        self.after_expunge(self.command('EXPUNGE'), deleted)

    def do_uid_expunge(self):
        prefix, numbers, messages = self.pick()
        if not prefix:
            numbers = resync.as_set(m.uid for m in messages) or '4000000000'
        deleted = [m for m in messages if '\\Deleted' in m.flags]
        self.after_expunge(self.command(f'UID EXPUNGE {numbers}'), deleted)

    def after_expunge(self, answer, deleted):
        there = [m for m in deleted if m in self.messages]
        if self.is_alone:  # another session may have taken \Deleted away
            self.check(not [m for m in there if '\\Deleted' in m.flags], f'still there: {there}')
        if 'QRESYNC' in self.enabled and len(there) < len(deleted):
            self.check(answer.highest, 'expunged without HIGHESTMODSEQ [RFC7162 3.2.7, 3.2.9]')

    def do_append(self):
        texts = [b'Subject: one\r\n\r\n%s\r\n' % (b'x' * self.chance.randrange(200)) for _ in range(self.chance.randrange(1, 3))]
        self.command(b'APPEND INBOX' + b''.join(b' (%s) {%d+}\r\n%s' % (' '.join(self.some_flags()).encode(), len(t), t) for t in texts))

    def do_replace(self):
        number = self.chance.randrange(len(self.messages))
        old, is_uid = self.messages[number], self.is_by_uid or self.likely(0.5)
        text = b'Subject: two\r\n\r\n' + b'y' * self.chance.randrange(300) + b'\r\n'
        head = f'{"UID " if is_uid else ""}REPLACE {old.uid if is_uid else number + 1} {self.chance.choice(["INBOX", "INBOX", "Other"])}'
        answer = self.command(b'%s (\\Flagged) {%d+}\r\n%s' % (head.encode(), len(text), text),
                              GONE + (b'NO there is no message',) * (bool(self.notified) and not self.is_alone))
        self.check(not answer.is_ok or old not in self.messages, f'replaced and still there: {old}')

    def do_copy(self):
        prefix, numbers, _ = self.pick()
        self.command(f'{prefix}COPY {numbers} {self.chance.choice(["INBOX", "Other", "Other"])}', GONE)

    def do_move(self):
        prefix, numbers, messages = self.pick()
        answer = self.command(f'{prefix}MOVE {numbers} {self.chance.choice(["INBOX", "Other"])}', GONE)
        self.check(not answer.is_ok or not [m for m in messages if m in self.messages], f'moved and still there: {messages}')


class Control:
    """A session beside the players: it says what there is, and keeps the number of messages within bounds."""

    def __init__(self, host):
        self.connection = imap.login(host, 'alice')
        self.connection.command('CREATE Other', ok=False)  # is there, or not
        self.bound()

    def truth(self):
        """{uid: (flags, modseq)}."""
        self.connection.command('SELECT INBOX')
        found = {}
        for line in self.connection.command('UID FETCH 1:* (UID FLAGS MODSEQ)')[1]:
            if match := imap.FETCH.match(line):
                uid, modseq = re.search(rb'\bUID (\d+)', match[2]), re.search(rb'MODSEQ \((\d+)\)', match[2])
                found[int(uid[1])] = (imapmodel.flags_of(match[2]), int(modseq[1]))
        return found

    def bound(self):
        for n in range(len(self.truth()), AT_LEAST):
            self.connection.append('INBOX', b'Subject: a\r\n\r\n%s\r\n' % (b'x' * n))
        if len(self.truth()) > AT_MOST:
            self.connection.command(f'STORE 1:{AT_MOST // 2} +FLAGS (\\Deleted)')
            self.connection.command('EXPUNGE')

    def compare(self, player):
        player.command('NOOP')
        player.fill()
        truth = self.truth()
        player.check_kept()
        known = {m.uid: m for m in player.messages}
        wrong = [uid for uid in known.keys() | truth.keys() if uid not in known or uid not in truth or known[uid].flags != truth[uid][0]]
        player.check(not wrong, f'differs: {[(known.get(uid), truth.get(uid)) for uid in sorted(wrong)]}')
        for uid, message in known.items():
            player.check(message.modseq in (None, truth[uid][1]) or 'CONDSTORE' not in player.enabled, f'{message}: {truth[uid]}')
            if 'CONDSTORE' in player.enabled and message.modseq:
                player.facts.agree(f'flags of {message.modseq}', uid, truth[uid][0])


def test_one_after_the_other(make_host, is_full):
    chance = random.Random(chances.seed(short=1))
    host, facts = make_host(), imapmodel.Facts()
    control = Control(host)
    players = [Player(host, facts, f'player {n}', chance) for n in range(5)]
    for turn in range(30000 if is_full else 2500):
        player = chance.choice(players)
        player.turn()
        if chance.random() < 0.4 and not player.asleep:
            control.compare(player)
        if turn % 50 == 0:
            control.bound()
    done = {act: sum(player.done[act] for player in players) for act in ACTS}
    assert min(done.values()) > 0, done


def beside(works):
    """Runs each in a thread of its own, and raises what one of them has raised."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # raised below
            errors.append(error)
    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_beside_each_other(make_host, is_full):
    """What each does comes from the seed and from what it sees, which here depends on the others."""
    seed = chances.seed(short=1)
    host, facts = make_host(), imapmodel.Facts()
    control = Control(host)
    players = [Player(host, facts, f'player {n}', random.Random(f'{seed}{n}')) for n in range(6)]
    for player in players:
        player.is_alone = False

    def play(player):
        for _ in range(25):
            player.turn()
    for _ in range(150 if is_full else 8):
        beside([lambda player=player: play(player) for player in players])
        for player in players:
            if not player.asleep:
                control.compare(player)
        control.bound()


# --- sessions that break off -------------------------------------------------------------------------------------------------

ABRUPT = [
    'NOOP', 'IDLE', 'IDLE\r\nDONE', 'LOGOUT',
    'NOTIFY SET (SELECTED (MessageNew (UID PREVIEW) MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))',
    'UNAUTHENTICATE', 'COMPRESS DEFLATE', 'CLOSE', 'SELECT INBOX', 'SELECT INBOX (CONDSTORE)', 'EXAMINE Other',
    'SELECT INBOX (QRESYNC (1 1))', 'ENABLE QRESYNC', 'ENABLE UIDONLY', 'ENABLE IMAP4rev2', 'CREATE Other', 'DELETE Other', 'RENAME Other Else',
    'RENAME Else Other', 'STATUS INBOX (MESSAGES DELETED)', 'LIST (SUBSCRIBED RECURSIVEMATCH) "" * RETURN (STATUS (DELETED SIZE))',
    'SEARCH TEXT nowhere', 'SEARCH $', 'UID SEARCH $', 'UID SEARCH RETURN (SAVE ALL) BODY x', 'UID SEARCH RETURN (UPDATE ALL) UNSEEN',
    'ESEARCH IN (personal) RETURN (ALL) BODY x', 'SORT (SUBJECT FROM) UTF-8 TEXT a', 'UID SORT RETURN (ALL) (DATE) UTF-8 ALL',
    'UID SORT RETURN (UPDATE ALL) (SUBJECT) UTF-8 ALL', 'THREAD REFERENCES UTF-8 ALL', 'UID THREAD REFS UTF-8 ALL',
    'THREAD ORDEREDSUBJECT UTF-8 BODY q', 'UIDBATCHES 500', 'UID FETCH 1:* (FLAGS BODY.PEEK[] ENVELOPE BODYSTRUCTURE)', 'UID FETCH 1:* BODY[]',
    'UID FETCH 1:* (PREVIEW THREADID BINARY.PEEK[1] BODY.PEEK[HEADER])', 'UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)',
    'UID STORE 1:* +FLAGS.SILENT (a)', 'UID STORE 1:* (UNCHANGEDSINCE 5) -FLAGS (a)', 'UID COPY 1:20 Other', 'UID MOVE 1:5 Other', 'UID EXPUNGE 1:*',
    'EXPUNGE', 'APPEND INBOX {10}\r\naaaaaaaaaa', 'APPEND INBOX {20+}\r\naaaaaaaaaa', 'APPEND INBOX {10+}\r\naaaaa: b\r\n',
    'REPLACE 1 INBOX {10+}\r\naaaaa: b\r\n', 'UID REPLACE 5 Other {100+}\r\naa']


def fill_inbox(host, count):
    """Mail of the corpus, and answers to answers."""
    raws = [raw for _, raw in mails.corpus()][:40]
    raws += [b'Subject: s%d\r\nMessage-ID: <%d@x>\r\nReferences: <%d@x>\r\n\r\nbody\r\n' % (n % 7, n, n // 2) for n in range(count)]
    with imap.login(host, 'alice') as connection:
        connection.command('CREATE Other')
        for raw in raws:
            connection.append('INBOX', raw)


def break_off(host, chance):
    """One session: some commands without waiting for the answers, and then nothing more."""
    with imap.Connection(host, 'imaps' if chance.random() < 0.3 else 'imap') as connection:
        connection.command(f'LOGIN {host.address("alice")} {host.passwords["alice"]}')
        if chance.random() < 0.3:
            connection.command('COMPRESS DEFLATE')
            connection.start_deflate()
        if chance.random() < 0.8:
            connection.command('SELECT INBOX')
        for _ in range(chance.randrange(1, 6)):
            connection.send_command(chance.choice(ABRUPT))
            if chance.random() < 0.3:
                connection.socket.settimeout(chance.choice([0.01, 0.1]))  # of an answer, as much as there is
                with contextlib.suppress(TimeoutError):
                    connection.socket.recv(chance.randrange(1, 10000))
        if chance.random() < 0.2:
            connection.half_close()


def break_off_often(host, chance, count, broken, is_stopping):
    """What is cut is no fault; once the server is being stopped, a session that does not come about is none either."""
    for _ in range(count):
        try:
            break_off(host, chance)
        except (wire.Closed, OSError, imap.Refused, zlib.error):
            if is_stopping.is_set():
                return
        broken.release()


@pytest.mark.parametrize('is_stopped', (False, True))
def test_sessions_that_break_off(make_host, is_full, is_stopped):
    seed, count = chances.seed(short=1), 400 if is_full else 15
    host = make_host()
    fill_inbox(host, 1000 if is_full else 100)
    broken, is_stopping = threading.Semaphore(0), threading.Event()
    works = [lambda n=n: break_off_often(host, random.Random(f'{seed}{n}'), count, broken, is_stopping) for n in range(8)]

    def stop():
        for _ in range(count * 4):  # of eight times as many
            assert broken.acquire(timeout=100)
        is_stopping.set()
        host.stop()
    beside(works + [stop] * is_stopped)
    if is_stopped:
        host.start()
    player = Player(host, imapmodel.Facts(), 'afterwards', random.Random(seed))
    player.do_append()
    Control(host).compare(player)
    host.stop()
    host.run('fsck')
