"""What "The house stands" promises at the end, line by line, on real input."""
import contextlib
import fnmatch
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

from harness import clients, mails, wire
from harness.host import PortBase
from harness.load import Load, collect

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class MakeRun:
    """`make run` in a folder of its own, and what it printed."""

    def __init__(self, folder):
        self.ports = PortBase()
        self.folder = folder
        options = f'RUN_OPTIONS=--dir {folder} --port-base {self.ports.base} --penfold {os.environ["PENFOLD_BIN"]}'
        self.process = subprocess.Popen(['make', 'run', options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        stdin=subprocess.DEVNULL, text=True, start_new_session=True)
        self.text, self.told = '', threading.Event()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.text += line
            if 'Ctrl-C stops it' in line:
                self.told.set()

    def stop(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(30)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.ports.release()

    def line(self, start):
        found = re.search(rf'^  ({start} .*)$', self.text, re.M)
        assert found, f'no line for {start} in:\n{self.text}'
        return found[1]


def test_line_1_make_run(tmp_path):
    """make run serves example.test with alice and bob, and prints lines that send and read the first mail."""
    running = MakeRun(tmp_path / 'run')
    try:
        assert running.told.wait(240), running.text
        base = running.ports.base
        for service, port in (('SMTP', 25), ('submission', 587), ('submissions', 465), ('LMTP', 24), ('POP3', 110), ('POP3S', 995),
                              ('admin', 81)):
            assert re.search(rf'{service} +{base + port}\b', running.text), running.text
        assert os.stat(tmp_path / 'run/passwords').st_mode & 0o777 == 0o600
        with open(tmp_path / 'run/passwords', encoding='utf-8') as f:
            known = dict(line.split() for line in f)
        assert set(known) == {'alice@example.test', 'bob@example.test'} and len(set(known.values())) == 2
        subprocess.run(running.line('swaks'), shell=True, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60)
        read = subprocess.run(running.line('curl'), shell=True, check=True, cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
        assert b'Subject: hello' in read.stdout
        # by submission; its line is set in further than the first mail's
        subprocess.run(running.line(' swaks'), shell=True, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=60)
    finally:
        running.stop()
    again = MakeRun(tmp_path / 'run')  # the second start keeps the mail and the passwords
    try:
        assert again.told.wait(240), again.text
        text = again.line('curl').replace(str(running.ports.base + 110), str(again.ports.base + 110))
        read = subprocess.run(text, shell=True, check=False, cwd=ROOT, stdout=subprocess.PIPE, timeout=60)
        assert again.ports.base != running.ports.base or b'Subject: hello' in read.stdout
    finally:
        again.stop()


def test_line_2_swaks_and_curl_deliver(penfold_server, tmp_path):
    """Real messages from 200 bytes to 50 MB, with attachments and 8-bit text; tests/clients has each by itself."""
    host = penfold_server
    sent = [mails.sized(200), mails.sized(70000, eight_bit=True), mails.sized(50 << 20)] + [m for _, m in mails.corpus()]
    for number, message in enumerate(sent):
        if number % 2 and len(message) < 1 << 20 and not message.startswith(b'From '):
            clients.swaks_send_raw(host, message, tmp_path)
        else:
            (tmp_path / 'mail').write_bytes(message)
            clients.curl_send(host, tmp_path / 'mail', 'alice')
    found = wire.messages(host, 'alice', delete=True)
    assert len(found) == len(sent)
    assert [n for n, pair in enumerate(zip(sent, found)) if not mails.same(*pair)] == []


def test_line_3_curl_mpop_fetchmail_collect(penfold_server, tmp_path):
    """Each collects byte for byte, and what it has collected is gone."""
    host = penfold_server
    message = mails.sized(100 * 1000, eight_bit=True)
    collectors = {
        'curl': lambda folder: clients.curl_collect(host, 'bob', folder),
        'mpop': lambda folder: [m.replace(b'\n', b'\r\n') for m in clients.mpop(host, 'bob', folder)],
        'fetchmail': lambda folder: [m.replace(b'\n', b'\r\n') for m in clients.fetchmail(host, 'bob', folder)],
    }
    for name, collector in collectors.items():
        wire.deliver(host, message, 'bob')
        folder = tmp_path / name
        folder.mkdir()
        got = collector(folder)
        assert len(got) == 1 and mails.same(message, got[0]), name
        assert wire.messages(host, 'bob') == [], name


def test_line_4_kill_loses_nothing(make_host):
    """kill -9 under load: listeners stay open, a greeting within 2 s, nothing acknowledged lost, nothing twice."""
    users = ['alice', 'bob', 'carol']
    host = make_host(users=users)
    with Load(host, users, size=20000) as load:
        for _ in range(3):
            load.wait_for(load.count() + 150)
            os.kill(host.server_pid(), signal.SIGKILL)
            killed = time.monotonic()
            greeted = False
            while not greeted:
                with wire.Wire(host.port('smtp')) as connection, contextlib.suppress(wire.Closed):
                    greeted = connection.reply()[0] == 220
                assert time.monotonic() - killed < 2
        load.wait_for(load.count() + 50)
        load.stop()
    assert load.refused_connects == []
    assert load.verify(collect(host, users)) >= 500


NOT_TESTS = {'kv_mem', 'kv_local', 'kv_rados', 'message_size'}  # other words of that form on the page


def unit_cases(programs):
    found = set()
    for path in programs:
        with open(path, encoding='utf-8') as f:
            found |= set(re.findall(r'^static void (\w+)\(void \*\*state\)', f.read(), re.M))
    return found


def has_file(name):
    """A path, or a name anywhere among the tests."""
    places = [name] if '/' in name else [f'src/*/{name}', f'tests/*/{name}']
    return any(glob.glob(os.path.join(ROOT, p)) for p in places)


def test_line_5_status_map(command):
    """docs/STATUS.md names a test for each line and Part, and every test it names exists."""
    with open(os.path.join(ROOT, 'docs/STATUS.md'), encoding='utf-8') as f:
        status = f.read()
    # Apart, since modules import from a conftest.py by its bare name.
    folders = ['house', 'clients', 'crash', 'daemon', 'dialog', 'hostile', 'tools'], ['cluster', 'model'], ['relay'], ['peers']
    listed = ''.join(command(sys.executable, '-m', 'pytest', '--collect-only', '-q', '-p', 'no:cacheprovider',
                             *(f'tests/{name}' for name in half), env=dict(os.environ, PENFOLD_FULL='1')) for half in folders)
    existing = set(re.findall(r'::(test_\w+)', listed))
    programs = glob.glob(os.path.join(ROOT, 'src/*/test_*.c'))
    known = existing | {os.path.basename(p)[:-2] for p in programs} | unit_cases(programs)
    named = set(re.findall(r'`([a-z]\w+_\w+\*?)`', status)) - NOT_TESTS
    assert named, 'no tests named'
    unknown = {n for n in named if not any(fnmatch.fnmatchcase(k, n) for k in known)}
    assert not unknown, f'there is no {sorted(unknown)}'
    missing = [f for f in re.findall(r'`([\w/]*[\w*]+\.(?:c|py))`', status) if not has_file(f)]
    assert not missing, f'there is no {missing}'
    house = {name for name in existing if name.startswith(('test_line_', 'test_part_'))}
    assert len([n for n in house if n.startswith('test_line_')]) == 5
    assert house <= named, f'STATUS.md does not name {sorted(house - named)}'
