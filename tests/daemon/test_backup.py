"""penfold backup and restore: what comes back, what is refused, and what nobody gets twice."""
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time

import pytest

from harness import wire
from harness.host import DOMAIN, Host
from harness.load import Load


def mails(host, user):
    """{UIDL: message} of a mailbox."""
    with wire.Wire(host.port('pop3')) as reader:
        reader.line()
        for command in (f'USER {user}@{DOMAIN}', f'PASS {host.passwords[user]}', 'UIDL'):
            reader.send(command + '\r\n')
            assert reader.line().startswith('+OK')
        listed = dict(line.split() for line in reader.multi())
        reader.send('QUIT\r\n')  # the mailbox is free before the answer
        assert reader.line().startswith('+OK')
    return {uidl: message for uidl, message in zip(listed.values(), wire.messages(host, user))}


def restored(host, backup, folder, **options):
    """Another host made from a backup, with the accounts of the first."""
    other = Host(folder, users=(), serve=False, **options)
    other.passwords = dict(host.passwords)
    empty(other)
    other.run('restore', str(backup))
    return other


def on_ceph():
    return bool(os.environ.get('PENFOLD_STORE_CEPH'))


def empty(host):
    """As `penfold restore` wants it: no data folder, and where the store is in a cluster another one, which nobody has used."""
    shutil.rmtree(os.path.join(host.folder, 'data'), ignore_errors=True)
    with open(host.conf, encoding='utf-8') as f:
        text = f.read()
    with open(host.conf, 'w', encoding='utf-8') as f:
        f.write(re.sub(r'"host-[0-9a-f]{12}"', f'"host-{secrets.token_hex(6)}"', text))


def tree(folder):
    return sorted(os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names)


def identities(messages):
    return [re.search(rb'Message-ID: <(.*?)@', message)[1].decode() for message in messages]


def test_a_backup_under_load_restored_elsewhere(make_host, tmp_path):
    host = make_host()
    large = b'Subject: large\r\n\r\n' + b'0123456789\r\n' * 60000
    wire.deliver(host, large, 'alice')
    with Load(host, ['alice', 'bob'], threads=4, groups=(1, 2)) as load:  # two recipients: through the queue
        load.wait_for(100)
        with load.ledger.lock:
            before = set(load.ledger.acked)
        host.run('backup', str(tmp_path / 'backup'), timeout=120)
        load.wait_for(load.count() + 20)
    assert not os.path.exists(os.path.join(host.folder, 'data', 'snapshot'))
    originals = {user: mails(host, user) for user in ('alice', 'bob')}
    with restored(host, tmp_path / 'backup', tmp_path / 'other') as other:
        other.start()
        for user in ('alice', 'bob'):
            now = mails(other, user)
            assert all(originals[user].get(uidl) == message for uidl, message in now.items() if uidl in originals[user])
        held = json.loads(other.run('queue', 'list', '--json'))
        assert all(item['state'] == 'held' and 'backup' in item['cause'] for item in held)
        other.run('queue', 'release', '--all')
        end = time.monotonic() + 60
        while json.loads(other.run('queue', 'list', '--json')):
            assert time.monotonic() < end
            time.sleep(0.05)
        for user in ('alice', 'bob'):
            found = list(mails(other, user).values())
            if user == 'alice':
                assert sum(message.endswith(large) for message in found) == 1
                found = [message for message in found if not message.endswith(large)]
            names = identities(found)
            assert len(names) == len(set(names)), 'a message came twice'
            assert {name for name, to in before if to == user} <= set(names), 'acknowledged before the backup began'
            for name, message in zip(names, found):
                assert message.endswith(load.message(name))
        # New mail gets a UIDL that nobody has seen for another message, also not after the backup.
        wire.deliver(other, b'Subject: new\r\n\r\nx\r\n', 'alice')
        new = [uidl for uidl, message in mails(other, 'alice').items() if b'Subject: new\r\n' in message]
        assert len(new) == 1 and new[0] not in originals['alice']
        other.stop()
        assert 'faults' in other.run('fsck')


def test_what_a_backup_holds(make_host, tmp_path):
    host = make_host(settings='limits { recipients = 77 }')
    wire.deliver(host, b'Subject: one\r\n\r\n' + b'0123456789\r\n' * 60000, 'alice')
    backup = tmp_path / 'backup'
    host.run('backup', str(backup))
    assert os.stat(backup).st_mode & 0o777 == 0o700
    files = tree(backup)
    assert 'manifest' in files and {'config/penfold.conf', 'config/certificate.pem', 'config/key.pem'} <= set(files)
    with open(backup / 'manifest', encoding='ascii') as f:
        listed = sorted(line.split(' ', 2)[2].rstrip('\n') for line in f if not line.startswith(('penfold-', 'end ')))
    assert listed == [name for name in files if name != 'manifest']
    with open(backup / 'config' / 'penfold.conf', encoding='ascii') as f:
        assert 'recipients = 77' in f.read()
    # A body of its own is shared with the store, the segment that is written to is not; from a cluster all is a copy.
    assert on_ceph() or [name for name in files if name.startswith('data/big/') and os.stat(backup / name).st_nlink > 1]
    assert all(os.stat(backup / name).st_nlink == 1 for name in files if name.startswith('data/seg/'))
    done = host.run('backup', str(backup), check=False)
    assert done.returncode == 1 and 'it is not empty' in done.stderr


def test_a_certificate_that_is_a_link(make_host, tmp_path):
    """As certbot keeps them; and certificate and key in one file."""
    host = make_host()
    tls = os.path.join(host.folder, 'tls')
    with open(os.path.join(tls, 'both.pem'), 'w', encoding='ascii') as both:
        for name in ('certificate.pem', 'key.pem'):
            with open(os.path.join(tls, name), encoding='ascii') as f:
                both.write(f.read())
            os.unlink(os.path.join(tls, name))
    os.chmod(os.path.join(tls, 'both.pem'), 0o600)
    for name in ('certificate.pem', 'key.pem'):
        os.symlink('both.pem', os.path.join(tls, name))
    host.run('backup', str(tmp_path / 'backup'))
    with open(os.path.join(tls, 'both.pem'), encoding='ascii') as both:
        text = both.read()
    for name in ('certificate.pem', 'key.pem'):
        with open(tmp_path / 'backup' / 'config' / name, encoding='ascii') as f:
            assert f.read() == text


def test_a_manifest_leads_nowhere_else(make_host, tmp_path):
    """A restore often runs as root: it writes nothing beside the data folder, whatever the manifest says."""
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'alice')
    host.stop()
    backup, victim = tmp_path / 'backup', tmp_path / 'victim'
    host.run('backup', str(backup))
    other = Host(tmp_path / 'other', users=(), serve=False)
    try:
        shutil.rmtree(os.path.join(other.folder, 'data'))
        for path in (f'data/{victim}', 'data/../../victim', f'{victim}', 'data//../victim'):
            with open(backup / 'manifest', encoding='ascii') as f:
                body = f.readline() + f'{hashlib.sha256(b"").hexdigest()} 0 {path}\n'
            with open(backup / 'manifest', 'w', encoding='ascii') as f:
                f.write(body + f'end 1 {hashlib.sha256(body.encode()).hexdigest()}\n')
            done = other.run('restore', str(backup), check=False)
            assert done.returncode == 1 and 'it is damaged' in done.stderr, (path, done.stderr)
            assert not victim.exists() and not os.path.exists(os.path.join(other.folder, 'data'))
    finally:
        other.ports.release()


@pytest.mark.parametrize('name', ['db', 'db/CURRENT'])
def test_no_link_is_followed(make_host, tmp_path, name):
    host = make_host()
    backup = tmp_path / 'backup'
    host.run('backup', str(backup))
    os.rename(backup / 'data' / name, tmp_path / 'elsewhere')
    os.symlink(tmp_path / 'elsewhere', backup / 'data' / name)
    other = Host(tmp_path / 'other', users=(), serve=False)
    try:
        shutil.rmtree(os.path.join(other.folder, 'data'))
        done = other.run('restore', str(backup), check=False)
        assert done.returncode == 1 and f'penfold: {name}' in done.stderr, done.stderr
        assert not [found for found in os.listdir(other.folder) if found.startswith('data')]
    finally:
        other.ports.release()


def test_offline(make_host, tmp_path):
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'alice')
    host.stop()
    host.run('backup', str(tmp_path / 'backup'))
    with restored(host, tmp_path / 'backup', tmp_path / 'other') as other:
        other.start()
        assert len(mails(other, 'alice')) == 1
    for folder, _, files in os.walk(other.folder + '/data'):
        for name in files:
            owner = os.stat(host.folder + '/data').st_uid
            assert os.lstat(os.path.join(folder, name)).st_uid == owner, name


def damage(path, mode):
    if mode == 'gone':
        os.unlink(path)
    elif mode == 'short':
        with open(path, 'rb') as f:
            text = f.read()
        os.unlink(path)
        with open(path, 'wb') as f:
            f.write(text[:len(text) // 2])
    else:
        with open(path, 'rb') as f:
            text = bytearray(f.read())
        text[len(text) // 2] ^= 1
        os.unlink(path)
        with open(path, 'wb') as f:
            f.write(text)


@pytest.mark.parametrize('mode', ['gone', 'short', 'flipped'])
def test_a_damaged_backup_is_refused(make_host, tmp_path, mode):
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\nx\r\n', 'alice')
    host.run('backup', str(tmp_path / 'whole'))
    other = Host(tmp_path / 'other', users=(), serve=False)
    data = os.path.join(other.folder, 'data')
    empty(other)
    os.mkdir(data, 0o700)
    files = [name for name in tree(tmp_path / 'whole') if name.startswith('data/') or name == 'manifest']
    for name in (name for name in files if os.path.getsize(tmp_path / 'whole' / name)):
        copy = tmp_path / 'copy'
        shutil.copytree(tmp_path / 'whole', copy)
        damage(copy / name, mode)
        done = other.run('restore', str(copy), check=False)
        assert done.returncode == 1 and done.stderr.startswith('penfold: '), (name, done)
        assert os.listdir(data) == [] and not os.path.exists(data + '.restoring')
        shutil.rmtree(copy)
    other.run('restore', str(tmp_path / 'whole'))
    other.ports.release()


def test_a_restore_never_overwrites(make_host, tmp_path):
    host = make_host()
    host.run('backup', str(tmp_path / 'backup'))
    done = host.run('restore', str(tmp_path / 'backup'), check=False)
    assert done.returncode == 1 and 'data: it is not empty' in done.stderr
    done = host.run('restore', str(tmp_path / 'nothing'), check=False)
    assert done.returncode == 1
    assert host.run('restore', check=False).returncode == 2


def test_a_backup_that_is_killed_is_none(make_host, tmp_path):
    """At many moments: what is left is either whole or refused, and the next backup works."""
    host = make_host()
    for n in range(20):
        wire.deliver(host, b'Subject: %d\r\n\r\n' % n + b'0123456789\r\n' * 40000, 'alice')
    other = Host(tmp_path / 'other', users=(), serve=False)
    data = os.path.join(other.folder, 'data')
    killed = 0
    for n in range(12):
        backup = tmp_path / f'backup{n}'
        child = subprocess.Popen([host.binary, 'backup', str(backup), '-c', host.conf], stderr=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL)
        try:
            child.wait(0.01 * n)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            killed += 1
        if not os.path.exists(backup / 'manifest') and os.path.exists(backup):
            shutil.rmtree(data, ignore_errors=True)
            done = other.run('restore', str(backup), check=False)
            assert done.returncode == 1 and 'no whole backup' in done.stderr, done
            assert not os.path.exists(data)
    assert killed
    end = time.monotonic() + 30  # the server may still be making the last snapshot
    while host.run('backup', str(tmp_path / 'last'), check=False).returncode:
        shutil.rmtree(tmp_path / 'last', ignore_errors=True)
        assert time.monotonic() < end
        time.sleep(0.1)
    empty(other)
    other.run('restore', str(tmp_path / 'last'))
    other.ports.release()


def test_two_at_once(make_host, tmp_path):
    """Both work, or one says that another is under way; the server goes on."""
    host = make_host()
    wire.deliver(host, b'Subject: one\r\n\r\n' + b'0123456789\r\n' * 400000, 'alice')
    done = []
    threads = [threading.Thread(target=lambda n=n: done.append(host.run('backup', str(tmp_path / str(n)), check=False)))
               for n in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert DOMAIN in host.run('domain', 'list')  # nobody waits for it
    for thread in threads:
        thread.join()
    assert any(d.returncode == 0 for d in done), done
    for d in done:
        assert d.returncode == 0 or d.stderr == 'penfold: backup: another one is under way\n'
    assert not os.path.exists(os.path.join(host.folder, 'data', 'snapshot'))


def test_queue_commands(make_host):
    host = make_host()
    assert host.run('queue', 'list') == ''
    assert json.loads(host.run('queue', 'list', '--json')) == []
    assert 'items' in host.run('queue', 'release', '--all')
    for words, status in ((['release'], 2), (['release', 'x', '--all'], 2), (['hold', 'x'], 1), (['release', '0' * 32], 1),
                          (['list', '--limit', 'x'], 2), (['show', '0' * 32], 1), (['show'], 2), (['retry'], 2),
                          (['remove', '--all', 'x'], 2), (['remove', '0' * 32, '--report'], 1),
                          (['list', '--state', 'x'], 2), (['list', '--older', 'soon'], 2)):
        assert host.run('queue', *words, check=False).returncode == status
