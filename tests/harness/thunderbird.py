"""Thunderbird on a screen of its own, with a profile written by hand; driven by Marionette, the protocol it has for that."""
import base64
import contextlib
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import time

from harness.clients import write_private

READY_SECONDS = 120

# Quiet, and nothing that would leave the machine: what is no mail goes to a proxy that is not there.
QUIET = {
    'app.donation.eoy.version.viewed': 999, 'app.update.enabled': False, 'browser.dom.window.dump.enabled': True,
    'calendar.timezone.local': 'UTC', 'datareporting.healthreport.uploadEnabled': False,
    'datareporting.policy.dataSubmissionEnabled': False, 'datareporting.policy.dataSubmissionPolicyBypassNotification': True,
    'extensions.update.enabled': False, 'mail.inappnotifications.enabled': False, 'mail.provider.suppress_dialog_on_startup': True,
    'mail.rights.version': 1, 'mail.shell.checkDefaultClient': False, 'mail.spotlight.firstRunDone': True,
    'mail.startup.enabledMailCheckOnce': True, 'mailnews.start_page.enabled': False, 'mailnews.start_page_override.mstone': 'ignore',
    'network.captive-portal-service.enabled': False, 'network.connectivity-service.enabled': False, 'network.dns.disablePrefetch': True,
    'network.proxy.http': '127.0.0.1', 'network.proxy.http_port': 9, 'network.proxy.ssl': '127.0.0.1', 'network.proxy.ssl_port': 9,
    'network.proxy.type': 1, 'services.settings.server': 'data:,', 'toolkit.telemetry.enabled': False,
    'mail.biff.show_alert': False, 'mail.biff.play_sound': False, 'mail.warn_on_shift_delete': False,
}


class Failed(AssertionError):
    """A script in Thunderbird has thrown."""


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def preferences(host, user, tls, marionette):
    server, identity = 'mail.server.server1.', 'mail.identity.id1.'
    return QUIET | {
        'marionette.port': marionette,
        'mail.accountmanager.accounts': 'account1,account2', 'mail.accountmanager.defaultaccount': 'account1',
        'mail.accountmanager.localfoldersserver': 'server2',
        'mail.account.account1.server': 'server1', 'mail.account.account1.identities': 'id1', 'mail.account.account2.server': 'server2',
        server + 'type': 'imap', server + 'hostname': 'localhost', server + 'name': 'Penfold', server + 'userName': host.address(user),
        server + 'port': host.port('imaps' if tls == 'connect' else 'imap'),
        server + 'socketType': {None: 0, 'starttls': 2, 'connect': 3}[tls], server + 'authMethod': 3,
        server + 'login_at_startup': False, server + 'check_new_mail': False, server + 'use_idle': True,
        'mail.server.server2.type': 'none', 'mail.server.server2.hostname': 'Local Folders', 'mail.server.server2.name': 'Local Folders',
        'mail.server.server2.userName': 'nobody',
        identity + 'fullName': 'Alice', identity + 'useremail': host.address(user), identity + 'valid': True,
    }


def certificate_override(host, *ports):
    """cert_override.txt: this certificate and no other, at these ports of localhost."""
    with open(host.certificate(), encoding='ascii') as f:
        der = ssl.PEM_cert_to_DER_cert(f.read())
    digest = hashlib.sha256(der).hexdigest().upper()
    fingerprint = ':'.join(digest[n:n + 2] for n in range(0, 64, 2))
    return ''.join(f'localhost:{port}:\tOID.2.16.840.1.101.3.4.2.1\t{fingerprint}\t\n' for port in ports)


class Thunderbird:
    """`with Thunderbird(host, user, folder) as mail:` starts it; run() gives it JavaScript with all rights of its own code. A folder where
    it has been has its profile."""

    def __init__(self, host, user, folder, tls='connect', more=None):
        self.host, self.user, self.folder = host, user, str(folder)
        self.port = free_port()
        self.profile = os.path.join(self.folder, 'profile')
        self.processes, self.number, self.rest = [], 0, b''
        os.makedirs(self.profile, mode=0o700, exist_ok=True)
        lines = [f'user_pref({json.dumps(name)}, {json.dumps(value)});\n' for name, value in
                 sorted((preferences(host, user, tls, self.port) | (more or {})).items())]
        write_private(os.path.join(self.profile, 'user.js'), ''.join(lines))
        write_private(os.path.join(self.profile, 'cert_override.txt'), certificate_override(host, host.port('imap'), host.port('imaps')))

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def start(self):
        reader, writer = os.pipe()
        self.spawn(['Xvfb', '-displayfd', str(writer), '-screen', '0', '1280x900x24', '-nolisten', 'tcp'], pass_fds=[writer])
        os.close(writer)
        with os.fdopen(reader, encoding='ascii') as said:
            display = ':' + said.readline().strip()
        env = dict(os.environ, DISPLAY=display, HOME=self.folder, XDG_RUNTIME_DIR=self.folder, MOZ_CRASHREPORTER_DISABLE='1', LC_ALL='C.UTF-8',
                   MOZ_ENABLE_WAYLAND='0', NO_AT_BRIDGE='1')
        self.spawn(['thunderbird', '--profile', self.profile, '--no-remote', '--marionette', '-remote-allow-system-access'], env=env)
        self.connect()

    def spawn(self, line, **options):
        with open(os.path.join(self.folder, line[0] + '.log'), 'ab') as log:
            self.processes.append(subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options))

    def end(self):
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def quit(self):
        """As by its menu: what it knows is written down."""
        self.command('Marionette:Quit', flags=['eAttemptQuit'])
        self.processes[-1].wait(READY_SECONDS)

    # --- Marionette: a length, a colon and JSON ----------------------------------------------------------------------------

    def connect(self):
        end = time.monotonic() + READY_SECONDS
        while True:
            assert self.processes[-1].poll() is None, 'Thunderbird has ended'
            assert time.monotonic() < end, 'Thunderbird does not start'
            try:
                self.socket = socket.create_connection(('127.0.0.1', self.port), timeout=150)
                break
            except ConnectionRefusedError:
                time.sleep(0.2)
        self.message()
        self.command('WebDriver:NewSession', capabilities={'alwaysMatch': {'unhandledPromptBehavior': 'ignore'}})
        self.command('Marionette:SetContext', value='chrome')
        self.command('WebDriver:SetTimeouts', script=100000)

    def message(self):
        while b':' not in self.rest:
            self.read()
        size, self.rest = self.rest.split(b':', 1)
        while len(self.rest) < int(size):
            self.read()
        text, self.rest = self.rest[:int(size)], self.rest[int(size):]
        return json.loads(text)

    def read(self):
        more = self.socket.recv(1 << 20)
        assert more, 'Thunderbird is gone'
        self.rest += more

    def command(self, name, **parameters):
        self.number += 1
        data = json.dumps([0, self.number, name, parameters]).encode()
        self.socket.sendall(b'%d:%s' % (len(data), data))
        while True:
            kind, number, error, result = self.message()
            if kind == 1 and number == self.number:
                break
        if error:
            raise Failed(f'{name}: {error["error"]}: {error["message"]}\n{error.get("stacktrace", "")}')
        return result

    def run(self, script, *arguments):
        """An async function's body; its value."""
        text = f'const done = arguments[arguments.length - 1]; (async (...args) => {{{PRELUDE}{script}}})(...arguments)' \
               '.then((value) => done({value}), (error) => done({error: String(error) + "\\n" + (error.stack || "")}));'
        answer = self.command('WebDriver:ExecuteAsyncScript', script=text, args=list(arguments), sandbox='system', newSandbox=False)['value']
        if 'error' in answer:
            raise Failed(answer['error'])
        return answer.get('value')

    def log_in(self):
        """Keeps the password, and has the folders listed with it."""
        self.run('''
            const login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
            login.init("imap://localhost", null, "imap://localhost", args[0], args[1], "", "");
            await Services.logins.addLoginAsync(login);
            server.getNewMessages(root, msgWindow, null);
            await wait("the folders", () => root.descendants.length > 5);''', self.host.address(self.user), self.host.passwords[self.user])

    def picture(self, path):
        data = self.command('WebDriver:TakeScreenshot', full=True, hash=False)['value']
        with open(path, 'wb') as f:
            f.write(base64.b64decode(data))


# What every script may use.
PRELUDE = '''
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.accounts.find((a) => a.incomingServer.type == "imap").incomingServer;
const root = server.rootFolder;
const wait = async (what, test, seconds = 60) => {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
        const value = await test();
        if (value) return value;
        await new Promise((resolve) => window.setTimeout(resolve, 100));
    }
    throw new Error("waited for " + what);
};
const folder = (name) => wait("the folder " + name, () => root.descendants.find((f) => decodeURIComponent(f.URI).endsWith("/" + name)));
const pane = document.getElementById("tabmail").currentAbout3Pane;
const open = async (name, count) => {
    pane.displayFolder((await folder(name)).URI);
    await wait(count + " rows of " + name, () => pane.gDBView && pane.gDBView.rowCount === count);
};
const header = (subject) => {
    for (let row = 0; row < pane.gDBView.rowCount; row++) {
        const found = pane.gDBView.getMsgHdrAt(row);
        if (found.mime2DecodedSubject === subject) return [row, found];
    }
    throw new Error("no row " + subject);
};
const read = async (subject) => {
    const [row, found] = header(subject);
    pane.threadTree.selectedIndex = row;
    await wait(subject + " to be read", () => found.isRead);
    return found;
};
'''
