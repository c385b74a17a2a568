"""Collects and runs the transcripts; README.md describes their language."""
import ast
import base64
import os
import re
import signal
import tempfile

import pytest

from harness import mails, wire
from harness.host import Host

HERE = os.path.dirname(os.path.abspath(__file__))
STEP = re.compile(r'(C\d*|S\d*): ?(.*)')
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\s*\*\s*(\d+))?\s*')


def pytest_collect_file(file_path, parent):
    if file_path.suffix == '.txt' and HERE in str(file_path):
        return Transcript.from_parent(parent, path=file_path)
    return None


class Transcript(pytest.File):
    def collect(self):
        lines = self.path.read_text(encoding='utf-8').split('\n')
        if self.config.getoption('--store') != 'local' and any(line.startswith('only local') for line in lines):
            return
        yield Run.from_parent(self, name=f'{self.path.stem}-plain', lines=lines, slowly=False)
        if not any(line.startswith('only plain') for line in lines):
            yield Run.from_parent(self, name=f'{self.path.stem}-bytes', lines=lines, slowly=True)


class DialogError(AssertionError):
    pass


class Run(pytest.Item):
    def __init__(self, *, lines, slowly, **options):
        super().__init__(**options)
        self.lines, self.slowly = lines, slowly
        self.wires, self.pending, self.found = {}, {}, {}

    def runtest(self):
        settings = [line[5:].strip() for line in self.lines if line.startswith('with ')]
        self.host = own_host(self.config, '\n'.join(settings)) if settings else shared_host(self.config)
        number = 0
        self.number = 0
        text = '\n'.join(self.lines)
        try:
            for user in ('alice', 'bob'):
                if f'<{user}@' in text or f'deliver {user}' in text or f'mailbox {user}' in text:
                    wire.messages(self.host, user, delete=True)
            for number, line in enumerate(self.lines, 1):
                self.number = number
                line = line.split('#')[0].rstrip() if not line.startswith(('C', 'S', 'raw')) else line
                if line:
                    self.step(line)
            self.flush()
        except (AssertionError, OSError) as error:
            if self.host.process.poll() is not None:
                raise DialogError(f'line {number}: the server is gone\n{self.host.log_tail()}') from error
            raise DialogError(f'line {number}: {self.lines[number - 1]}\n  {type(error).__name__}: {error}') from error
        finally:
            for connection in self.wires.values():
                connection.close()
        self.host.check_log()

    def repr_failure(self, excinfo, style=None):
        if isinstance(excinfo.value, DialogError):
            return f'{self.path}: {excinfo.value}'
        return super().repr_failure(excinfo, style)

    def reportinfo(self):
        return self.path, 0, self.name

    # --- steps ---------------------------------------------------------------------------------------------------

    def step(self, line):
        spoken = STEP.fullmatch(line)
        if spoken and spoken[1][0] == 'C':
            self.queue(spoken[1], (self.fill(spoken[2]) + '\r\n').encode())
            return
        if spoken:
            name = 'C' + spoken[1][1:]
            self.flush()
            self.expect_line(self.wires[name].line(), self.fill(spoken[2]))
            return
        name = 'C'
        at = re.search(r'\s@(C\d+)$', line)
        if at:
            name, line = at[1], line[:at.start()]
        word, _, rest = line.partition(' ')
        if word in ('raw', 'repeat', 'send-file'):
            self.queue(name, getattr(self, 'bytes_' + word.replace('-', '_'))(rest))
            return
        self.flush()
        method = getattr(self, 'do_' + word.replace('-', '_'), None)
        assert method, f'no such directive: {word}'
        method(name, rest.strip())

    def fill(self, text):
        for user, password in self.host.passwords.items():
            name = self.host.address(user)
            for what, value in (('plain', f'\0{name}\0{password}'), ('name', name), ('word', password)):
                text = text.replace(f'${what}-{user}', base64.b64encode(value.encode()).decode())
            text = text.replace('$' + user, password)
        for name, value in self.found.items():
            text = text.replace('$' + name, value)
        return text.replace('$hostname', self.host.hostname)

    def queue(self, name, data):
        """Neighbouring lines of the client go out together, unless this is the run byte by byte."""
        assert name in self.wires, f'{name} is not connected'
        self.pending[name] = self.pending.get(name, b'') + data

    def flush(self):
        for name, data in self.pending.items():
            if self.slowly:
                self.wires[name].send_slowly(data)
            else:
                try:
                    self.wires[name].send(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # what the server said before it closed is still to be read
        self.pending = {}

    def expect_line(self, got, wanted):
        if len(wanted) > 1 and wanted.startswith('/') and wanted.endswith('/'):
            match = re.fullmatch(wanted[1:-1], got)
            assert match, f'server said: {got}'
            self.found.update(match.groupdict())
            return
        pattern = '.*'.join(re.escape(part) for part in wanted.split('<...>'))
        assert re.match(pattern, got), f'server said: {got}'

    # --- what the client sends -----------------------------------------------------------------------------------

    def bytes_raw(self, text):
        data, text = b'', text.strip()
        while text:
            part = STRING.match(text)
            assert part, f'not a string: {text}'
            data += ast.literal_eval(f'b"{part[1]}"') * int(part[2] or 1)
            text = text[part.end():]
        return data

    def bytes_repeat(self, text):
        count, _, rest = text.partition(' ')
        spoken = STEP.fullmatch(rest)
        assert spoken, 'repeat N C: text'
        return (self.fill(spoken[2]) + '\r\n').encode() * int(count)

    def bytes_send_file(self, name):
        return wire.stuff(self.mail(name.strip()))

    @staticmethod
    def mail(name):
        for folder in (os.path.join(HERE, 'mails'), os.path.join(HERE, '..', 'corpus')):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                with open(path, 'rb') as f:
                    return mails.crlf(f.read())
        raise AssertionError(f'no mail {name}')

    # --- directives ----------------------------------------------------------------------------------------------

    def do_connect(self, name, rest):
        words = rest.split()
        if len(words) == 2:
            name = words[0]
        service = words[-1]
        self.wires[name] = wire.Wire(self.host.port(service), tls=service.endswith('s'), timeout=15)

    def do_starttls(self, name, _):
        self.wires[name].start_tls()

    def do_deflate(self, name, _):
        self.wires[name].start_deflate()

    def do_until(self, name, rest):
        """Answers that nobody has to write down: what they say is tested elsewhere."""
        line, last = '', self.fill(rest)
        while not line.startswith(last):
            line = self.wires[name].line()
            assert not re.match(r'\S+ (BAD|NO) ', line) or line.startswith(last), f'server said: {line}'

    def do_half_close(self, name, _):
        self.wires[name].half_close()

    def do_close(self, name, _):
        self.wires[name].close()

    def do_expect_close(self, name, _):
        try:
            line = self.wires[name].line()
        except wire.Closed:
            return
        raise AssertionError(f'still open, server said: {line}')

    @staticmethod
    def has_and_lacks(lines, rest):
        words = rest.split()
        for word, want in zip(words, has_flags(words)):
            if want is not None:
                there = any(line.upper().startswith(word.upper()) for line in lines)
                assert there == want, f'{word} is {"missing from" if want else "in"} {lines}'

    def do_reply(self, name, rest):
        code, _, rest = rest.partition(' ')
        got, texts = self.wires[name].reply()
        assert got == int(code), f'server said: {got} {texts}'
        self.has_and_lacks(texts, rest)

    def do_list(self, name, rest):
        self.has_and_lacks(self.wires[name].multi(), rest)

    def do_body(self, name, rest):
        got, sent = self.wires[name].data(), self.mail(rest)
        assert mails.same(sent, got), f'not the same message: {len(sent)} bytes sent, {len(got)} received: {got[:300]!r}'

    def do_deliver(self, _, rest):
        user, name = rest.split()
        wire.deliver(self.host, self.mail(name), user)

    def do_mailbox(self, _, rest):
        user, count = rest.split()
        found = wire.arrived(self.host, user, int(count))
        assert len(found) == int(count), f'{user} has {len(found)} messages: {[m[:200] for m in found]}'

    def do_with(self, _, rest):
        """The host has been started with it."""

    def do_ctl(self, _, rest):
        self.host.run(*rest.split())

    def do_drain(self, _, rest):
        """The server is told to stop; the transcript goes on with what it still says."""
        self.host.is_drained = True
        self.host.process.send_signal(signal.SIGTERM)

    def do_only(self, _, rest):
        assert rest.startswith(('plain', 'local')), 'only plain REASON or only local REASON'


def has_flags(words):
    """For each word: True behind 'has', False behind 'lacks', None for those two themselves."""
    flag, flags = True, []
    for word in words:
        if word in ('has', 'lacks'):
            flag = word == 'has'
            flags.append(None)
        else:
            flags.append(flag)
    return flags


def own_host(config, settings):
    """One host for each set of settings; a new one when it has been stopped."""
    hosts = config.__dict__.setdefault('dialog_hosts', {})
    if settings in hosts:
        host, folder = hosts.pop(settings)
        if host.process.poll() is None and not hasattr(host, 'is_drained'):
            hosts[settings] = (host, folder)
            return host
        host.stop()
        host.ports.release()
        folder.cleanup()
    folder = tempfile.TemporaryDirectory(prefix='penfold-dialog-')
    host = Host(os.path.join(folder.name, 'mail'))
    with open(host.conf, 'a', encoding='utf-8') as f:
        f.write('\n' + settings + '\n')  # after the accounts were made: it may leave no room for them
    hosts[settings] = (host.__enter__(), folder)
    return host


def shared_host(config):
    """One host for all transcripts of a run; a new one when it has died."""
    host = getattr(config, 'dialog_host', None)
    if host is not None and host.process is not None and host.process.poll() is None:
        return host
    if host is not None:
        host.abandon()
        host.ports.release()
    config.dialog_folder = tempfile.TemporaryDirectory(prefix='penfold-dialog-')
    config.dialog_host = Host(os.path.join(config.dialog_folder.name, 'mail')).__enter__()
    return config.dialog_host


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    hosts = list(session.config.__dict__.get('dialog_hosts', {}).values())
    if getattr(session.config, 'dialog_host', None):
        hosts.append((session.config.dialog_host, session.config.dialog_folder))
    for host, folder in hosts:
        try:
            host.stop()
        except AssertionError as error:
            session.exitstatus = 1
            print(f'\nthe dialogs\' server: {error}')
        finally:
            host.ports.release()
            folder.cleanup()


@pytest.fixture(scope='session')
def dialog_host(request):
    return shared_host(request.config)
