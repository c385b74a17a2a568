"""The mail programs of Debian that Penfold has to get on with, each driven as its users drive it."""
import os
import subprocess
import textwrap

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
    found = []
    for path in paths:
        with open(path, 'rb') as f:
            found.append(f.read())
    return found


def mpop_collect(host, user, folder, tls=None):
    """mpop into a maildir, deleting on the server; tls: None, 'starttls' or 'tls'. Line ends come out as LF."""
    folder = str(folder)
    for sub in ('tmp', 'new', 'cur'):
        os.makedirs(os.path.join(folder, 'maildir', sub), exist_ok=True)
    secure = f'''\
        tls on
        tls_starttls {"on" if tls == "starttls" else "off"}
        tls_trust_file {host.certificate()}
        tls_host_override {host.hostname}
        ''' if tls else 'tls off\n'
    text = textwrap.dedent(f'''\
        account default
        host 127.0.0.1
        port {host.port("pop3s" if tls == "tls" else "pop3")}
        user {host.address(user)}
        password {host.passwords[user]}
        auth user
        keep off
        received_header off
        uidls_file {folder}/uidls
        delivery maildir {folder}/maildir
        ''') + textwrap.dedent(secure)
    path = os.path.join(folder, 'mpoprc')
    with open(path, 'w', encoding='utf-8', opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(text)
    check(['mpop', '-q', '-C', path])
    return read_folder(os.path.join(folder, 'maildir', 'new'))


def fetchmail_collect(host, user, folder, tls=None):
    """fetchmail to a delivery command, deleting on the server. Line ends come out as LF."""
    folder = str(folder)
    out = os.path.join(folder, 'fetched')
    os.makedirs(out, exist_ok=True)
    store = os.path.join(folder, 'store')
    with open(store, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\nexec cat > "$(mktemp {out}/XXXXXXXX)"\n')
    os.chmod(store, 0o700)
    secure = "sslproto ''"
    if tls:
        kind = 'ssl' if tls == 'tls' else "sslproto 'auto'"
        secure = (f'{kind} sslcertck sslcertfile {host.certificate()} '
                  f'sslcommonname {host.hostname}')
    path = os.path.join(folder, 'fetchmailrc')
    with open(path, 'w', encoding='utf-8', opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(f'set invisible\nset no syslog\nset no bouncemail\nset idfile {folder}/ids\n'
                f'poll 127.0.0.1 protocol pop3 service {host.port("pop3s" if tls == "tls" else "pop3")} '
                f'bad-header accept\n  auth password user "{host.address(user)}" password "{host.passwords[user]}" '
                f'{secure}\n'
                f'  mda "{store}" no rewrite fetchall no keep pass8bits\n')
    status, _, error = program(['fetchmail', '-f', path, '--nodetach', '--pidfile', os.path.join(folder, 'pid')])
    assert status in (0, 1), f'fetchmail: status {status}: {error}'
    return read_folder(out)


def read_folder(path):
    found = []
    for name in os.listdir(path):
        with open(os.path.join(path, name), 'rb') as f:
            found.append(f.read())
    return found
