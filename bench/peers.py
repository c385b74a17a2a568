"""The peers' own roots: minimal Debian 12 folders with the peer installed and the configurations of bench/peers/conf in place."""
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), 'tools'))
import machine  # noqa: E402
import roots  # noqa: E402
from roots import write  # noqa: E402

CONF = os.path.join(HERE, 'peers', 'conf')
USERS = [f'u{n:04}' for n in range(100)]
IMAP_USERS = [f'u{n:04}' for n in (*range(300), *range(10000, 11000))]
DOMAIN = 'bench.test'
# Roots with the packages of another.
COPIES = {'dovecot-mdbox': 'postfix-dovecot', 'dovecot-maildir': 'postfix-dovecot'}


KEYS = {'RSA-2048': ['rsa:2048'], 'P-256': ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']}


def certify(kind, certificate, key):
    """A certificate of its own signature; files that are there keep their owners."""
    subprocess.run(['openssl', 'req', '-x509', '-newkey', *KEYS[kind], '-nodes', '-days', '3650', '-subj', f'/CN=mail.{DOMAIN}',
                    '-keyout', key, '-out', certificate], check=True, stderr=subprocess.DEVNULL)


def common(root):
    """What both peers have: the users' system account, a resolver that fails at once, a certificate."""
    write(root, 'etc/resolv.conf', 'nameserver 127.0.0.1\n')
    write(root, 'etc/hosts', f'127.0.0.1 localhost mail.{DOMAIN}\n')
    os.makedirs(os.path.join(root, 'etc/ssl'), exist_ok=True)
    machine.run(root, ['sh', '-c', 'getent passwd vmail >/dev/null || useradd -u 5000 -d /srv/mail -s /usr/sbin/nologin vmail'])
    certify('RSA-2048', os.path.join(root, 'etc/ssl/bench.crt'), os.path.join(root, 'etc/ssl/bench.key'))
    os.makedirs(os.path.join(root, 'srv/mail'), exist_ok=True)
    os.chown(os.path.join(root, 'srv/mail'), 5000, 5000)


def postfix_dovecot(root):
    shutil.copy(os.path.join(CONF, 'postfix-main.cf'), os.path.join(root, 'etc/postfix/main.cf'))
    with open(os.path.join(root, 'usr/share/postfix/master.cf.dist'), encoding='utf-8') as f:
        master = roots.without_chroot(f.read())
    write(root, 'etc/postfix/master.cf', master.replace('\nsmtp inet ', '\n127.0.0.1:10025 inet ', 1))
    write(root, 'etc/postfix/vmailbox', ''.join(f'{u}@{DOMAIN} {u}\n' for u in USERS))
    machine.run(root, ['postmap', '/etc/postfix/vmailbox'])
    write(root, 'etc/dovecot/users', ''.join(f'{u}:{{PLAIN}}pw\n' for u in USERS))
    os.makedirs(os.path.join(root, 'etc/dovecot-bench'), exist_ok=True)
    shutil.copy(os.path.join(CONF, 'mdbox.conf'), os.path.join(root, 'etc/dovecot-bench/mdbox.conf'))


def postfix_relay(root):
    """Passes mail on: for a relay domain on one port, for who logs in on another, and on a third signed too."""
    shutil.copy(os.path.join(CONF, 'postfix-relay.cf'), os.path.join(root, 'etc/postfix/main.cf'))
    with open(os.path.join(root, 'usr/share/postfix/master.cf.dist'), encoding='utf-8') as f:
        master = roots.without_chroot(f.read()).replace('\nsmtp inet ', '\n127.0.0.1:10025 inet ', 1)
    login = '-o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject'
    master += (f'127.0.0.1:10587 inet n - n - - smtpd {login}\n'
               f'127.0.0.1:10588 inet n - n - - smtpd {login} -o smtpd_milters=inet:127.0.0.1:8891\n')
    write(root, 'etc/postfix/master.cf', master)
    write(root, 'etc/dovecot/users', ''.join(f'{u}@{DOMAIN}:{{PLAIN}}pw\n' for u in USERS))
    os.makedirs(os.path.join(root, 'etc/dovecot-bench'), exist_ok=True)
    shutil.copy(os.path.join(CONF, 'relay.conf'), os.path.join(root, 'etc/dovecot-bench/relay.conf'))
    shutil.copy(os.path.join(CONF, 'opendkim.conf'), os.path.join(root, 'etc/opendkim-bench.conf'))
    machine.run(root, ['sh', '-ec', 'umask 077; openssl genrsa -out /etc/dkim.pem 2048; chown opendkim /etc/dkim.pem'])


def opensmtpd(root):
    shutil.copy(os.path.join(CONF, 'opensmtpd.conf'), os.path.join(root, 'etc/smtpd.conf'))
    write(root, 'etc/mailname', f'mail.{DOMAIN}\n')
    write(root, 'etc/smtpd.ub', ''.join(f'{u} 5000:5000:/srv/mail\n' for u in USERS))


def dovecot_imap(root):
    """Both storage formats, each also without syncing (for filling only), and with compression."""
    write(root, 'etc/dovecot/users', ''.join(f'{u}:{{PLAIN}}pw\n' for u in IMAP_USERS))
    for name in ('mdbox', 'maildir'):
        with open(os.path.join(CONF, f'{name}.conf'), encoding='utf-8') as f:
            text = f.read()
        write(root, f'etc/dovecot-bench/{name}.conf', text)
        write(root, f'etc/dovecot-bench/{name}-fill.conf', text + 'mail_fsync = never\n')
        write(root, f'etc/dovecot-bench/{name}-deflate.conf', text + 'protocol imap {\n  mail_plugins = zlib imap_zlib\n}\n')


def cyrus(root):
    """Its passwords lie in a Berkeley database; one load makes them all."""
    for name, to in (('cyrus-imapd.conf', 'imapd.conf'), ('cyrus.conf', 'cyrus.conf')):
        shutil.copy(os.path.join(CONF, name), os.path.join(root, 'etc', to))
    rows = ''.join(f' {u}\\00mail.{DOMAIN}\\00userPassword\n pw\n' for u in IMAP_USERS)
    write(root, 'etc/sasldb.dump', f'VERSION=3\nformat=print\ntype=hash\nHEADER=END\n{rows}DATA=END\n')
    machine.run(root, ['sh', '-ec', 'rm -f /etc/sasldb2; db_load -f /etc/sasldb.dump /etc/sasldb2; chown cyrus:sasl /etc/sasldb2; '
                       'install -d -o cyrus -g mail /srv/cyrus; chown cyrus:mail /etc/ssl/bench.key'])


CONFIGURE = {'postfix-dovecot': postfix_dovecot, 'postfix-relay': postfix_relay, 'opensmtpd': opensmtpd, 'dovecot-mdbox': dovecot_imap, 'dovecot-maildir': dovecot_imap,
             'cyrus': cyrus}


def make(name, folder, log):
    """A fresh root of the peer in the folder."""
    root = roots.unpack(COPIES.get(name, name), os.path.join(folder, name), log)
    common(root)
    CONFIGURE[name](root)
    return root
