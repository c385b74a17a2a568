"""The IMAP clients that Penfold has to get on with, each driven as its users drive it.

tls is None, 'starttls' or 'connect' everywhere; `folder` is the client's home, kept between its runs.
"""
import hashlib
import os
import ssl

from harness import clients
from harness.clients import program, write_private

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


SSL_TYPES = {None: 'None', 'starttls': 'STARTTLS', 'connect': 'IMAPS'}


def port(host, tls):
    return host.port('imaps' if tls == 'connect' else 'imap')


# --- two ways ----------------------------------------------------------------------------------------------------------

def mbsync(host, user, folder, tls='starttls', account='', shows_commands=False):
    """isync between the account and a maildir tree in folder/mail; what it said."""
    folder = str(folder)
    mail = os.path.join(folder, 'mail')
    os.makedirs(mail, exist_ok=True)
    rc = write_private(os.path.join(folder, 'mbsyncrc'), f'''\
IMAPAccount penfold
Host 127.0.0.1
Port {port(host, tls)}
User {host.address(user)}
Pass {host.passwords[user]}
SSLType {SSL_TYPES[tls]}
AuthMechs {'*' if tls else 'LOGIN'}
CertificateFile {host.certificate()}
SystemCertificates no
{account}

IMAPStore far
Account penfold

MaildirStore near
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel both
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
CopyArrivalDate yes
''')
    status, out, error = program(['mbsync', '-c', rc, '-Dn' if shows_commands else '-q', '-a'], env={'HOME': folder})
    said = out.decode('utf-8', 'replace') + error
    assert status == 0, f'mbsync: status {status}: {said[-3000:]}'
    return said


def interimap_line(folder, local, remote, compress='NO'):
    """interimap between two accounts, each (host, user). Without TLS, which it takes only with a certificate that it finds an authority
    for."""
    folder = str(folder)
    config = [f'database = {folder}/interimap.db']
    for name, (host, user) in (('local', local), ('remote', remote)):
        config.append(f'[{name}]\ntype = imap\nhost = 127.0.0.1\nport = {host.port("imap")}\nSTARTTLS = NO\n'
                      f'username = {host.address(user)}\npassword = {host.passwords[user]}\ncompress = {compress}')
    return ['interimap', '--config', write_private(os.path.join(folder, 'interimap'), '\n'.join(config) + '\n')]


def interimap(folder, local, remote, compress='NO'):
    """One run; what it said."""
    status, out, error = program(interimap_line(folder, local, remote, compress), env={'HOME': str(folder)})
    said = out.decode('utf-8', 'replace') + error
    assert status == 0, f'interimap: status {status}: {said[-3000:]}'
    return said


def offlineimap(host, user, folder, tls='connect', shows_commands=False):
    """offlineimap3 between the account and a maildir tree in folder/mail; what it said.

    Not by STARTTLS: the reading thread of its library now and then ends with the response before the one to STARTTLS, and the
    program waits for that one forever."""
    folder = str(folder)
    with open(host.certificate(), encoding='ascii') as f:
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(f.read())).hexdigest()
    rc = write_private(os.path.join(folder, 'offlineimaprc'), f'''\
[general]
accounts = Penfold
metadata = {folder}/offlineimap
[Account Penfold]
localrepository = Near
remoterepository = Far
[Repository Near]
type = Maildir
localfolders = {folder}/mail
sep = /
[Repository Far]
type = IMAP
remotehost = localhost
remoteport = {port(host, tls)}
remoteuser = {host.address(user)}
remotepass = {host.passwords[user]}
ssl = {'yes' if tls == 'connect' else 'no'}
starttls = {'yes' if tls == 'starttls' else 'no'}
cert_fingerprint = {fingerprint}
auth_mechanisms = {'PLAIN' if tls else 'LOGIN'}
maxconnections = 2
''')
    status, out, error = program(['offlineimap', '-c', rc, '-o', '-u', 'basic', *(['-d', 'imap'] if shows_commands else [])], env={'HOME': folder})
    said = out.decode('utf-8', 'replace') + error
    assert status == 0 and 'ERROR' not in said, f'offlineimap: status {status}: {said[-3000:]}'
    return said


# --- libraries ---------------------------------------------------------------------------------------------------------

def node_modules():
    """Where tools/deps has put the packages that tests/clients/node pins; None when it has not."""
    path = os.path.expanduser('~/.cache/penfold/node/node_modules')
    return path if os.path.isdir(os.path.join(path, 'imapflow')) else None


# --- by rules ------------------------------------------------------------------------------------------------------------

def imapfilter(host, user, folder, rules, tls='connect'):
    """imapfilter with a configuration of its language Lua, in which `account` is the account; what it printed."""
    folder = str(folder)
    config = write_private(os.path.join(folder, 'imapfilter.lua'), f'''\
options.timeout = 60
options.info = false
options.hostnames = false
options.starttls = {'true' if tls == 'starttls' else 'false'}
options.create = false
options.subscribe = true
account = IMAP {{ server = 'localhost', port = {port(host, tls)}, username = '{host.address(user)}', password = '{host.passwords[user]}',
    {"ssl = 'auto'," if tls == 'connect' else ''} }}
{rules}
''')
    return clients.check(['imapfilter', '-t', host.certificate(), '-c', config, '-l', os.path.join(folder, 'imapfilter.log')], env={'HOME': folder}).decode()


# --- on a terminal -----------------------------------------------------------------------------------------------------

def mutt(name, host, user, folder, keys, mailbox='INBOX', tls='starttls', settings=''):
    """mutt or neomutt on a terminal of its own opens a mailbox (or a file, by its path), is given the keys and ends by them;
    what it drew."""
    secure = {None: '', 'starttls': 'set ssl_starttls=yes ssl_force_tls=yes', 'connect': 'set ssl_force_tls=yes'}[tls]
    root = f'imap{"s" if tls == "connect" else ""}://localhost:{port(host, tls)}/'
    rc = write_private(os.path.join(str(folder), 'imap-muttrc'), f'''\
set folder={root} spoolfile=+INBOX record=+Sent postponed=+Drafts tmpdir={folder} header_cache="" message_cachedir=""
set ssl_starttls=no ssl_verify_host=no certificate_file={host.certificate()}
{secure}
set imap_user="{host.address(user)}" imap_pass="{host.passwords[user]}" imap_check_subscribed=yes imap_passive=no
set from={host.address(user)} use_from=yes realname=Alice copy=yes smtp_url="smtp://localhost:{host.port('smtp')}/"
set confirmappend=no confirmcreate=no delete=yes quit=yes mark_old=no wait_key=no beep=no sleep_time=0 sort=mailbox-order abort_unmodified=no
set editor="true" fast_reply=yes include=no pager_stop=yes
{settings}
''')
    line = [name, '-n', '-F', rc, '-e', f'push "{keys}"', '-f', mailbox if mailbox.startswith('/') else root + mailbox]
    return clients.on_terminal(line, dict(os.environ, TERM='xterm', HOME=str(folder), LC_ALL='C.UTF-8'))
