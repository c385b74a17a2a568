"""The checks of tools/ find what they are for: each is given a deliberately bad input and must refuse it."""
import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def tool(name, *args, cwd=ROOT):
    done = subprocess.run([sys.executable, os.path.join(ROOT, 'tools', name), *map(str, args)], cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


# --- format ------------------------------------------------------------------------------------------------------

def test_format_refuses_bad_layout(tmp_path):
    bad = tmp_path / 'bad.c'
    bad.write_text('int   f( int a ) { return a ;}\n')
    (tmp_path / '.clang-format').write_text(open(os.path.join(ROOT, '.clang-format'), encoding='utf-8').read())
    status, text = tool('check-format', bad)
    assert status == 1 and 'bad.c' in text
    assert tool('check-format', '--fix', bad)[0] == 0
    assert tool('check-format', bad)[0] == 0


# --- floors ------------------------------------------------------------------------------------------------------

TABLE = '0 | low | | threads\n1 | mid | low | libcrypto\n1 | twin | low | \n2 | top | low mid | libconfuse\n'


def floors(tmp_path, files, table=TABLE):
    src = tmp_path / 'src'
    for folder in ('low', 'mid', 'twin', 'top'):
        (src / folder).mkdir(parents=True)
    (src / 'floors.txt').write_text(table)
    (src / 'top' / 'good.c').write_text('#include "low/low.h"\n#include "mid/mid.h"\n#include <stdio.h>\n')
    for path, text in files.items():
        (src / path).parent.mkdir(exist_ok=True)
        (src / path).write_text(text)
    return tool('check-floors', '--src', src)


def test_floors_accepts_its_rows(tmp_path):
    status, text = floors(tmp_path, {'mid/a.c': '#include <openssl/evp.h>\n#include "mid/mid_int.h"\n',
                                     'top/test_a.c': '#include <openssl/evp.h>\n#include <cmocka.h>\n'})
    assert status == 0, text


@pytest.mark.parametrize('path, line, complaint', [
    ('low/a.c', '#include "mid/mid.h"', 'may include nothing'),
    ('mid/a.c', '#include "twin/twin.h"', 'may include low'),
    ('top/a.c', '#include "twin/twin.h"', 'may include low mid'),
    ('top/a.c', '#  include "mid/mid_int.h"', 'private to mid'),
    ('top/a.c', '#include "good.h"', 'write "top/good.h"'),
    ('top/a.c', '#include "mid/../twin/twin.h"', 'one level'),
    ('top/a.c', '#include <openssl/evp.h>', 'does not list'),
    ('mid/a.c', '#include <openssl/ssl.h>', 'does not list libssl'),
    ('twin/test_a.c', '#include <openssl/evp.h>', 'does not list'),
    ('mid/a.c', '#include <bzlib.h>', 'of no library'),
    ('low/a.c', '#include <cmocka.h>', 'for tests only'),
    ('cellar/a.c', '', 'has no row'),
])
def test_floors_refuses(tmp_path, path, line, complaint):
    status, text = floors(tmp_path, {path: line + '\n'})
    assert status == 1 and complaint in text, text


def test_floors_refuses_a_library_in_two_files(tmp_path):
    line = '#include <confuse.h>\n'
    status, text = floors(tmp_path, {'top/a.c': line, 'top/b.c': line})
    assert status == 1 and 'belongs in one file' in text


def test_floors_refuses_a_row_that_looks_up(tmp_path):
    status, text = floors(tmp_path, {}, '0 | low | | \n1 | mid | low | \n1 | twin | mid | \n2 | top | low mid | \n')
    assert status != 0 and 'may not include' in text


# --- sizes -------------------------------------------------------------------------------------------------------

def function(lines, name='f', head='int {name}(void)'):
    return head.format(name=name) + '\n{\n' + '    g();\n' * (lines - 3) + '}\n'


def test_sizes_at_the_limit(tmp_path):
    good = tmp_path / 'good.c'
    good.write_text(function(80))
    status, text = tool('check-sizes', good)
    assert status == 0 and 'max 80' in text, text


@pytest.mark.parametrize('text, complaint', [
    (function(81), 'f: 81 lines, over 80'),
    (function(10) + '\n' + function(90, 'g', 'static struct str *{name}(struct a *a,\n    int b)'), 'g: 9'),
    ('/* a */\n' * 801, '801 lines, over 800'),
])
def test_sizes_refuses(tmp_path, text, complaint):
    bad = tmp_path / 'bad.c'
    bad.write_text(text)
    status, out = tool('check-sizes', bad)
    assert status == 1 and complaint in out, out


def test_sizes_does_not_count_tables_and_sees_nesting(tmp_path):
    path = tmp_path / 'table.c'
    path.write_text('static const int table[] = {\n' + '    1,\n' * 200 + '};\n\n'
                    'void f(int a, int b, int c, int d, int e, int g, int h)\n{\n'
                    '    if (a) {\n        if (b) {\n            if (c) {\n                if (d) {\n'
                    '                    k("}}}}");\n                }\n            }\n        }\n    }\n}\n')
    status, out = tool('check-sizes', path)
    assert status == 0 and 'f: nesting 4' in out and 'f: 7 parameters' in out, out


# --- rfcmap ------------------------------------------------------------------------------------------------------

def rfcmap(tmp_path, text, *options):
    for folder in ('src/x', 'tests', 'docs'):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / 'src/x/a.c').write_text(text)
    return tool('rfcmap', '--root', tmp_path, *options)


GOOD = '/* [RFC5321 4.1.1.4] [RFC1939 3, 5] [RFC3629] [RFC5321 A.1] table[RFC_X] */\n'


def test_rfcmap_writes_what_it_finds(tmp_path):
    (tmp_path / 'tests').mkdir()
    (tmp_path / 'tests/test_a.c').write_text('/* [RFC5321 4.1.1.4] */\n')
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 0, out
    text = (tmp_path / 'docs/rfc.md').read_text()
    assert '| 4.1.1.4 | src/x/a.c | tests/test_a.c |' in text and '| 5 | src/x/a.c |  |' in text
    assert rfcmap(tmp_path, GOOD, '--check')[0] == 0
    status, out = rfcmap(tmp_path, GOOD + '/* [RFC5321 9.9] */\n', '--check')
    assert status == 1 and 'run tools/rfcmap' in out


@pytest.mark.parametrize('tag', ['[RFC 5321 4.1]', '[rfc5321 4.1]', '[RFC5321 section 4.1]', '[RFC5321-4.1]',
                                 '[RFC5321 4.1', '[RFC5321 4.1.]', '[RFC5321 4.1 4.2]', '[RFC99999 1]', '[RFC05321 4]'])
def test_rfcmap_refuses(tmp_path, tag):
    status, out = rfcmap(tmp_path, GOOD + f'/* {tag}\n */\n')
    assert status == 1 and 'a.c:2' in out, out


@pytest.mark.parametrize('name, path, text', [
    ('imap/login', 'tests/dialog/imap/login.txt', 'C: a LOGIN\n# {}\n'),
    ('names_are_read', 'src/x/test_a.c', '/* {} */\nstatic void names_are_read(void **state)\n{{\n}}\n'),
    ('test_names', 'tests/x/test_a.py', 'def test_names(host):\n    """Read {}."""\n')])
def test_rfcmap_wants_every_duty_obeyed_and_asserted(tmp_path, name, path, text):
    (tmp_path / 'tools').mkdir()
    duties, test = tmp_path / 'tools/rfc-duties.txt', tmp_path / path
    duties.write_text(f'# all\n5321 4.1.1.4 | {name} | ends\n1939 9 | not: asked of others\n')
    test.parent.mkdir(parents=True)
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 1 and f'RFC 5321, 4.1.1.4, ends: there is no test {name}' in out and '1939' not in out, out
    test.write_text(text.format('[RFC5321 4.1.1]') + '\n\n# [RFC5321 4.1.1.4]\n' * (path[-1] != 't'))
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 1 and f'{name} has not its tag' in out, out
    test.write_text(text.format('[RFC5321 2, 4.1.1.4]'))
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 0, out
    assert f'| 5321 | 4.1.1.4 | ends | {name} | 1 |' in (tmp_path / 'docs/rfc.md').read_text()
    duties.write_text(f'5321 4.2 | {name} | nowhere\n')
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 1 and 'obeyed by no line of the code' in out, out


@pytest.mark.parametrize('line', ['5321 4.2', '5321 4.2 | ends', '5321 4.2 | | ends', '5321 | a | ends', '5321 4.2 | a | ends | b', 'RFC5321 4.2 | a | ends'])
def test_rfcmap_refuses_a_duty_without_its_test(tmp_path, line):
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/rfc-duties.txt').write_text(f'# all\n{line}\n')
    status, out = rfcmap(tmp_path, GOOD)
    assert status == 1 and 'rfc-duties.txt:2' in out, out


# --- man ---------------------------------------------------------------------------------------------------------

def test_man_refuses_bad_mdoc(tmp_path):
    page = tmp_path / 'bad.1'
    good = open(os.path.join(ROOT, 'docs/man/penfold.1'), encoding='utf-8').read()
    for text, status in ((good, 0), (good.replace('.El\n', '', 1), 1), (good + '.Frobnicate\n', 1)):
        page.write_text(text)
        done = subprocess.run([os.path.join(ROOT, 'tools/check-man'), page], stdout=subprocess.PIPE, text=True, check=False)
        assert (done.returncode != 0) == status, done.stdout


# --- check itself: a failing, a broken and an empty stage are failures -------------------------------------------

CHECK = '''
import importlib.machinery, importlib.util, json, sys
loader = importlib.machinery.SourceFileLoader('check', sys.argv[1])
check = importlib.util.module_from_spec(importlib.util.spec_from_loader('check', loader))
loader.exec_module(check)
check.LOGS = sys.argv[2]
stages = {
    'good': check.commands(('true', ['true'])),
    'bad': check.commands(('false', ['false'])),
    'missing': check.commands(('none', ['/nonexistent/program'])),
    'empty': lambda stage: None,
    'slow': check.commands(('sleep', ['sleep', '30'])),
    'pytest': check.pytest('build', sys.argv[3], binary=False),
    'nothing': check.pytest('build', sys.argv[2] + '/none', binary=False),
}
out = {}
for name, run in stages.items():
    stage = check.Stage(name, 2 if name == 'slow' else 60, run)
    stage.execute()
    out[name] = [stage.count(o) for o in (check.PASSED, check.FAILED, check.SKIPPED)]
entry = {'name': 'unit', 'result': 'FAIL', 'stdout': '[ RUN      ] a\\n[       OK ] a\\n[  FAILED  ] b\\n'}
stage = check.Stage('cmocka', 60, lambda stage: check.add_meson(stage, entry))
stage.execute()
out['cmocka'] = [stage.count(o) for o in (check.PASSED, check.FAILED, check.SKIPPED)]
print('RESULT ' + json.dumps(out))
'''


def test_check_counts_failures(tmp_path):
    cases = tmp_path / 'test_cases.py'
    cases.write_text('import pytest\n\ndef test_a():\n    pass\n\ndef test_b():\n    assert 0\n\n'
                     'def test_c():\n    pytest.skip("no moon")\n\n'
                     '@pytest.fixture\ndef broken():\n    raise OSError("x")\n\ndef test_d(broken):\n    pass\n')
    script = tmp_path / 'script.py'
    script.write_text(CHECK)
    done = subprocess.run([sys.executable, str(script), os.path.join(ROOT, 'tools', 'check'), str(tmp_path), str(cases)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    result = [line for line in done.stdout.split('\n') if line.startswith('RESULT ')]
    assert result, done.stdout
    assert json.loads(result[0][7:]) == {
        'good': [1, 0, 0], 'bad': [0, 1, 0], 'missing': [0, 1, 0], 'empty': [0, 1, 0], 'slow': [0, 1, 0],
        'pytest': [1, 2, 1], 'nothing': [0, 1, 0], 'cmocka': [1, 1, 0]}, done.stdout
