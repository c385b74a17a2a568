"""What make install leaves: program, manual, unit and example; the unit's sandbox is what it is said to be."""
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get('PENFOLD_BUILD', 'build'))
needs_systemd = pytest.mark.skipif(not shutil.which('systemd-analyze'), reason='systemd is not installed')


def output(*args, status=0, **options):
    done = subprocess.run([str(arg) for arg in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          stdin=subprocess.DEVNULL, env=dict(os.environ, LC_ALL='C.UTF-8'), **options)
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
    """The folder of the prefix below DESTDIR."""
    stage = tmp_path_factory.mktemp('stage')
    output('meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', stage)
    programs = [os.path.dirname(folder) for folder, _, files in os.walk(stage) if 'penfold' in files]
    assert len(programs) == 1, programs
    return programs[0]


def test_files(installed):
    found = {os.path.relpath(os.path.join(folder, name), installed) for folder, _, names in os.walk(installed) for name in names}
    plugins = {path for path in found if re.fullmatch(r'lib/([^/]+/)?penfold/penfold-rados\.so', path)}
    assert len(plugins) == 1 and found - plugins == {
        'bin/penfold', 'share/man/man1/penfold.1', 'share/man/man5/penfold.conf.5', 'lib/systemd/system/penfold.service',
        'share/doc/penfold/examples/penfold.conf'}
    assert 'usage: penfold' in output(os.path.join(installed, 'bin/penfold'), '--help')


def test_only_the_plugin_needs_ceph(installed):
    assert 'librados' not in output('ldd', os.path.join(installed, 'bin/penfold'))
    plugin = [os.path.join(folder, name) for folder, _, names in os.walk(installed) for name in names if name.endswith('.so')]
    assert len(plugin) == 1 and 'librados' in output('ldd', plugin[0])


def test_example_is_a_configuration(installed, tmp_path):
    """It says nothing but defaults, a certificate and the socket of the sendmail command apart, which the package installs."""
    example = os.path.join(installed, 'share/doc/penfold/examples/penfold.conf')
    empty = tmp_path / 'empty.conf'
    empty.write_text('')
    shown = [subprocess.run([os.path.join(installed, 'bin/penfold'), 'check', '--show', '-c', path], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout for path in (example, empty)]
    assert 'message_size' in shown[0]
    assert re.search(r'^    sendmail = {"/run/penfold/sendmail"}$', shown[0], re.M)
    shown[0] = shown[0].replace('sendmail = {"/run/penfold/sendmail"}', 'sendmail = {}')
    without = [re.sub(r'^    (certificate|key) = .*\n', '', text, flags=re.M) for text in shown]
    assert without[0] == without[1]


@pytest.fixture
def unit(installed, tmp_path):
    """The unit with the program of this build, since systemd looks whether it is there."""
    with open(os.path.join(installed, 'lib/systemd/system/penfold.service'), encoding='utf-8') as f:
        text = f.read()
    command = re.findall(r'^ExecStart=(\S+) serve -c /etc/penfold/penfold.conf$', text, re.M)
    assert len(command) == 1 and installed.endswith(os.path.dirname(os.path.dirname(command[0]))), command
    path = tmp_path / 'penfold.service'
    path.write_text(text.replace(command[0], os.environ['PENFOLD_BIN']))
    return path


@needs_systemd
def test_systemd_understands_the_unit(unit):
    assert output('systemd-analyze', 'verify', '--man=no', unit) == ''


@needs_systemd
def test_exposure_of_the_unit(unit):
    """systemd's own figure, from 0 (tightest) to 10; without a sandbox it is 9.6."""
    text = output('systemd-analyze', 'security', '--offline=yes', '--no-pager', '--threshold=26', unit)
    assert float(re.search(r'Overall exposure level for penfold.service: ([\d.]+)', text)[1]) <= 2.6
    assert re.search('✓ SystemCallFilter=~@mount', text) and re.search('✓ ProtectSystem=', text)
