"""The mail programs of Debian that Penfold has to get on with, each driven as its users drive it."""
import os
import pty
import select
import signal
import subprocess
import textwrap
import time

from harness import wire


def program(args, timeout=120, stdin=None, env=None):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, input=stdin, timeout=timeout,
                          env=dict(os.environ, **(env or {})), check=False)
    return done.returncode, done.stdout, done.stderr.decode('utf-8', 'replace')


def check(args, **options):
    status, out, error = program(args, **options)
    assert status == 0, f'{" ".join(map(str, args))[:600]}: status {status}\n{out[-2000:].decode("utf-8", "replace")}\n{error[-2000:]}'
    return out


def tls_options(host, service, tls):
    """curl's options and the host part of the address: by name, with init's certificate as CA, when TLS is wanted."""
    port = host.port(service)
    if not tls:
        return ['-sS'], f'127.0.0.1:{port}'
    return (['-sS', '--ssl-reqd', '--cacert', host.certificate(), '--resolve', f'{host.hostname}:{port}:127.0.0.1'],
            f'{host.hostname}:{port}')


def curl_send(host, path, *users, tls=False):
    options, place = tls_options(host, 'smtp', tls)
    to = [word for user in users for word in ('--mail-rcpt', host.address(user))]
    check(['curl', *options, '--mail-from', 'sender@elsewhere.test', *to, '--upload-file', str(path),
           f'smtp://{place}/client.test'])


def swaks_send(host, *options, to='alice', tls=False, timeout=120):
    options = list(options)
    if tls:
        options += ['--tls', '--tls-verify', '--tls-ca-path', host.certificate()]
    return check(['swaks', '--server', '127.0.0.1', '--port', str(host.port('smtp')), '--helo', 'client.test', '--from',
                  'sender@elsewhere.test', '--to', host.address(to), '--silent', '2', *options], timeout=timeout)


def swaks_send_raw(host, message, folder, **options):
    """The message byte for byte: swaks adds nothing, so the dots and the end are put in here."""
    path = os.path.join(str(folder), 'swaks-data')
    with open(path, 'wb') as f:
        f.write(wire.stuff(message))
    return swaks_send(host, '--no-data-fixup', '--data', f'@{path}', **options)


def curl_collect(host, user, folder, service='pop3', tls=False):
    """Lists, reads and deletes as the manual of curl shows it: three sessions, the addresses of one after each other."""
    options, place = tls_options(host, service, tls or service == 'pop3s')
    options += ['--user', f'{host.address(user)}:{host.passwords[user]}']
    listed = check(['curl', *options, f'{service}://{place}/']).decode('ascii').split('\n')
    numbers = [int(line.split()[0]) for line in listed if line.strip()]
    paths = [os.path.join(str(folder), f'curl-{n}') for n in numbers]
    check(['curl', *options, *(word for n, path in zip(numbers, paths) for word in ('-o', path, f'{service}://{place}/{n}'))])
    check(['curl', *options, '--list-only', '--request', 'DELE', *(f'{service}://{place}/{n}' for n in numbers)])
    return [read_file(path) for path in paths]


# --- what the matrix varies ------------------------------------------------------------------------------------------

def swaks(host, listener, *options, tls=None, auth=None, pipeline=False, login=None, to=None, sender=None, socket=None):
    """One message; swaks' status (0 delivered, 23 MAIL, 24 every RCPT, 28 AUTH, 29 TLS) and the dialog.

    tls: None, 'starttls' or 'connect'; auth: a mechanism, or None; login: (user, password); socket: a path."""
    secure = {None: [], 'starttls': ['--tls'], 'connect': ['--tls-on-connect']}[tls]
    args = ['swaks', '--helo', 'client.test', '--timeout', '60', '--from', sender or host.address('alice'),
            '--to', to or host.address('bob'), *secure, *options]
    args += ['--socket', socket] if socket else ['--server', '127.0.0.1', '--port', str(host.port(listener))]
    if tls:
        args += ['--tls-verify', '--tls-ca-path', host.certificate()]
    if listener == 'lmtp':
        args += ['--protocol', 'LMTP']
    if pipeline:
        args.append('--pipeline')
    if auth:
        user, password = login or (host.address('alice'), host.passwords['alice'])
        args += ['--auth', auth, f'--auth-user={user}', f'--auth-password={password}']  # which may begin with a hyphen
    status, out, error = program(args)
    return status, out.decode('utf-8', 'replace') + error


def curl_smtp(host, listener, path, tls=None, auth=None, initial=False, to='bob', sender=None):
    """curl hands in a file; its status (0 delivered, 55 refused, 67 login denied) and what it said."""
    port = host.port(listener)
    login = ['--user', f'{host.address("alice")}:{host.passwords["alice"]}', '--login-options', f'AUTH={auth}'] if auth else []
    scheme = 'smtps' if tls == 'connect' else 'smtp'
    args = ['curl', '-sSv', *(['--ssl-reqd'] if tls == 'starttls' else []), *(['--sasl-ir'] if initial else []), *login,
            '--cacert', host.certificate(), '--resolve', f'{host.hostname}:{port}:127.0.0.1', '--mail-from',
            sender or host.address('alice'), '--mail-rcpt', host.address(to), '--upload-file', str(path),
            f'{scheme}://{host.hostname}:{port}/client.test']
    status, _, error = program(args)
    return status, error


def msmtp(host, listener, message, *options, tls=None, auth=None, to='bob', socket=None):
    """msmtp sends from its command line alone, as cron would call it; its status and what it said."""
    args = ['msmtp', '--file=/dev/null', '--host=127.0.0.1', f'--port={host.port(listener)}', '--domain=client.test',
            f'--from={host.address("alice")}', f'--tls={"on" if tls else "off"}',
            f'--tls-starttls={"on" if tls == "starttls" else "off"}', *options]
    if tls:
        args += [f'--tls-trust-file={host.certificate()}', f'--tls-host-override={host.hostname}']
    if listener == 'lmtp':
        args += ['--protocol=lmtp'] + ([f'--socket={socket}'] if socket else [])
    if auth:
        args += [f'--auth={auth}', f'--user={host.address("alice")}', f'--passwordeval=echo {host.passwords["alice"]}']
    status, out, error = program([*args, '--', host.address(to)], stdin=message)
    return status, out.decode('utf-8', 'replace') + error


SMTP_SOURCE = os.path.expanduser('~/.cache/penfold/fetched/postfix')


def smtp_source(host, listener, *options, messages=200, sessions=10, length=4096, to='bob'):
    """Postfix's own load generator; ends with the last message, or with an error that it met."""
    libraries = os.path.join(SMTP_SOURCE, 'usr/lib/postfix')
    check([os.path.join(SMTP_SOURCE, 'usr/sbin/smtp-source'), '-s', str(sessions), '-m', str(messages), '-l', str(length),
           '-f', 'sender@elsewhere.test', '-t', host.address(to), '-M', 'client.test', *options,
           f'127.0.0.1:{host.port(listener)}'], env={'LD_LIBRARY_PATH': libraries})


def mpop(host, user, folder, tls=None, auth='user', keep=False, pipelining='auto'):
    """mpop into a maildir; the messages that this run brought, line ends as LF."""
    box = os.path.join(str(folder), 'box')
    for sub in ('tmp', 'new', 'cur'):
        os.makedirs(os.path.join(box, sub), exist_ok=True)
    before = set(os.listdir(os.path.join(box, 'new')))
    args = ['mpop', '--file=/dev/null', '--quiet', '--host=127.0.0.1', f'--port={host.port("pop3s" if tls == "connect" else "pop3")}',
            f'--tls={"on" if tls else "off"}', f'--tls-starttls={"on" if tls == "starttls" else "off"}', f'--auth={auth}',
            f'--user={host.address(user)}', f'--passwordeval=echo {host.passwords[user]}', f'--keep={"on" if keep else "off"}',
            f'--pipelining={pipelining}', '--received-header=off', f'--uidls-file={folder}/uidls', f'--delivery=maildir,{box}']
    if tls:
        args += [f'--tls-trust-file={host.certificate()}', f'--tls-host-override={host.hostname}']
    check(args)
    return new_files(os.path.join(box, 'new'), before)


def fetchmail(host, user, folder, tls=None, keep=False, protocol='pop3', options=''):
    """fetchmail, which remembers what it has seen by UIDL, or by \\Seen; the messages that this run brought."""
    folder = str(folder)
    store, out = storing_command(folder)
    before = set(os.listdir(out))
    secure = {None: "sslproto ''", 'starttls': "sslproto 'auto'", 'connect': 'ssl'}[tls]
    if tls:
        secure += f' sslcertck sslcertfile {host.certificate()} sslcommonname {host.hostname}'
    rc = write_private(os.path.join(folder, 'fetchmailrc'), f'''\
set invisible
set no syslog
set no bouncemail
set idfile {folder}/ids
poll 127.0.0.1 protocol {protocol} service {host.port(protocol + ("s" if tls == "connect" else ""))} {"" if protocol == "imap" else "uidl" if keep else "no uidl"} bad-header accept
  auth password user "{host.address(user)}" password "{host.passwords[user]}" {secure}
  mda "{store}" no rewrite {"keep" if keep else "no keep fetchall"} pass8bits {options}
''')
    status, _, error = program(['fetchmail', '-f', rc, '--nodetach', '--pidfile', os.path.join(folder, 'pid')])
    assert status in (0, 1), f'fetchmail: status {status}: {error}'  # 1: there was no mail
    return new_files(out, before)


def getmail(host, user, folder, tls=False, keep=False, protocol='pop3', retriever='', options=''):
    """getmail6, which remembers what it has seen by UIDL or UID; the messages that this run brought."""
    folder = str(folder)
    store, out = storing_command(folder)
    before = set(os.listdir(out))
    rc = write_private(os.path.join(folder, 'getmailrc'), f'''\
[retriever]
type = Simple{protocol.upper()}{"SSL" if tls else ""}Retriever
server = 127.0.0.1
port = {host.port(protocol + ("s" if tls else ""))}
username = {host.address(user)}
password = {host.passwords[user]}
{f"ca_certs = {host.certificate()}" if tls else ""}
{f"ssl_cert_hostname = {host.hostname}" if tls else ""}
{retriever}

[destination]
type = MDA_external
path = {store}
allow_root_commands = true

[options]
delete = {"false" if keep else "true"}
read_all = false
delivered_to = false
received = false
verbose = 0
{options}
''')
    check(['getmail', f'--getmaildir={folder}', f'--rcfile={rc}'])
    return new_files(out, before)


def storing_command(folder):
    """A delivery command that keeps each message as a file, and the folder of those."""
    out = os.path.join(folder, 'fetched')
    os.makedirs(out, exist_ok=True)
    script = f'#!/bin/sh\nexec cat > "$(mktemp {out}/XXXXXXXX)"\n'
    return write_private(os.path.join(folder, 'store'), script, 0o700), out


def new_files(folder, before):
    return [read_file(os.path.join(folder, name)) for name in os.listdir(folder) if name not in before]


def write_private(path, text, mode=0o600):
    with open(path, 'w', encoding='utf-8', opener=lambda p, flags: os.open(p, flags, mode)) as f:
        f.write(text)
    return path


def read_file(path):
    with open(path, 'rb') as f:
        return f.read()


# --- mutt ------------------------------------------------------------------------------------------------------------

def mutt_rc(host, user, folder, tls):
    """Its configuration, for both directions; every question that it could ask has its answer here."""
    secure = {None: '', 'starttls': 'set ssl_starttls=yes ssl_force_tls=yes', 'connect': 'set ssl_force_tls=yes'}[tls]
    submission = f'{"smtps" if tls == "connect" else "smtp"}://{host.address(user)}@localhost:' \
                 f'{host.port("submissions" if tls == "connect" else "submission")}/'
    return write_private(os.path.join(str(folder), 'muttrc'), f'''\
set folder={folder} spoolfile={folder}/spool record="" tmpdir={folder} header_cache="" message_cachedir=""
set ssl_starttls=no ssl_force_tls=no ssl_verify_host=no certificate_file={host.certificate()}
{secure}
set pop_user="{host.address(user)}" pop_pass="{host.passwords[user]}" pop_delete=yes pop_reconnect=no pop_checkinterval=0
set smtp_url="{submission}" smtp_pass="{host.passwords[user]}"
set from={host.address(user)} use_from=yes envelope_from_address={host.address(user)} use_envelope_from=yes realname=Alice
set confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no wait_key=no beep=no sleep_time=0
''')


def mutt_collect(host, user, folder, tls=None):
    """mutt on a terminal: tags every message, saves them to a file and quits; the file, line ends as LF."""
    rc = mutt_rc(host, user, folder, tls)
    saved = os.path.join(str(folder), 'saved')
    port = host.port('pop3s' if tls == 'connect' else 'pop3')
    keys = f'<tag-pattern>~A<enter><tag-prefix><save-message>{saved}<enter><quit>'
    line = ['mutt', '-n', '-F', rc, '-e', f'push "{keys}"', '-f', f'{"pops" if tls == "connect" else "pop"}://localhost:{port}']
    screen = on_terminal(line, dict(os.environ, TERM='xterm', HOME=str(folder)))
    assert os.path.exists(saved), screen[-3000:]
    return read_file(saved)


def on_terminal(line, env, seconds=60):
    """Runs a program on a terminal of its own until it ends; what it drew."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(line[0], line, env)
    screen, end = b'', time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 1)[0]:
                screen += os.read(terminal, 65536)
    except OSError:  # the program has closed it
        pass
    finally:
        os.close(terminal)
        if time.monotonic() >= end:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return screen


def mutt_send(host, user, folder, tls, to, subject):
    """As a script calls it: text from standard input, one attachment; sent by submission."""
    check(['mutt', '-n', '-F', mutt_rc(host, user, folder, tls), '-s', subject, '-a', os.path.join(str(folder), 'picture.png'), '--',
           host.address(to)], stdin=b'see the picture\n', env={'HOME': str(folder)})
