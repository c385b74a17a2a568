"""Roots of other mail servers: minimal Debian 12 folders with their packages, kept in the cache of machine.py. For make bench, and for the
tests that exchange mail with them."""
import os
import subprocess

import machine

# What a root has installed.
PACKAGES = {
    'postfix-dovecot': ('postfix', 'dovecot-core', 'dovecot-lmtpd', 'dovecot-pop3d', 'dovecot-imapd', 'procps'),
    'postfix-relay': ('postfix', 'dovecot-core', 'opendkim', 'openssl', 'procps'),
    'opensmtpd': ('opensmtpd', 'procps'),
    'exim': ('exim4-daemon-light', 'procps'),
    'cyrus': ('cyrus-imapd', 'cyrus-pop3d', 'cyrus-admin', 'sasl2-bin', 'libsasl2-modules', 'libsasl2-modules-db', 'db-util',
              'eatmydata', 'procps'),
}


def write(root, path, text, mode=0o644):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, 'w', encoding='utf-8') as f:
        f.write(text)
    os.chmod(full, mode)


def unpack(kind, root, log):
    """A fresh root with the packages of that kind, which is kept in the cache."""
    cached = os.path.join(machine.CACHE, f'bench-{kind}.tar')
    machine.remove(root)
    if not os.path.exists(cached):
        machine.make(root, log=log)
        machine.install(root, *PACKAGES[kind], log=log)
        subprocess.run(['tar', '-C', root, '--exclude=./var/cache/apt/archives/*.deb', '-cf', cached + '.new', '.'], check=True)
        os.rename(cached + '.new', cached)
    else:
        os.makedirs(root)
        subprocess.run(['tar', '-C', root, '-xf', cached], check=True)
    return root


def without_chroot(master):
    """Postfix's master.cf for a root of its own: no chroot inside it."""
    lines = []
    for line in master.split('\n'):
        words = line.split()
        if len(words) >= 8 and not line.startswith(('#', ' ')):
            words[4] = 'n'
            line = ' '.join(words)
        lines.append(line)
    return '\n'.join(lines)
