"""One test for each Part of "The house stands". They run the programs of the Part and look at what the Part says in numbers
or names; the Part's own tests go through everything else."""
import os
import re
import shutil
import subprocess

import pytest

from harness import wire

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def path(*parts):
    return os.path.join(ROOT, *parts)


def read(*parts):
    with open(path(*parts), encoding='utf-8') as f:
        return f.read()


def copy_of_the_sources(to):
    """Without what has been built."""
    def ignored(folder, names):
        return {n for n in names if n in ('.git', 'run', '__pycache__') or folder == ROOT and (n == 'build' or n.startswith('build-'))}
    shutil.copytree(ROOT, to, symlinks=True, ignore=ignored)
    return to


# --- build -----------------------------------------------------------------------------------------------------------

def test_part_build(tool, command, tmp_path):
    """One library a folder, the floors table obeyed, sizes reported, hardening in the program, install under any prefix."""
    targets = re.findall(r'^([a-z-]+):', read('Makefile'), re.M)
    assert {'all', 'deps', 'run', 'check', 'check-full', 'bench', 'fuzz', 'install', 'clean'} <= set(targets)
    assert 'Apache License' in read('LICENSE') and "license: 'Apache-2.0'" in read('meson.build')
    assert '0 errors' in tool('check-floors')
    sizes = tool('check-sizes')
    assert re.search(r'code: .*median \d+, p90 \d+, max \d+; .* median \d+, p90 \d+, max \d+', sizes), sizes
    rows = [line.split('|')[1].strip() for line in read('src/floors.txt').split('\n') if line.count('|') == 3 and line[0] != '#']
    libraries = {name[3:-2] for name in os.listdir(path('build')) if name.startswith('lib') and name.endswith('.a')}
    assert libraries == {r for r in rows if os.path.exists(path('src', r, 'meson.build'))}
    assert 'make check' in read('.ci/run') and 'check-full' in read('.ci/run')
    program = os.environ['PENFOLD_BIN']
    assert_hardened(command('readelf', '-Wldh', program))
    installed = tmp_path / 'stage/opt/elsewhere/bin/penfold'
    copy_of_the_sources(tmp_path / 'copy')
    command('make', 'install', f'DESTDIR={tmp_path}/stage', 'PREFIX=/opt/elsewhere', cwd=tmp_path / 'copy', timeout=290)
    assert 'usage: penfold' in command(str(installed), '--help')
    unit = tmp_path / 'stage/opt/elsewhere/lib/systemd/system/penfold.service'
    assert 'ExecStart=/opt/elsewhere/bin/penfold serve' in unit.read_text()
    assert str(tmp_path).encode() not in strings_of(installed), 'the program knows where it was built'


def assert_hardened(text):
    assert re.search(r'Type:\s+DYN', text), 'not position independent'
    assert 'GNU_RELRO' in text and 'BIND_NOW' in text
    assert re.search(r'GNU_STACK.* RW ', text), 'the stack is executable'


def strings_of(program):
    stripped = str(program) + '.stripped'
    subprocess.run(['strip', '-o', stripped, str(program)], check=True)
    with open(stripped, 'rb') as f:
        return f.read()


def test_part_build_a_floor_cannot_be_climbed(command, tmp_path):
    """The include path of a folder is its row: an include that looks upward does not compile."""
    copy_of_the_sources(tmp_path / 'copy')
    source = tmp_path / 'copy/src/task/serial.c'
    source.write_text('#include "store/store.h"\n' + source.read_text())
    command('meson', 'setup', 'build', cwd=tmp_path / 'copy')
    done = command('ninja', '-C', 'build', 'libtask.a', cwd=tmp_path / 'copy', check=False)
    assert done.returncode != 0 and 'store/store.h' in done.stdout


# --- base, net, mime ---------------------------------------------------------------------------------------------------

def test_part_base_net(units):
    """Result codes, views, buffers, arenas, logs; loops, connections, TLS, limits, hand-over and drain."""
    assert sum(map(len, units.of('base').values())) >= 15
    assert sum(map(len, units.of('task').values())) >= 3
    cases = [case for found in units.of('net').values() for case in found]
    assert len(cases) >= 15
    for word in ('starttls', 'carried_over', 'half_closed', 'plain'):
        assert any(word in case for case in cases), f'no test of net speaks of {word}'


def test_part_mime(units, command):
    """One pass to a tree of offsets, limits on depth, parts and header; a fuzz target with corpus and dictionary."""
    assert sum(map(len, units.of('mime').values())) >= 15
    assert os.path.getsize(path('fuzz/mime.dict')) > 0 and len(os.listdir(path('fuzz/corpus/mime'))) >= 10
    build = os.environ['PENFOLD_BUILD']
    command(path(build, 'fuzz/replay-mime'), path('fuzz/corpus/mime'), path('tests/corpus'))


# --- kv, faults, store ---------------------------------------------------------------------------------------------------

def test_part_kv(units):
    """One conformance suite against every back end, each case by its number; what only the disk can show, beside it."""
    cases = units.run('kv-test_conform', timeout=280)
    by_engine = {}
    for case in cases:
        engine, number = case.split()[:2]
        by_engine.setdefault(engine, set()).add(number)
    assert set(by_engine) == {'mem', 'local'}
    assert len(by_engine['mem'] & by_engine['local']) >= 45
    local = units.run('kv-test_kv_local')
    for word in ('damaged', 'little_space', 'cleaning', 'crash', 'large_file'):
        assert any(word in case for case in local), f'no test of kv_local speaks of {word}'


def test_part_fault_sweep(command):
    """A fault of each kind, its negative control, and the sync before the 250; tests/crash goes through all of them."""
    text = command('python3' if not os.path.exists('/usr/bin/python3') else '/usr/bin/python3', '-m', 'pytest', '-q', '-p',
                   'no:cacheprovider', 'tests/crash/test_fault_sweep.py', 'tests/crash/test_sync_before_ack.py', '-k',
                   'negative_control or failed_sync or no_space or acknowledgement or (every_fault and sync and kill)')
    passed = re.search(r'(\d+) passed', text)
    assert passed and int(passed[1]) >= 10, text[-1500:]
    invariants = re.findall(r'^\*?\*?([A-Z]\d+|\d+)[.:]', read('docs/internals/store.md'), re.M)
    assert len(invariants) >= 5 or len(re.findall(r'\b[SLBAGRC]\d\b', read('docs/internals/store.md'))) >= 5


def test_part_store(units, command):
    """The mail model on both back ends, equal costs in small and in huge mailboxes, old data opened by this version."""
    cases = [case for found in units.of('store').values() for case in found]
    assert len(cases) >= 30
    assert any('costs_do_not_grow' in case for case in cases)
    assert any('(mem)' in case for case in cases) and any('(local)' in case for case in cases)
    build = os.environ['PENFOLD_BUILD']
    text = command('bash', 'tests/upgrade/check', path(build, 'tests/upgrade/upgrade'))
    assert re.search(r'data of version \S+: [1-9]\d* messages found', text), text


# --- smtp, pop3, daemon --------------------------------------------------------------------------------------------------

def test_part_smtp_pop3_daemon(make_host, units, command):
    """init, domain, account, serve, stat and fsck as docs say; the sandbox holds; the certificate names every service."""
    assert 'only_what_is_needed_works_inside' in units.run('daemon-test_sandbox')
    host = make_host(settings='', users=('alice',))
    host.run('domain', 'add', 'second.test')
    assert 'second.test' in host.run('domain', 'list') and 'alice@example.test' in host.run('account', 'list')
    host.run('account', 'add', 'carol@second.test', '--password-stdin', stdin='correct horse\n')
    with wire.smtp(host) as connection:
        assert connection.command('MAIL FROM:<>')[0] == 250
        assert connection.command('RCPT TO:<carol@second.test>')[0] == 250
        assert connection.command('RCPT TO:<carol@third.test>')[0] == 550
    wire.deliver(host, b'Subject: one\r\n\r\ntext\r\n', 'alice')
    assert re.search(r'smtp_messages\S*\s+1\b', host.run('stat')), host.run('stat')
    assert_sandboxed(host)
    names = command('openssl', 'x509', '-in', host.certificate(), '-noout', '-ext', 'subjectAltName')
    for name in ('mail', 'smtp', 'imap', 'pop3'):
        assert f'DNS:{name}.example.test' in names
    host.stop()
    host.run('fsck')
    assert host.run('frobnicate', check=False).returncode == 2
    assert host.run('account', 'show', 'nobody@example.test', check=False).returncode == 1


def assert_sandboxed(host):
    """The serving process is not root, has no new privileges and a seccomp filter; the supervisor alone is as it was started."""
    for pid in host.children():
        with open(f'/proc/{pid}/status', encoding='ascii') as f:
            status = dict(line.split(':', 1) for line in f if ':' in line)
        assert status['Seccomp'].strip() == '2' and status['NoNewPrivs'].strip() == '1', pid
        if os.getuid() == 0:
            assert status['Uid'].split()[0] != '0', f'{pid} runs as root'


# --- docs -----------------------------------------------------------------------------------------------------------------

def test_part_docs():
    """README with the two commands, architecture, the store's crash states, status; every link between them leads somewhere."""
    readme = read('README.md')
    assert 'make run' in readme and 'make check' in readme
    for name in ('docs/ARCHITECTURE.md', 'docs/internals/store.md', 'docs/STATUS.md', 'docs/rfc.md'):
        assert len(read(name)) > 500, name
    assert 'crash' in read('docs/internals/store.md').lower()
    for folder, _, names in os.walk(path('docs')):
        for name in names:
            if name.endswith('.md'):
                check_links(os.path.join(folder, name))
    check_links(path('README.md'))


def check_links(file):
    with open(file, encoding='utf-8') as f:
        for target in re.findall(r'\]\(([^)#:]+)\)', f.read()):
            assert os.path.exists(os.path.join(os.path.dirname(file), target)), f'{file}: {target}'


@pytest.mark.parametrize('number', ['5321', '1939', '1870', '2920', '3207', '6152', '2034', '2449', '2595'])
def test_part_docs_rfcs_are_mapped(number):
    """Every RFC that is offered is obeyed somewhere and checked somewhere."""
    section = re.search(rf'^## RFC {number}:.*?(?=^## |\Z)', read('docs/rfc.md'), re.M | re.S)
    assert section, f'RFC {number} is not in docs/rfc.md'
    rows = [line.split('|') for line in section[0].split('\n') if line.startswith('| ')][1:]
    assert any(row[2].strip() for row in rows) and any(row[3].strip() for row in rows)
