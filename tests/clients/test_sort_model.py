"""SORT and THREAD compared with a slow model, over random mailboxes and random programs [RFC5256 3] [RFC5957 4] [RFC5267 3.1].

The model follows the RFC's words step by step, on trees of objects; it has no rank, no column and no table of numbers.
"""
import base64
import datetime
import os
import random
import re
import unicodedata

from harness import imap

WORDS = ['alpha', 'Beta', 'beta', 'gamma_ray', 'Gamma^x', 'delta [9]', 'Ärger', 'ärger', 'zażółć', 'Ж', 'ж', 'ﬁn', 'Straße', 'a', '']
NAMES = ['Zoe', 'anna', 'Änne', 'Bob B.', '', None]
MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()
BLOB, REFWD = r'\[[^\[\]]*\] *', r'(?:re|fwd?) *(?:\[[^\[\]]*\] *)?:'


def casemap(text):
    """i;unicode-casemap [RFC5051 2]."""
    out = ''
    for c in text:
        title = c.title() if len(c.title()) == 1 else c
        out += title if '\uac00' <= title <= '\ud7a3' else unicodedata.normalize('NFKD', title)
    return out.encode()


def base_subject(subject):
    """(the base subject, whether it is one of a reply or a forward) [RFC5256 2.1, 5]."""
    text, is_reply = re.sub(r'[ \t\r\n]+', ' ', subject), False
    while True:
        while True:
            trailer = re.search(r'(?i)(\(fwd\)| )$', text)
            if not trailer:
                break
            is_reply |= trailer[1] != ' '
            text = text[:trailer.start()]
        while True:
            leader = re.match(rf'(?i)((?:{BLOB})*{REFWD}| )', text)
            if leader:
                is_reply |= leader[1] != ' '
                text = text[leader.end():]
                continue
            blob = re.match(BLOB, text)
            if blob and text[blob.end():]:
                text = text[blob.end():]
                continue
            break
        if not (text[:5].lower() == '[fwd:' and text.endswith(']')):
            return text, is_reply
        is_reply, text = True, text[5:-1]


class Message:
    def __init__(self, chance, number, ids):
        pick = chance.choice
        self.number, self.uid = number, None
        self.received = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc) + datetime.timedelta(seconds=chance.randrange(30) * 7200)
        self.subject = pick(['', '', 'Re: ', 'RE:  fwd: ', '[list] ', 'Fw[2]: [x] ']) + pick(WORDS) + pick(['', '', '', ' (fwd)', '  two'])
        if chance.random() < 0.05:
            self.subject = f'[fwd: {self.subject}]'
        self.zone = pick([0, 0, 330, -480])
        self.sent = self.received + datetime.timedelta(minutes=chance.randrange(-100, 100)) if chance.random() < 0.9 else None
        self.addresses = {field: [(pick(NAMES), pick(['x', 'Y', 'ze', 'q_']), 'example.test') for _ in range(chance.randrange(3))]
                          for field in ('From', 'To', 'Cc')}
        self.id = pick(ids) if chance.random() < 0.1 else f'm{number}@x' if chance.random() < 0.95 else None
        self.references, self.in_reply_to = [], []
        if chance.random() < 0.5:
            self.references = [pick(ids) for _ in range(chance.randrange(1, 5))]
        if chance.random() < 0.3:
            self.in_reply_to = [pick(ids), pick(ids)]
        self.padding = chance.randrange(5)

    def raw(self):
        def encoded(text):
            return text if text.isascii() else f'=?utf-8?b?{base64.b64encode(text.encode()).decode()}?='
        lines = [f'Subject: {encoded(self.subject)}']
        if self.sent:
            local = self.sent + datetime.timedelta(minutes=self.zone)
            sign, minutes = '+-'[self.zone < 0], abs(self.zone)
            lines += [f'Date: {local.day} {MONTHS[local.month - 1]} {local.year} {local:%H:%M:%S} {sign}{minutes // 60:02}{minutes % 60:02}']
        for field, found in self.addresses.items():
            if found:
                lines += [f'{field}: ' + ', '.join((f'"{n}" ' if n.isascii() else encoded(n) + ' ') + f'<{m}@{h}>' if n is not None
                                                    else f'{m}@{h}' for n, m, h in found)]
        if self.id:
            lines += [f'Message-ID: <{self.id}>']
        if self.references:
            lines += ['References: ' + '\r\n '.join(f'<{r}>' for r in self.references)]
        if self.in_reply_to:
            lines += ['In-Reply-To: ' + ' '.join(f'<{r}>' for r in self.in_reply_to)]
        return ('\r\n'.join(lines) + '\r\n\r\n' + 'x' * self.padding + '\r\n').encode()

    def date(self):
        return self.sent.replace(microsecond=0) if self.sent else self.received

    def key(self, name):
        first = {'DISPLAYFROM': 'From', 'DISPLAYTO': 'To', 'FROM': 'From', 'TO': 'To', 'CC': 'Cc'}.get(name)
        if name == 'ARRIVAL':
            return self.received
        if name == 'SIZE':
            return len(self.raw())
        if name == 'DATE':
            return self.date()
        if name == 'SUBJECT':
            return casemap(base_subject(self.subject)[0])
        if not self.addresses[first]:
            return b''
        who, mailbox, host = self.addresses[first][0]
        return casemap((who or f'{mailbox}@{host}') if name.startswith('DISPLAY') else mailbox)

    def ids(self):
        return self.references or self.in_reply_to[:1]


def in_order(messages, criteria):
    """By each criterion from the last one on: Python's sort keeps what is equal where it is."""
    found = sorted(messages, key=lambda m: m.number)
    for name, is_reverse in reversed(criteria):
        found.sort(key=lambda m: m.key(name), reverse=is_reverse)
    return found


# --- trees ----------------------------------------------------------------------------------------

class Node:
    def __init__(self, message=None):
        self.message, self.parent, self.children = message, None, []

    def is_below(self, other):
        node = self
        while node and node is not other:
            node = node.parent
        return node is other

    def leave(self):
        if self.parent:
            self.parent.children.remove(self)
        self.parent = None

    def join(self, parent):
        if not parent.is_below(self):
            self.parent = parent
            parent.children.append(self)

    def first(self):
        """What it is sorted by."""
        return self if self.message else min(self.children, key=lambda c: (c.message.date(), c.message.number))

    def place(self):
        return self.first().message.date(), self.first().message.number

    def subject(self):
        return casemap(base_subject(self.first().message.subject)[0])

    def is_reply(self):
        return bool(self.message) and base_subject(self.message.subject)[1]


def linked(messages):
    """Steps 1 to 3."""
    table, nodes = {}, []
    for message in messages:
        node = Node(message)
        nodes.append(node)
        if message.id and message.id not in table:
            table[message.id] = node
    for node in list(nodes):
        before = None
        for name in node.message.ids():
            if name not in table:
                table[name] = Node()
                nodes.append(table[name])
            if before and not table[name].parent:
                table[name].join(before)
            before = table[name]
        node.leave()
        if before:
            node.join(before)
    root = Node()
    for node in nodes:
        if not node.parent:
            node.join(root)
    prune(root, True)
    return root


def prune(node, is_root):
    for child in list(node.children):
        prune(child, False)
        if child.message or (is_root and len(child.children) > 1):
            continue
        for below in list(child.children):
            below.leave()
            below.join(node)
        child.leave()


def merge(root):
    """Step 5."""
    table = {}
    for node in sorted(root.children, key=Node.place):
        subject = node.subject()
        here = table.get(subject)
        if subject and (not here or (here.message and (not node.message or (here.is_reply() and not node.is_reply())))):
            table[subject] = node
    for node in sorted(root.children, key=Node.place):
        subject = node.subject()
        here = table.get(subject)
        if not subject or here is node or node.parent is not root:
            continue
        node.leave()
        if not here.message and not node.message:
            for below in list(node.children):
                below.leave()
                below.join(here)
        elif not here.message or (node.is_reply() and not here.is_reply()):
            node.join(here)
        else:
            here.leave()
            table[subject] = both = Node()
            both.join(root)
            here.join(both)
            node.join(both)


def newest(node):
    return max([node.message.date()] if node.message else [], default=datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)) \
        if not node.children else max([newest(c) for c in node.children] + ([node.message.date()] if node.message else []))


def written(node, number):
    """What stands inside the parentheses of a list that begins with this node."""
    below = sorted(node.children, key=Node.place)
    here = [str(number(node.message))] if node.message else []
    if len(below) == 1:
        return ' '.join(here + [written(below[0], number)])
    nested = ''.join(f'({written(c, number)})' for c in below)
    return ' '.join(here + [nested]) if nested else here[0]


def threads(kind, messages, number):
    messages = sorted(messages, key=lambda m: m.number)
    if kind == 'ORDEREDSUBJECT':
        groups = {}
        for message in in_order(messages, [('SUBJECT', False), ('DATE', False)]):
            groups.setdefault(message.key('SUBJECT'), []).append(Node(message))
        for first, *others in groups.values():
            for other in others:
                other.join(first)
        found = [group[0] for group in groups.values()]
    else:
        root = linked(messages)
        if kind == 'REFERENCES':
            merge(root)
        found = root.children
    key = (lambda n: (newest(n), n.place()[1])) if kind == 'REFS' else Node.place
    return ''.join(f'({written(node, number)})' for node in sorted(found, key=key))


# --- the comparison -------------------------------------------------------------------------------

def fill(connection, chance, messages, count):
    ids = [f'm{n}@x' for n in range(1, 40)] + [f'gone{n}@x' for n in range(8)]
    for _ in range(count):
        message = Message(chance, len(messages) + 1, ids)
        messages.append(message)
        raw, when = message.raw(), f'{message.received:%d-%b-%Y %H:%M:%S} +0000'
        connection.command(f'APPEND INBOX ({"$Work" if message.padding == 0 else ""}) "{when}" {{{len(raw)}+}}\r\n'.encode() + raw)


def answer(connection, command, name):
    _, untagged = connection.command(command)
    found = [u for u in untagged if u.startswith(b'* ' + name)]
    assert len(found) == 1, untagged
    return found[0][len(name) + 2:].decode().strip()


def compare(connection, chance, messages):
    keys = ['ARRIVAL', 'CC', 'DATE', 'FROM', 'SIZE', 'SUBJECT', 'TO', 'DISPLAYFROM', 'DISPLAYTO']
    for _ in range(12):
        criteria = [(chance.choice(keys), chance.random() < 0.3) for _ in range(chance.randrange(1, 4))]
        sent = ' '.join(('REVERSE ' if r else '') + k for k, r in criteria)
        which, hits = chance.choice([('ALL', messages), ('KEYWORD $Work', [m for m in messages if m.padding == 0])])
        expected = in_order(hits, criteria)
        assert answer(connection, f'SORT ({sent}) UTF-8 {which}', b'SORT') == ' '.join(str(m.number) for m in expected), sent
        assert answer(connection, f'UID SORT ({sent}) UTF-8 {which}', b'SORT') == ' '.join(str(m.uid) for m in expected), sent
        got = answer(connection, f'UID SORT RETURN (MIN MAX COUNT PARTIAL 2:5) ({sent}) UTF-8 {which}', b'ESEARCH')
        if expected:
            assert f'MIN {expected[0].uid} MAX {expected[-1].uid} COUNT {len(expected)} PARTIAL (2:5 ' in got
            assert unfold(got.split('(2:5 ')[1][:-1]) == [m.uid for m in expected[1:5]]
            got = answer(connection, f'SORT RETURN () ({sent}) UTF-8 {which}', b'ESEARCH')
            assert unfold(got.split(' ALL ')[1]) == [m.number for m in expected]
    for kind in ['ORDEREDSUBJECT', 'REFERENCES', 'REFS']:
        for which, hits in [('ALL', messages), ('KEYWORD $Work', [m for m in messages if m.padding == 0])]:
            assert answer(connection, f'THREAD {kind} UTF-8 {which}', b'THREAD') == threads(kind, hits, lambda m: m.number)
            assert answer(connection, f'UID THREAD {kind} UTF-8 {which}', b'THREAD') == threads(kind, hits, lambda m: m.uid)


def unfold(numbers):
    found = []
    for part in numbers.split(',') if numbers != 'NIL' else []:
        first, _, last = part.partition(':')
        assert not last or int(first) < int(last)
        found += range(int(first), int(last or first) + 1)
    return found


def test_random_mailboxes(penfold_server, is_full):
    seed = int.from_bytes(os.urandom(4), 'big')
    chance = random.Random(seed)
    print('seed', seed)
    for _ in range(30 if is_full else 5):
        connection, messages = imap.login(penfold_server, 'alice'), []
        connection.command('SELECT INBOX')
        connection.command('STORE 1:* +FLAGS.SILENT (\\Deleted)', ok=False)
        connection.command('EXPUNGE')
        for _ in range(4): # what was learned before goes on
            fill(connection, chance, messages, chance.randrange(1, 25))
            connection.command('SELECT INBOX')
            uids = [int(u) for u in answer(connection, 'UID SEARCH ALL', b'SEARCH').split()]
            for message, uid in zip(messages, uids):
                message.uid = uid
            compare(connection, chance, messages)
        connection.close()
