"""An IMAP client for tests that believes nothing: it keeps its own model of a mailbox from the responses alone, and says so
when a response cannot be true."""
import re

from harness import wire

LITERAL = re.compile(rb'\{(\d+)\}$')
FETCH = re.compile(rb'\* (\d+) FETCH \((.*)\)$', re.S)
NO_EXPUNGE = ('FETCH', 'STORE', 'SEARCH')


class Refused(AssertionError):
    """A tagged NO or BAD."""


class Connection(wire.Wire):
    """Commands and whole responses, literals included."""

    def __init__(self, host, service='imap', **options):
        super().__init__(host.port(service), tls=service == 'imaps', timeout=60, **options)
        self.number, self.greeting = 0, self.response()

    def read(self, n):
        while len(self.rest) < n:
            more = self.socket.recv(65536)
            if not more:
                raise wire.Closed('closed in the middle of a literal')
            self.rest += more
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def response(self):
        """One response as bytes, without its last CRLF."""
        whole = b''
        while True:
            while b'\r\n' not in self.rest:
                more = self.socket.recv(65536)
                if not more:
                    raise wire.Closed(f'closed by the server; left over: {self.rest[:200]!r}')
                self.rest += more
            line, self.rest = self.rest.split(b'\r\n', 1)
            literal = LITERAL.search(line)
            whole += line
            if not literal:
                return whole
            whole += b'\r\n' + self.read(int(literal[1]))

    def send_command(self, text):
        self.number += 1
        tag = b'a%d' % self.number
        self.send(tag + b' ' + (text.encode() if isinstance(text, str) else text) + b'\r\n')
        return tag

    def answer(self, tag, untagged):
        """Responses up to the tagged one go to untagged(); the rest of the tagged one."""
        while True:
            got = self.response()
            if got.startswith(tag + b' '):
                return got[len(tag) + 1:]
            assert got.startswith((b'* ', b'+ ')), f'neither untagged nor ours: {got!r}'
            untagged(got)

    def command(self, text, ok=True):
        """(the tagged response's rest, [untagged])."""
        found = []
        answer = self.answer(self.send_command(text), found.append)
        if ok and not answer.startswith(b'OK'):
            raise Refused(f'{text!r}: {answer!r}')
        return answer, found

    def append(self, mailbox, message, flags='', ok=True):
        return self.command(b'APPEND %s (%s) {%d+}\r\n' % (mailbox.encode(), flags.encode(), len(message)) + message, ok)


def login(host, user, service='imap', **options):
    connection = Connection(host, service, **options)
    connection.command(f'LOGIN {host.address(user)} {host.passwords[user]}')
    return connection


class Message:
    def __init__(self):
        self.uid, self.flags = None, None


class Mirror:
    """A selected mailbox, from the responses alone: what is known of each sequence number.

    saw(uid, flags): called with each state of a message as it is told.
    """

    def __init__(self, connection, mailbox='INBOX', saw=None):
        self.connection, self.saw = connection, saw or (lambda uid, flags: None)
        self.messages, self.verb, self.gone = [], None, set()
        self.command(f'SELECT {mailbox}')
        self.fill()

    def fill(self):
        """Asks for what is not known."""
        while unknown := [n for n, m in enumerate(self.messages, 1) if m.uid is None or m.flags is None]:
            self.command(f'FETCH {unknown[0]}:{unknown[-1]} (UID FLAGS)')
            assert all(m.uid is not None and m.flags is not None for m in self.messages[unknown[0] - 1:unknown[-1]])
        uids = [m.uid for m in self.messages if m.uid is not None]
        assert uids == sorted(set(uids)), 'UIDs that do not grow'

    def command(self, text, ok=True):
        self.verb = text.split()[0].upper()
        tag = self.connection.send_command(text)
        answer = self.connection.answer(tag, self.take)
        self.verb = None
        if ok and not answer.startswith(b'OK'):
            raise Refused(f'{text!r}: {answer!r}')
        return answer

    def take(self, got):
        word = got.split(b' ', 2)
        if len(word) == 3 and word[1].isdigit() and word[2] == b'EXISTS':
            self.exists(int(word[1]))
        elif len(word) == 3 and word[1].isdigit() and word[2] == b'EXPUNGE':
            self.expunge(int(word[1]))
        elif found := FETCH.match(got):
            self.fetch(int(found[1]), found[2])

    def exists(self, count):
        if self.verb in ('SELECT', 'EXAMINE'):
            self.messages = []
        assert count >= len(self.messages), f'EXISTS {count}, and {len(self.messages)} were known [RFC3501 7.3.1] [RFC9051 7.4.1]'
        self.messages += [Message() for _ in range(count - len(self.messages))]

    def expunge(self, number):
        assert self.verb, 'EXPUNGE without a command [RFC3501 7.4.1] [RFC9051 7.5.1]'
        assert self.verb not in NO_EXPUNGE, f'EXPUNGE during {self.verb} [RFC3501 7.4.1] [RFC9051 7.5.1]'
        assert 1 <= number <= len(self.messages), f'EXPUNGE {number} of {len(self.messages)}'
        message = self.messages.pop(number - 1)
        if message.uid is not None:
            self.gone.add(message.uid)

    def fetch(self, number, items):
        assert 1 <= number <= len(self.messages), f'FETCH {number} of {len(self.messages)}'
        message = self.messages[number - 1]
        uid = re.search(rb'\bUID (\d+)', items)
        flags = re.search(rb'FLAGS \(([^)]*)\)', items)
        if uid:
            assert message.uid in (None, int(uid[1])), f'message {number} was UID {message.uid} and is {int(uid[1])}'
            assert int(uid[1]) not in self.gone, f'UID {int(uid[1])} was expunged and is there again'
            message.uid = int(uid[1])
        if flags:
            message.flags = frozenset(flags[1].decode().split())
            if message.uid is not None:
                self.saw(message.uid, message.flags)

    def state(self):
        return {m.uid: m.flags for m in self.messages}

    def idle_until(self, is_done, most=100):
        """IDLE until is_done() after some response."""
        self.verb = 'IDLE'
        tag = self.connection.send_command('IDLE')
        for _ in range(most):
            self.take(self.connection.response())
            if is_done():
                break
        self.connection.send('DONE\r\n')
        answer = self.connection.answer(tag, self.take)
        self.verb = None
        assert answer.startswith(b'OK'), answer


# --- what an account holds ---------------------------------------------------------------------------------------------------

LISTED = re.compile(rb'\* LIST \(([^)]*)\) (?:"/"|NIL) (.*)$', re.S)
UID_FLAGS = re.compile(rb'\* \d+ FETCH \((?=.*\bUID (\d+))(?=.*FLAGS \(([^)]*)\))')
BODY = re.compile(rb'BODY\[\] \{\d+\}\r\n')


class Held:
    """One message of a mailbox: uid, flags (a frozenset of words), data (its bytes, with the trace fields of delivery)."""

    def __init__(self, uid, flags, data):
        self.uid, self.flags, self.data = uid, flags, data

    @property
    def subject(self):
        found = re.search(rb'^Subject: ?(.*?)\r$', self.data, re.M)
        return found[1].decode('utf-8', 'replace') if found else ''

    def __repr__(self):
        return f'{self.uid} {self.subject!r} ({" ".join(sorted(self.flags))})'


def quoted(name):
    return name if name.startswith('"') else '"' + name.replace('\\', '\\\\').replace('"', '\\"') + '"'


def mailboxes(connection):
    """{name as it is on the wire: its attributes}."""
    found = {}
    for line in connection.command('LIST "" "*"')[1]:
        if listed := LISTED.match(line):
            name = listed[2]
            if name.startswith(b'{'):
                name = name.split(b'\r\n', 1)[1]
            elif name.startswith(b'"'):
                name = name[1:-1].replace(b'\\"', b'"').replace(b'\\\\', b'\\')
            found[name.decode()] = frozenset(listed[1].decode().split())
    return found


def held(connection, mailbox='INBOX'):
    """What a mailbox holds, in order: EXAMINE and FETCH, so that nothing changes by looking."""
    connection.command(f'EXAMINE {quoted(mailbox)}')
    found = []
    for line in connection.command('UID FETCH 1:* (UID FLAGS BODY.PEEK[])')[1]:
        if b' FETCH (' in line and (body := BODY.search(line)):
            start, size = body.end(), int(body[0][8:-3])
            known = UID_FLAGS.match(line[:body.start()] + line[start + size:])
            found.append(Held(int(known[1]), frozenset(known[2].decode().split()), line[start:start + size]))
    connection.command('UNSELECT')
    return found


def holds(host, user, mailbox='INBOX'):
    with login(host, user) as connection:
        return held(connection, mailbox)


def holds_all(host, user):
    """{mailbox: [Held]} of every mailbox that can be opened."""
    with login(host, user) as connection:
        return {name: held(connection, name) for name, attributes in mailboxes(connection).items()
                if not attributes & {'\\Noselect', '\\NonExistent'}}
