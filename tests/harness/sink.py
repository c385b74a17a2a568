"""A host that takes mail, for tests: SMTP or LMTP on loopback, with whatever manners the test gives it."""
import base64
import contextlib
import os
import re
import socket
import threading
import time

PATIENCE = 60


class Mail:
    """One message that was taken, or tried."""

    def __init__(self, sender, parameters):
        self.sender, self.parameters = sender, parameters
        self.recipients, self.rcpt_parameters, self.data = [], [], b''

    def header(self, name):
        """The value of a field, unfolded; None when there is none."""
        head = re.sub(rb'\r\n[ \t]+', b' ', self.data.split(b'\r\n\r\n', 1)[0])
        found = re.search(rb'^' + name.encode() + rb':[ \t]*(.*?)\r?$', head, re.M | re.I)
        return found[1].decode('utf-8', 'replace') if found else None


class Sink:
    """Listens at once. Set `rcpt`, `data`, `mail`, `greeting` to functions or texts that answer; see below."""

    def __init__(self, address='127.0.0.1', port=0, lmtp=False, path=None, login=None, offers=('PIPELINING', '8BITMIME', 'SIZE 52428800',
                 'CHUNKING', 'DSN', 'SMTPUTF8', 'ENHANCEDSTATUSCODES')):
        self.address, self.port, self.path = address, port, path
        self.lmtp, self.login, self.offers = lmtp, login, offers
        self.greeting = '220 sink.test ESMTP'
        self.mail = lambda sender: '250 2.1.0 ok'
        self.rcpt = lambda address: '250 2.1.5 ok'
        self.data = lambda mail: '250 2.0.0 taken'  # for LMTP: of each recipient; None closes without an answer
        self.messages, self.tried, self.logins, self.sessions, self.most = [], [], [], 0, 0
        self.hello, self.open, self.lock, self.changed = [], 0, threading.RLock(), None
        self.changed = threading.Condition(self.lock)
        self.listener = None
        self.connections = set()
        self.start()

    def start(self):
        if self.path:
            self.listener = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)
            self.listener.bind(self.path)
        else:
            self.listener = socket.socket(socket.AF_INET6 if ':' in self.address else socket.AF_INET)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((self.address, self.port))
            self.port = self.listener.getsockname()[1]
        self.listener.listen(512)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Nobody is there any more; start() on the same port comes back."""
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in list(self.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, count, seconds=PATIENCE):
        """Until so many recipients have been served; they stay in `messages`."""
        end = time.monotonic() + seconds
        with self.lock:
            while self.taken() < count:
                left = end - time.monotonic()
                assert left > 0, f'{self.taken()} recipients instead of {count} after {seconds} s'
                self.changed.wait(left)

    def taken(self):
        return sum(len(m.recipients) for m in self.messages)

    def accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def session(self, connection):
        return Session(self, connection)

    def serve(self, connection):
        with self.lock:
            self.connections.add(connection)
            self.sessions += 1
            self.open += 1
            self.most = max(self.most, self.open)
        session = self.session(connection)
        try:
            session.run()
        except (OSError, EOFError):
            pass
        finally:
            with self.lock:
                self.connections.discard(connection)
                self.open -= 1
            with contextlib.suppress(OSError):
                session.connection.close()  # another one, once it speaks TLS
            connection.close()


class Session:
    def __init__(self, sink, connection):
        self.sink, self.connection = sink, connection
        self.file = connection.makefile('rb')
        self.current = None
        self.good = []

    def say(self, text):
        if text is None:
            raise EOFError
        self.connection.sendall(text.encode() + b'\r\n')

    def line(self):
        line = self.file.readline()
        if not line.endswith(b'\r\n'):
            raise EOFError
        return line[:-2].decode('utf-8', 'surrogateescape')

    def run(self):
        greeting = self.sink.greeting() if callable(self.sink.greeting) else self.sink.greeting
        self.say(greeting)
        if not greeting.startswith('220'):
            return
        while True:
            line = self.line()
            verb = line.split(' ', 1)[0].upper()
            if verb == 'QUIT':
                self.say('221 2.0.0 bye')
                return
            getattr(self, f'on_{verb.lower()}', self.unknown)(line)

    def unknown(self, line):
        self.say('500 5.5.1 what?')

    def on_ehlo(self, line):
        with self.sink.lock:
            self.sink.hello.append(line)
        offers = [*self.sink.offers, *(['AUTH PLAIN LOGIN'] if self.sink.login else [])]
        lines = ['sink.test', *offers]
        self.say('\r\n'.join(f'250{" " if i == len(lines) - 1 else "-"}{text}' for i, text in enumerate(lines)))

    on_lhlo = on_ehlo

    def on_helo(self, line):
        self.say('250 sink.test')

    def on_auth(self, line):
        words = line.split(' ')
        if words[1].upper() == 'PLAIN':
            if len(words) < 3:
                self.say('334 ')
                words.append(self.line())
            user, password = base64.b64decode(words[2]).split(b'\0')[1:]
        else:
            self.say('334 VXNlcm5hbWU6')
            user = base64.b64decode(self.line())
            self.say('334 UGFzc3dvcmQ6')
            password = base64.b64decode(self.line())
        given = (user.decode(), password.decode())
        with self.sink.lock:
            self.sink.logins.append(given)
        self.say('235 2.7.0 welcome' if given == self.sink.login else '535 5.7.8 no')

    def on_mail(self, line):
        found = re.fullmatch(r'MAIL FROM:<(.*?)>(.*)', line, re.I)
        self.current, self.good = Mail(found[1], found[2].split()), []
        reply = self.sink.mail(found[1])
        if not reply.startswith('250'):
            self.current = None
        self.say(reply)

    def on_rcpt(self, line):
        found = re.fullmatch(r'RCPT TO:<(.*?)>(.*)', line, re.I)
        with self.sink.lock:
            self.sink.tried.append(found[1])
        reply = self.sink.rcpt(found[1]) if self.current else '503 5.5.1 MAIL first'
        if reply and reply.startswith('250'):
            self.current.recipients.append(found[1])
            self.current.rcpt_parameters.append(found[2].split())
        self.say(reply)

    def on_rset(self, line):
        self.current = None
        self.say('250 2.0.0 ok')

    on_noop = on_rset

    def on_data(self, line):
        if not self.current or not self.current.recipients:
            self.say('503 5.5.1 no recipients')
            return
        self.say('354 go')
        lines = []
        while (text := self.file.readline()) != b'.\r\n':
            if not text.endswith(b'\n'):
                raise EOFError
            lines.append(text[1:] if text.startswith(b'.') else text)
        self.finish(b''.join(lines))

    def on_bdat(self, line):
        words = line.split()
        data = self.file.read(int(words[1]))
        if len(data) < int(words[1]):
            raise EOFError
        if not self.current or not self.current.recipients:
            self.say('503 5.5.1 no recipients')
            return
        self.current.data += data
        if words[-1].upper() == 'LAST':
            self.finish(self.current.data)
        else:
            self.say('250 2.0.0 more')

    def finish(self, data):
        mail, self.current = self.current, None
        mail.data = data
        for_each = mail.recipients if self.sink.lmtp else [None]
        replies = [self.sink.data(mail) if r is None else self.sink.data(mail) for r in for_each]
        if all(reply and reply.startswith('250') for reply in replies):
            with self.sink.lock:
                self.sink.messages.append(mail)
                self.sink.changed.notify_all()
        for reply in replies:
            self.say(reply)


def dead_port():
    """A port of loopback that refuses."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]
