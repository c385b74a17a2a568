"""Other mail servers, each in a root of its own and at a place of a network of a test's own: `bob` and `carla` of its domain have
maildirs; `away@` its domain leads to `nobody@` Penfold's; who is on its own loopback may send anywhere. Their certificates are by the
test's authority, and they use TLS with whoever offers it."""
import contextlib
import os
import smtplib
import socket

import machine
import roots
from harness import network
from harness.mailhost import SECONDS, wait_until
from harness.zones import Validator
from roots import write

USERS = ('bob', 'carla')
UID = 5000


class Peer:
    """`with Exim(place, folder, 'exim.example', zones, authority, astray='nobody@near.example') as peer:`"""

    kind = None  # of the root in tools/roots.py
    command = ()
    log_files = ()
    takes_tls = True
    unproven, proven = (), ()  # what its log says of hosts to which it sends, when it looks at their TLSA records

    def __init__(self, place, folder, domain, zones, authority, astray):
        self.place, self.domain, self.hostname, self.astray = place, domain, f'mx.{domain}', astray
        os.makedirs(folder, exist_ok=True)
        self.zones, self.resolver = zones, None
        self.log = open(os.path.join(str(folder), f'{domain}.log'), 'ab')
        self.root = roots.unpack(self.kind, os.path.join(str(folder), domain), self.log)
        names = 'nameserver 127.0.0.1\noptions edns0 trust-ad\n' if self.proven else f'nameserver {zones.address}\n'
        write(self.root, 'etc/resolv.conf', names)
        write(self.root, 'etc/hosts', f'127.0.0.1 localhost\n{place.addresses[0]} {self.hostname}\n')
        write(self.root, 'etc/mailname', f'{self.hostname}\n')
        os.makedirs(os.path.join(self.root, 'etc/peer'))
        authority.certify(os.path.join(self.root, 'etc/peer/certificate'), os.path.join(self.root, 'etc/peer/key'), self.hostname)
        with open(authority.ca, encoding='ascii') as f:
            write(self.root, 'etc/peer/authority', f.read())
        self.certificate = os.path.join(self.root, 'etc/peer/certificate')
        write(self.root, 'etc/passwd', self.read('etc/passwd') + f'vmail:x:{UID}:{UID}::/srv/mail:/usr/sbin/nologin\n')
        write(self.root, 'etc/group', self.read('etc/group') + f'vmail:x:{UID}:\n')
        os.makedirs(os.path.join(self.root, 'srv/mail'), exist_ok=True)
        os.chown(os.path.join(self.root, 'srv/mail'), UID, UID)
        self.configure()
        self.process = None

    def read(self, path):
        with open(os.path.join(self.root, path), encoding='utf-8', errors='replace') as f:
            return f.read()

    def names(self):
        return {self.domain: [f'MX 10 {self.hostname}.'], self.hostname: [f'A {self.place.addresses[0]}']}

    def address(self, user):
        return f'{user}@{self.domain}'

    # --- the server ----------------------------------------------------------------------------------------------

    def start(self):
        if self.proven:
            self.resolver = self.resolver or Validator(self.place, self.zones)
        line, env = machine.command(self.root, ['/bin/sh', '-c', '"$@" & wait', 'init', *self.command])
        with self.place.inside():
            self.process = network.spawn(line, self.log, env=env)
        self.place.wait_for(25)

    def stop(self):
        """All of it is in a process namespace of its own, which ends with its first process, a shell that ends with its parent."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            wait_until(self.is_gone, f'{self.hostname} does not end')

    def is_gone(self):
        with self.place.inside(), contextlib.suppress(OSError), socket.create_connection((self.place.addresses[0], 25)):
            return False
        return True

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        if self.resolver:
            self.resolver.__exit__()
        self.log.close()
        machine.remove(self.root)

    def log_text(self):
        """The ends of all its logs."""
        texts = [self.read(path) for path in self.log_files if os.path.exists(os.path.join(self.root, path))]
        with open(self.log.name, encoding='utf-8', errors='replace') as f:
            texts.append(f.read())
        return '\n'.join('\n'.join(text.splitlines()[-30:]) for text in texts)

    # --- mail ----------------------------------------------------------------------------------------------------

    def submit(self, subject, *to, user='bob'):
        with self.place.inside(), smtplib.SMTP('127.0.0.1', 25, 'localhost', timeout=60) as s:
            text = f'From: {self.address(user)}\r\nTo: {", ".join(to)}\r\nSubject: {subject}\r\n\r\nThis is {subject}.\r\n'
            s.sendmail(self.address(user), to, text)

    def collect(self, user):
        found = []
        for folder in (f'srv/mail/{user}/new', f'srv/mail/{user}/Maildir/new'):
            path = os.path.join(self.root, folder)
            for name in sorted(os.listdir(path)) if os.path.isdir(path) else []:
                with open(os.path.join(path, name), 'rb') as f:
                    found.append(f.read())
        return found

    def wait_for(self, user, text, seconds=SECONDS):
        """The one message in the user's maildir with the text in it, once it is there."""
        found = wait_until(lambda: [m for m in self.collect(user) if text.encode() in m],
                           lambda: f'{self.address(user)} has no message with {text!r}:\n{self.log_text()}', seconds)
        assert len(found) == 1, found
        return found[0]


class Postfix(Peer):
    kind = 'postfix-dovecot'
    unproven = ('no matching DANE TLSA records', 'status=deferred')
    proven = ('Verified TLS connection established to mx.near.example',)
    command = ('/usr/sbin/postfix', 'start-fg')
    log_files = ('var/log/postfix.log',)

    def configure(self):
        with open(os.path.join(self.root, 'usr/share/postfix/master.cf.dist'), encoding='utf-8') as f:
            write(self.root, 'etc/postfix/master.cf', roots.without_chroot(f.read()))
        write(self.root, 'etc/postfix/main.cf', f'''compatibility_level = 3.6
queue_directory = /var/spool/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
data_directory = /var/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /var/log/postfix.log
myhostname = {self.hostname}
mydomain = {self.domain}
myorigin = {self.domain}
mydestination =
mynetworks = 127.0.0.0/8
smtpd_tls_cert_file = /etc/peer/certificate
smtpd_tls_key_file = /etc/peer/key
smtpd_tls_security_level = may
smtp_tls_security_level = dane
smtp_dns_support_level = dnssec
smtp_tls_loglevel = 1
virtual_mailbox_domains = {self.domain}
virtual_mailbox_base = /srv/mail
virtual_mailbox_maps = inline:{{ {", ".join(f"{self.address(u)}={u}/" for u in USERS)} }}
virtual_alias_maps = inline:{{ {self.address("away")}={self.astray} }}
virtual_uid_maps = static:{UID}
virtual_gid_maps = static:{UID}
alias_maps =
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
''')


class Exim(Peer):
    kind = 'exim'
    unproven = ('DANE attempt failed; TLS connection to mx.near.example', '== alice@near.example')
    proven = (' CV=dane ',)
    command = ('/usr/sbin/exim4', '-bdf', '-q1s')
    log_files = ('var/log/exim4/mainlog', 'var/log/exim4/paniclog')

    def configure(self):
        write(self.root, 'etc/exim4/users', ''.join(f'{user}: {user}\n' for user in USERS))
        os.chmod(os.path.join(self.root, 'etc/peer/key'), 0o644)  # it reads the key as its own user
        write(self.root, 'etc/exim4/exim4.conf', f'''primary_hostname = {self.hostname}
qualify_domain = {self.domain}
exim_path = /usr/sbin/exim4
log_file_path = /var/log/exim4/%slog
dns_dnssec_ok = 1
tls_advertise_hosts = *
tls_certificate = /etc/peer/certificate
tls_privatekey = /etc/peer/key
acl_smtp_rcpt = rcpt
acl_smtp_data = accept
keep_environment =
begin acl
rcpt:
  accept hosts = <; 127.0.0.1
  require domains = {self.domain}
  require verify = recipient
  accept
begin routers
away:
  driver = redirect
  domains = {self.domain}
  local_parts = away
  data = {self.astray}
users:
  driver = accept
  domains = {self.domain}
  local_parts = lsearch;/etc/exim4/users
  transport = maildir
elsewhere:
  driver = dnslookup
  domains = ! {self.domain}
  dnssec_request_domains = *
  transport = smtp
  no_more
begin transports
smtp:
  driver = smtp
  dnssec_request_domains = *
  hosts_try_dane = *
  tls_verify_certificates = /etc/peer/authority
  tls_try_verify_hosts = *
maildir:
  driver = appendfile
  directory = /srv/mail/$local_part_data
  maildir_format
  create_directory
  user = vmail
  group = vmail
begin retry
* * F,1h,1s
''')


class OpenSmtpd(Peer):
    kind = 'opensmtpd'
    command = ('/usr/sbin/smtpd', '-d')
    takes_tls = False  # it offers STARTTLS, and each handshake fails: Debian 12 has it with an OpenSSL that it does not know

    def configure(self):
        write(self.root, 'etc/users', ''.join(f'{user} {UID}:{UID}:/srv/mail\n' for user in USERS))
        write(self.root, 'etc/aliases', f'away: {self.astray}\n')
        write(self.root, 'etc/smtpd.conf', f'''table users file:/etc/users
table aliases file:/etc/aliases
smtp max-message-size 50M
pki {self.hostname} cert "/etc/peer/certificate"
pki {self.hostname} key "/etc/peer/key"
listen on 127.0.0.1 hostname {self.hostname}
listen on {self.place.addresses[0]} tls pki {self.hostname} hostname {self.hostname}
action "here" maildir "/srv/mail/%{{user.username}}" userbase <users> alias <aliases>
action "there" relay helo {self.hostname}
match from any for domain "{self.domain}" action "here"
match from local for any action "there"
''')


KINDS = {'postfix': Postfix, 'exim': Exim, 'opensmtpd': OpenSmtpd}
