"""What the tests of penfold migrate share: a host with everything in it, what can be seen of it, and a second store for it."""
import hashlib
import os
import re
import signal
import subprocess
import time

import builds
import cephcluster
from harness import imap, wire
from harness.host import DOMAIN

USERS = ('alice', 'bob', 'carol')
LARGE = b'Subject: large\r\n\r\n' + b'0123456789\r\n' * 60000


def second(host, name='second', store=''):
    """A configuration beside the host's that names another store: its path."""
    path = os.path.join(host.folder, name + '.conf')
    with open(host.conf, encoding='utf-8') as f:
        text = re.sub(r'(?ms)^store \{.*?^\}\n', '', f.read())
    with open(path, 'w', encoding='utf-8') as f:
        f.write(re.sub(r'(?m)^data\s*=.*$', f'data = "{name}"', text) + store)
    return path


def fill(host):
    """Folders, flags, copies, tombstones, an alias, a body in a file of its own, a message to all."""
    for n in range(12):
        wire.deliver(host, b'Subject: mail %d\r\n\r\nx\r\n' % n, 'alice')
    wire.deliver(host, LARGE, 'bob')
    wire.deliver(host, b'Subject: to all\r\n\r\nx\r\n', 'alice', 'bob')
    end = time.monotonic() + 60
    while not all(any(m.subject == 'to all' for m in imap.holds(host, user)) for user in ('alice', 'bob')):
        assert time.monotonic() < end
        time.sleep(0.05)
    with imap.login(host, 'alice') as connection:
        for command in ('CREATE Work', 'CREATE Work/Old', 'SUBSCRIBE Work', 'SELECT INBOX',
                        'UID STORE 1:3 +FLAGS (\\Seen \\Flagged $Label)', 'UID COPY 2:6 Work', 'UID MOVE 9 Work/Old',
                        'UID STORE 4:5 +FLAGS (\\Deleted)', 'EXPUNGE'):
            connection.command(command)
        connection.append('Work', b'Subject: own\r\n\r\nx\r\n', '\\Draft')
    host.run('alias', 'add', f'info@{DOMAIN}', f'alice@{DOMAIN}')
    host.run('account', 'remove', f'carol@{DOMAIN}')


def numbers(host, user):
    """What a client remembers of each mailbox."""
    found = {}
    with imap.login(host, user) as connection:
        for name in imap.mailboxes(connection):
            lines = connection.command(f'STATUS {imap.quoted(name)} (MESSAGES UNSEEN UIDNEXT UIDVALIDITY)')[1]
            found[name] = sorted(re.findall(rb'([A-Z]+) (\d+)', b''.join(line for line in lines if b'STATUS' in line)))
    return found


def seen(host):
    """All that can be seen of it."""
    mail = {user: {name: [(m.uid, sorted(m.flags), m.data) for m in held] for name, held in imap.holds_all(host, user).items()}
            for user in ('alice', 'bob')}
    lists = [host.run(*words, '--json') for words in (('account', 'list'), ('alias', 'list'), ('domain', 'list'))]
    return mail, [numbers(host, user) for user in ('alice', 'bob')], lists


def digests(folder):
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(at, name), 'rb') as f:
                found[os.path.relpath(os.path.join(at, name), folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


def on_cluster(conf, name):
    """The part of a configuration that names a store of its own in a cluster of tools/cluster."""
    keys = {'engine': 'rados', 'ceph_conf': conf, 'ceph_keyring': os.path.join(os.path.dirname(conf), 'penfold.keyring'),
            'ceph_user': cephcluster.USER, 'pool': cephcluster.INDEX, 'body_pool': cephcluster.BODIES, 'name': name,
            'plugin': builds.plugin(os.environ['PENFOLD_BUILD'])}
    return 'store {\n' + ''.join(f'    {key} = "{value}"\n' for key, value in keys.items()) + '}\n'


def serve_on(host, conf):
    host.stop()
    host.conf = conf
    host.start()


def carry_killed(host, other, seconds, growth):
    """Runs it until it ends by itself, killed after so many seconds, each time `growth` as many; how often it was."""
    killed = 0
    while True:
        child = subprocess.Popen([host.binary, 'migrate', other, '-c', host.conf], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            child.wait(seconds * growth ** killed)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            killed += 1
        said = b''.join(child.communicate())
        if child.returncode == 0:
            return killed
        assert child.returncode == -signal.SIGKILL and killed < 100, said
