"""SEARCH compared with a slow model: random programs over the corpus and over messages made to have every charset and encoding.

The model has Python's email package for headers and bodies, and no index, no page and no short cut. The server is asked without an index
and with one.
"""
import base64
import datetime
import email
import email.header
import email.utils
import glob
import json
import os
import quopri
import random
import re
import time
import unicodedata

import pytest

from harness import imap, mails

# Broken in ways that Python's parser and ours understand differently; tests/corpus/trees.txt is about those.
NOT_COMPARED = re.compile(r'missing|no-boundary|no-header|boundary-prefixes|same-boundary|deep|encoded-message|digest|empty-parts')
CHARSETS = [('us-ascii', 'plain words'), ('utf-8', 'Grüße zażółć 你好 ΣΊΣΥΦΟΣ'), ('iso-8859-1', 'Déjà vu façade Ñandú'),
            ('iso-8859-2', 'zażółć gęślą'), ('windows-1252', 'quoted “words” naïve'), ('koi8-r', 'Здравствуй Мир'),
            ('iso-2022-jp', '日本語テキスト'), ('shift_jis', 'こんにちは世界'), ('gb18030', '中文文本'), ('euc-kr', '한국어')]
FLAGS = ['\\Seen', '\\Answered', '\\Flagged', '\\Deleted', '\\Draft', '$Work', 'urgent']
NAMES = {'SEEN': '\\Seen', 'ANSWERED': '\\Answered', 'FLAGGED': '\\Flagged', 'DELETED': '\\Deleted', 'DRAFT': '\\Draft'}
DAY = datetime.date(2001, 1, 1)
MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()


def fold(text):
    """i;unicode-casemap: each character in title case, then decomposed [RFC5051 2]."""
    mapped = ''
    for c in text:
        title = c.title() if len(c.title()) == 1 else c
        mapped += title if '\uac00' <= title <= '\ud7a3' else unicodedata.normalize('NFKD', title)
    return mapped.replace('\r', '')


ALONE = re.compile('[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]')


def words_of(folded):
    """Of folded text: what a search by words looks for [RFC6203 3]."""
    split = ''.join(f' {c} ' if ALONE.match(c) and unicodedata.category(c)[0] in 'LMN' else c if unicodedata.category(c)[0] in 'LMN' else ' '
                    for c in folded)
    return split.split()


def is_fuzzy(wanted, folded):
    terms = words_of(wanted)
    if not terms:
        return wanted in folded
    words = words_of(folded)
    return all(any(word.startswith(term) for word in words) for term in terms)


def guess(raw):
    """Bytes that claim nothing."""
    try:
        return raw.decode('utf-8')
    except UnicodeDecodeError:
        return raw.decode('cp1252', 'replace')


def decode(raw, charset):
    try:
        if charset.lower() in ('us-ascii', 'utf-8', ''):
            return guess(raw)
        return raw.decode('cp1252' if charset.lower() == 'iso-8859-1' else charset, 'replace')
    except LookupError:
        return guess(raw)


def words(value):
    """A field's value, unfolded, words of RFC 2047 undone."""
    raw = re.sub(rb'\r?\n(?=[ \t])', b'', value.encode('ascii', 'surrogateescape')).strip()
    if b'=?' not in raw:
        return guess(raw)
    return ''.join(decode(part, charset or 'utf-8') if isinstance(part, bytes) else part
                   for part, charset in email.header.decode_header(raw.decode('latin-1')))


class Message:
    def __init__(self, raw, flags, day):
        self.raw, self.flags, self.day, self.number, self.uid = raw, set(flags), day, None, None
        parsed = email.message_from_bytes(raw)
        self.fields = [(name.lower(), words(value)) for name, value in parsed.raw_items()]
        self.body = '\n'.join(self.parts(parsed, is_top=True))
        self.text = '\n'.join(f'{name}: {words(value)}' for name, value in parsed.raw_items()) + '\n' + self.body
        date = next((value for name, value in self.fields if name == 'date'), '')
        found = re.match(r'(?:[A-Za-z]+\s*,?\s*)?(\d{1,2}) ([A-Za-z]{3}) (\d{4})\b', date)
        self.sent = datetime.date(int(found[3]), MONTHS.index(found[2].title()) + 1, int(found[1])) if found else None

    def parts(self, part, is_top=False):
        if not is_top:
            yield '\n'.join(f'{name}: {words(value)}' for name, value in part.raw_items())
        if part.is_multipart():
            for below in part.get_payload():
                yield from self.parts(below)
        elif part.get_content_maintype() == 'text':
            yield decode(part.get_payload(decode=True), part.get_content_charset('') or '')

    def header(self, name):
        return [value for field, value in self.fields if field == name.lower()]


def quoted(text):
    raw = text.encode()
    if raw.isascii() and b'"' not in raw and b'\\' not in raw and b'\n' not in raw:
        return b'"' + raw + b'"'
    return b'{%d+}\r\n' % len(raw) + raw


def date(day):
    return f'{day.day}-{MONTHS[day.month - 1]}-{day.year}'.encode()


class Programs:
    """Random keys: (as sent, what the model thinks of a message)."""

    def __init__(self, seed, messages):
        self.random, self.messages = random.Random(seed), messages
        self.strings = ['zebrafishery', 'e', 'The', 'Grüße']
        for message in messages:
            self.strings += self.random.sample(found := re.findall(r'\w{3,12}', message.text), min(12, len(found)))
            self.strings += self.random.sample(found := re.findall(r'[A-Za-z0-9+/=-]{4,9}', guess(message.raw)), min(4, len(found)))

    def string(self):
        text = self.random.choice(self.strings)
        return ''.join(c.upper() if self.random.random() < 0.3 and len(c.upper()) == 1 else c for c in text)

    def row(self):
        pick, count = self.random.choice, len(self.messages)
        kind = self.random.randrange(7)
        if kind == 0:
            name, has = pick(list(NAMES)), self.random.random() < 0.5
            return ('' if has else 'UN').encode() + name.encode(), lambda m: (NAMES[name] in m.flags) == has
        if kind == 1:
            name = pick(['$Work', 'urgent', 'none'])
            return b'KEYWORD ' + name.encode(), lambda m: name in m.flags
        if kind == 2:
            size = pick([len(m.raw) for m in self.messages])
            return b'LARGER %d' % size, lambda m: len(m.raw) > size
        if kind == 3:
            size = pick([len(m.raw) for m in self.messages])
            return b'SMALLER %d' % size, lambda m: len(m.raw) < size
        if kind == 4:
            day = DAY + datetime.timedelta(self.random.randrange(40))
            word, test = pick([(b'BEFORE ', lambda d: d < day), (b'ON ', lambda d: d == day), (b'SINCE ', lambda d: d >= day)])
            return word + date(day), lambda m: test(m.day)
        a, b = sorted(self.random.choices(range(1, count + 1), k=2))
        if kind == 5:
            return b'%d:%d,%d' % (b, a, count), lambda m: a <= m.number <= b or m.number == count
        uid = self.messages[a - 1].uid
        return b'UID %d:*' % uid, lambda m: m.uid >= uid or m.number == count

    def text(self):
        kind = self.random.randrange(5)
        if kind == 0:
            day = (self.random.choice([m.sent for m in self.messages if m.sent]))
            word, test = self.random.choice([(b'SENTBEFORE ', lambda d: d < day), (b'SENTON ', lambda d: d == day),
                                             (b'SENTSINCE ', lambda d: d >= day)])
            return word + date(day), lambda m: m.sent is not None and test(m.sent)
        text = self.string()
        folded = fold(text)
        if self.random.random() < 0.3:
            return self.fuzzy(kind, ' '.join([text, self.string()][:self.random.randrange(1, 3)]))
        if kind == 1:
            return b'SUBJECT ' + quoted(text), lambda m: any(folded in fold(v) for v in m.header('subject')[:1])
        if kind == 2:
            name = self.random.choice(['Subject', 'from', 'TO', 'Message-ID', 'Content-Type', 'X-Mailer', 'received'])
            text = self.random.choice([text, '', '@', 'mail'])
            folded = fold(text)
            return b'HEADER %s ' % name.encode() + quoted(text), lambda m: any(folded in fold(v) for v in m.header(name))
        if kind == 3:
            return b'BODY ' + quoted(text), lambda m: folded in fold(m.body)
        return b'TEXT ' + quoted(text), lambda m: folded in fold(m.text)

    def fuzzy(self, kind, text):
        folded = fold(text)
        if kind == 1:
            return b'FUZZY SUBJECT ' + quoted(text), lambda m: any(is_fuzzy(folded, fold(v)) for v in m.header('subject')[:1])
        if kind == 2:
            return b'FUZZY HEADER Received ' + quoted(text), lambda m: any(is_fuzzy(folded, fold(v)) for v in m.header('received'))
        if kind == 3:
            return b'FUZZY (BODY ' + quoted(text) + b')', lambda m: is_fuzzy(folded, fold(m.body))
        return b'FUZZY TEXT ' + quoted(text), lambda m: is_fuzzy(folded, fold(m.text))

    def key(self, depth):
        kind = self.random.randrange(8 if depth else 5)
        if kind < 2:
            return self.row()
        if kind < 5:
            return self.text()
        a, in_a = self.key(depth - 1)
        if kind == 5:
            return b'NOT ' + a, lambda m: not in_a(m)
        b, in_b = self.key(depth - 1)
        if kind == 6:
            return b'OR ' + a + b' ' + b, lambda m: in_a(m) or in_b(m)
        return b'(' + a + b' ' + b + b')', lambda m: in_a(m) and in_b(m)


def made():
    """Every charset in every encoding, in the header too."""
    for number, (charset, text) in enumerate(CHARSETS):
        body = (f'{text}\r\nand some more text, {text} again, in line {number}.\r\n' * 3).encode(charset)
        word = base64.b64encode(text.encode(charset)).decode()
        for encoding, encoded in (('8bit', body), ('base64', base64.encodebytes(body).replace(b'\n', b'\r\n')),
                                  ('quoted-printable', quopri.encodestring(body.replace(b'\r\n', b'\n')).replace(b'\n', b'\r\n'))):
            head = (f'Date: {10 + number} Mar 2002 12:00:00 +0200\r\nFrom: Made {number} <made{number}@example.test>\r\n'
                    f'Subject: made =?{charset}?B?{word}?=\r\nMIME-Version: 1.0\r\n')
            kind = f'Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
            yield (head + kind).encode() + encoded
            yield ((head + 'Content-Type: multipart/mixed; boundary="b o"\r\n\r\n--b o\r\n' + kind).encode() + encoded +
                   b'\r\n--b o\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b o--\r\n')


def corpus():
    for path in sorted(glob.glob(os.path.join(mails.TESTS, 'corpus', '*.eml'))):
        if not NOT_COMPARED.search(path):
            with open(path, 'rb') as f:
                yield mails.crlf(f.read())


def fill(connection):
    """The messages of the model, appended; flags and dates by chance."""
    chance, messages = random.Random(7), []
    for raw in [*corpus(), *made(), *(mails.sized(n) for n in (500, 300000))]:
        flags = [f for f in FLAGS if chance.random() < 0.3]
        day = DAY + datetime.timedelta(chance.randrange(40))
        when = f'"{day.day:2}-{MONTHS[day.month - 1]}-{day.year} {chance.randrange(24):02}:59:59 +0000"'
        connection.command(f'APPEND INBOX ({" ".join(flags)}) {when} {{{len(raw)}+}}\r\n'.encode() + raw)
        messages.append(Message(raw, flags, day))
    return messages


def search(connection, command):
    """The numbers of one answer."""
    _, untagged = connection.command(command)
    answers = [u for u in untagged if u.startswith(b'* SEARCH')]
    assert len(answers) == 1, untagged
    return [int(n) for n in answers[0].split()[2:]]


def make_index(host, count):
    host.run('account', 'reindex', host.address('alice'))
    while json.loads(host.run('account', 'show', host.address('alice'), '--json'))[0]['indexed'] < count:
        time.sleep(0.1)


@pytest.mark.parametrize('has_index', [False, True], ids=['without-index', 'with-index'])
def test_random_programs(make_host, is_full, has_index):
    host = make_host(settings='imap { append_8bit = any }\n')  # mails as they are, not as they should be
    connection = imap.login(host, 'alice')
    messages = fill(connection)
    if has_index:
        make_index(host, len(messages))
    connection.command('SELECT INBOX')
    uids = search(connection, 'UID SEARCH ALL')
    assert len(uids) == len(messages)
    for number, (message, uid) in enumerate(zip(messages, uids), 1):
        message.number, message.uid = number, uid
    seed = int.from_bytes(os.urandom(4), 'big')
    programs, faults, hits = Programs(seed, messages), [], 0
    for _ in range(3000 if is_full else 400):
        sent, is_in = programs.key(3)
        expected = [m for m in messages if is_in(m)]
        hits += len(expected)
        got = search(connection, b'SEARCH CHARSET UTF-8 ' + sent)
        if got != [m.number for m in expected]:
            faults.append((sent, got, [m.number for m in expected]))
        assert search(connection, b'UID SEARCH CHARSET UTF-8 ' + sent) == [messages[n - 1].uid for n in got]
    for sent, got, expected in faults[:10]:
        differ = sorted(set(got) ^ set(expected))
        print(sent, 'only here:', sorted(set(got) - set(expected)), 'only there:', sorted(set(expected) - set(got)),
              messages[differ[0] - 1].raw[:300])
    assert not faults, f'{len(faults)} programs, seed {seed}'
    assert hits > 1000
