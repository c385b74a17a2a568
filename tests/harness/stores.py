"""Other servers that hold mail, each in a root of its own, with POP3 and IMAP on free ports of loopback: where mail is collected and
imported from. Their one user has an INBOX and folders."""
import contextlib
import os
import socket
import time

import machine
import roots
from harness import network
from roots import write

USER, PASSWORD, UID = 'u0000', 'a long password', 5000


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(('127.0.0.1', 0))
        return [s.getsockname()[1] for s in sockets]


class Store:
    """`with Dovecot(folder) as there:`; there.port('pop3')."""

    kind, command = None, ()

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.ports = dict(zip(('pop3', 'imap'), free_ports(2)))
        self.log = open(os.path.join(str(folder), 'store.log'), 'ab')
        self.root = roots.unpack(self.kind, os.path.join(str(folder), 'root'), self.log)
        write(self.root, 'etc/hosts', '127.0.0.1 localhost\n')
        self.process = None
        self.configure()

    def port(self, service):
        return self.ports[service]

    def add_user(self, home):
        for path, line in (('etc/passwd', f'vmail:x:{UID}:{UID}::{home}:/usr/sbin/nologin\n'), ('etc/group', f'vmail:x:{UID}:\n')):
            with open(os.path.join(self.root, path), 'a', encoding='utf-8') as f:
                f.write(line)

    def start(self):
        line, env = machine.command(self.root, ['/bin/sh', '-c', '"$@" & wait', 'init', *self.command])
        self.process = network.spawn(line, self.log, env=env)
        for service in self.ports:
            self.wait_for(service)

    def wait_for(self, service, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.port(service)), timeout=10) as s:
                if s.recv(1):
                    return
            time.sleep(0.05)
        raise AssertionError(f'{self.kind}: {service} does not answer')

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()
        self.log.close()
        machine.remove(self.root)


class Dovecot(Store):
    kind = 'postfix-dovecot'
    command = ('/usr/sbin/dovecot', '-F', '-c', '/etc/dovecot-test.conf')
    uidl = '%08Xu%08Xv'

    def configure(self):
        self.add_user('/srv/mail')
        os.makedirs(os.path.join(self.root, 'srv/mail'), exist_ok=True)
        os.chown(os.path.join(self.root, 'srv/mail'), UID, UID)
        write(self.root, 'etc/users', f'{USER}:{{PLAIN}}{PASSWORD}\n')
        write(self.root, 'etc/dovecot-test.conf', f'''base_dir = /run/dovecot
protocols = imap pop3
listen = 127.0.0.1
log_path = /var/log/dovecot.log
mail_location = maildir:/srv/mail/%n
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
passdb {{
  driver = passwd-file
  args = scheme=PLAIN /etc/users
}}
userdb {{
  driver = static
  args = uid=vmail gid=vmail home=/srv/mail/home/%n allow_all_users=yes
}}
mail_max_userip_connections = 0
first_valid_uid = 5000
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Sent {{
    special_use = \\Sent
    auto = create
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {self.ports['imap']}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {self.ports['pop3']}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
''')

    def put(self, texts):
        """Messages into the INBOX, with LF at the ends of lines as Maildirs have them; before it is started."""
        base = os.path.join(self.root, 'srv/mail', USER)
        for name in 'cur', 'new', 'tmp':
            os.makedirs(os.path.join(base, name), exist_ok=True)
        for n, text in enumerate(texts):
            with open(os.path.join(base, 'new', f'{1700000000 + n}.M{n}P1.there'), 'wb') as f:
                f.write(text.replace(b'\r\n', b'\n'))
        for top, folders, files in os.walk(base):
            for name in (*folders, *files):
                os.chown(os.path.join(top, name), UID, UID)
        os.chown(base, UID, UID)


class Cyrus(Store):
    kind = 'cyrus'
    command = ('/usr/sbin/cyrmaster', '-D')
    uidl = '%v.%u'

    def configure(self):
        write(self.root, 'etc/imapd.conf', '''configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: default
partition-default: /srv/cyrus
admins: cyrus
servername: there.test
unixhierarchysep: yes
altnamespace: yes
virtdomains: off
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_mech_list: PLAIN LOGIN
sasl_sasldb_path: /etc/sasldb2
autocreate_quota: 0
autocreate_quota_messages: -1
autocreate_inbox_folders: Sent
autocreate_users: anyone
xlist-Sent: Sent
duplicatesuppression: no
popminpoll: 0
syslog_prefix: cyrus
''')
        write(self.root, 'etc/cyrus.conf', f'''START {{
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="imapd -U 30" listen="127.0.0.1:{self.ports['imap']}" prefork=1
  pop3 cmd="pop3d -U 30" listen="127.0.0.1:{self.ports['pop3']}" prefork=1
}}
EVENTS {{
  checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30
}}
''')
        rows = f' {USER}\\00there.test\\00userPassword\n {PASSWORD}\n'
        write(self.root, 'etc/sasldb.dump', f'VERSION=3\nformat=print\ntype=hash\nHEADER=END\n{rows}DATA=END\n')
        machine.run(self.root, ['sh', '-ec', 'rm -f /etc/sasldb2; db_load -f /etc/sasldb.dump /etc/sasldb2; chown cyrus:sasl /etc/sasldb2; '
                                'install -d -o cyrus -g mail /srv/cyrus /run/cyrus /run/cyrus/proc /run/cyrus/lock /run/cyrus/socket'],
                    log=self.log)
