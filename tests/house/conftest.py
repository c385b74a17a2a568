"""Helpers of the house: running the programs of the unit tests, and the tools, as a person would."""
import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OK = re.compile(r'^\[ +OK +\] (.+)$', re.M)


def run(*args, timeout=300, check=True, **options):
    done = subprocess.run(args, cwd=options.pop('cwd', ROOT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors='replace', timeout=timeout, check=False, stdin=subprocess.DEVNULL, **options)
    assert not check or done.returncode == 0, f'{" ".join(map(str, args))[:300]}: status {done.returncode}\n{done.stdout[-3000:]}'
    return done.stdout if check else done


class Units:
    """The unit tests of a build folder."""

    def __init__(self, build):
        self.folder = os.path.join(ROOT, build, 'tests')

    def run(self, program, timeout=300):
        """The names of the cases that passed; an assertion when one did not."""
        text = run(os.path.join(self.folder, program), timeout=timeout, env=dict(os.environ, PENFOLD_SOURCE=ROOT))
        passed = OK.findall(text)
        assert passed, f'{program} ran nothing:\n{text[-2000:]}'
        return passed

    def of(self, folder):
        """All programs of a folder of src/: {program: cases}."""
        names = sorted(n for n in os.listdir(self.folder) if n.startswith(folder + '-') and not n.endswith('.p'))
        assert names, f'no tests of src/{folder} in {self.folder}'
        return {name: self.run(name) for name in names}


@pytest.fixture
def units():
    return Units(os.environ['PENFOLD_BUILD'])


@pytest.fixture
def tool():
    return lambda name, *args, **options: run(sys.executable, os.path.join('tools', name), *args, **options)


@pytest.fixture
def command():
    return run
