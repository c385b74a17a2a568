"""The manual says what the program does: penfold(1) has every command, penfold.conf(5) and docs/ops/configuration.md every key,
with its default. What a page lacks is printed as the line to add."""
import os
import re
import shutil
import subprocess

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMMANDS, KEYS, TABLE = 'docs/man/penfold.1', 'docs/man/penfold.conf.5', 'docs/ops/configuration.md'
FACTORS = {'': 1, 's': 1, 'm': 60, 'h': 3600, 'd': 86400, 'k': 1 << 10, 'M': 1 << 20, 'G': 1 << 30, 'T': 1 << 40}


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def program(*args):
    done = subprocess.run([os.environ['PENFOLD_BIN'], *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, check=False)
    assert 'Sanitizer' not in done.stderr, done.stderr
    return done


def items(path):
    """The words of each `.It Ic "..."` of a page, as a reader sees them."""
    found = re.findall(r'^\.It Ic "((?:[^"]|"")*)"$', read(path), re.M)
    return [text.replace('""', '"').replace('\\-', '-') for text in found]


def as_item(text):
    return '.It Ic "' + text.replace('"', '""').replace('-', '\\-') + '"'


# --- commands ----------------------------------------------------------------------------------------------------------

def usages():
    """What --help lists: each command with its arguments, on lines that are indented by two."""
    found = re.findall(r'^  (\S.*?)\s*$', program('--help').stdout, re.M)
    assert len(found) >= 13, found
    return found


def test_every_command_is_in_the_manual():
    written, real = items(COMMANDS), usages()
    missing = [as_item(usage) + '\nWhat it does, in a sentence or two.' for usage in real if usage not in written]
    assert not missing, f'penfold --help lists what {COMMANDS} does not; add or correct:\n' + '\n'.join(missing)
    old = [text for text in written if text not in real]
    assert not old, f'{COMMANDS} has what penfold --help does not list; remove or correct:\n' + '\n'.join(old)


def test_help_of_each_command_is_a_part_of_the_whole():
    real = usages()
    for usage in real:
        words = re.match(r'[a-z-]+(?: [a-z-]+)?', usage)[0].split()
        done = program(*words, '--help')
        assert done.returncode == 0 and usage in re.findall(r'^  (\S.*?)\s*$', done.stdout, re.M), (words, done)


def test_exit_statuses(tmp_path):
    conf = tmp_path / 'penfold.conf'
    conf.write_text('data = "nowhere"\n')
    page = re.findall(r'^\.It (\d)$', read(COMMANDS), re.M)
    seen = [program('--version'), program('domain', 'list', '-c', str(conf)), program('frobnicate')]
    assert page == [str(done.returncode) for done in seen] == ['0', '1', '2']


# --- keys --------------------------------------------------------------------------------------------------------------

def defaults(tmp_path):
    """{'store { memory }': '67108864'}: what is in force when the file is empty."""
    (tmp_path / 'penfold.conf').write_text('')
    found, section = {}, None
    for line in program('check', '--show', '-c', str(tmp_path / 'penfold.conf')).stdout.splitlines():
        opening, setting = re.fullmatch(r'(\w+) \{', line), re.fullmatch(r'\s*(\w+) = (.*)', line)
        if setting:
            found[f'{section} {{ {setting[1]} }}' if section else setting[1]] = setting[2].replace(f'{tmp_path}/', '')
        else:
            assert opening or line == '}', f'check --show printed: {line}'
            section = opening[1] if opening else None
    assert len(found) >= 25, found
    return found


def value(text):
    """As it is compared: amounts as numbers, everything else without quotes and blanks."""
    amount = re.fullmatch(r'"?(\d+)([smhdkMGT]?)"?', text)
    return str(int(amount[1]) * FACTORS[amount[2]]) if amount else re.sub(r'["\s]', '', text)


def short(default):
    """A default as a person writes it: 67108864 as 64M. Which unit is meant only the writer knows."""
    for suffix in ('T', 'G', 'M', 'k'):
        if default.isdigit() and int(default) and int(default) % FACTORS[suffix] == 0:
            return f'{int(default) // FACTORS[suffix]}{suffix}'
    return default


def compare(path, written, real, line):
    """written and real: {key: default}; a default that the program takes from the machine (hostname) is not compared."""
    missing = [line(key, short(default)) for key, default in real.items() if key not in written]
    assert not missing, f'check --show has what {path} does not; add (a time with its unit):\n' + '\n'.join(missing)
    old = [key for key in written if key not in real]
    assert not old, f'{path} has keys that the program does not know; remove:\n' + '\n'.join(old)
    wrong = [f'{line(key, short(default))}  (not {written[key]})' for key, default in real.items()
             if key != 'hostname' and value(written[key] or '') != value(default)]
    assert not wrong, f'{path} has other defaults than the program; correct:\n' + '\n'.join(wrong)


def test_every_key_is_in_the_manual(tmp_path):
    written = {}
    for text in items(KEYS):
        if re.match(r'[a-z_]+( |$)', text) and not text.startswith('penfold '):
            found = re.fullmatch(r'(?:(\w+) \{ )?(\w+)(?: = (.*?))?(?: \})?', text)
            assert found, f'{KEYS}: {text}: expected KEY = DEFAULT or SECTION {{ KEY = DEFAULT }}'
            written[f'{found[1]} {{ {found[2]} }}' if found[1] else found[2]] = found[3]

    def line(key, default):
        return as_item(key.replace(' }', f' = {default} }}') if '}' in key else f'{key} = {default}') + '\nWhat it is.'
    compare(KEYS, written, defaults(tmp_path), line)


def test_every_key_is_in_the_table(tmp_path):
    rows = re.findall(r'^\| `([^`]+)` \| (?:`([^`]*)`|[^|`]*) \|', read(TABLE), re.M)
    compare(TABLE, dict(rows), defaults(tmp_path), lambda key, default: f'| `{key}` | `{default}` | what it is |')


# --- the pages themselves ------------------------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which('man'), reason='man-db is not installed')
@pytest.mark.parametrize('page, words', [(COMMANDS, ['init DIR --domain NAME', 'EXIT STATUS']), (KEYS, ['message_size = 50M'])])
def test_man_shows_the_page(page, words):
    done = subprocess.run(['man', '--warnings', '-l', os.path.join(ROOT, page)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=True, env=dict(os.environ, MANWIDTH='120', MAN_KEEP_FORMATTING='', LC_ALL='C.UTF-8'))
    text = re.sub(r'.\x08', '', done.stdout)
    assert not done.stderr and all(word in text for word in words), (done.stderr, text)
