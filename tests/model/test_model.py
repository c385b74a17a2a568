"""The protocol of kv_rados (docs/internals/rados.md) as models in Promela, searched by spin.

A right model must have no error in any of its states. One that leaves out a guard must have one: otherwise the
search would show nothing. Each search ends when all states have been seen; none is cut short.
"""
import os
import re
import shutil
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))

# model, what is defined. Each further fold, commit or lost answer has ten times the states, so not all are together.
RIGHT = [
    ('outcome.pml', 'OPS=4'),
    ('outcome.pml', 'OPS=5 LATE=1'),
    ('fold.pml', 'COMMITS=3 FOLDS=1'),
    ('fold.pml', 'COMMITS=2 FOLDS=2 NO_READER'),
]
RIGHT_FULL = [
    ('fold.pml', 'COMMITS=2 FOLDS=2 NO_CLEANER'),
    ('fold.pml', 'COMMITS=3 FOLDS=2 NO_CLEANER NO_READER'),
    ('fold.pml', 'COMMITS=2 FOLDS=2 LATE=2 NO_CLEANER NO_READER'),
]
WRONG = [
    ('outcome.pml', 'OPS=4 FAULT_NEVER_TOO_EARLY'),
    ('outcome.pml', 'OPS=5 LATE=1 FAULT_FORGOTTEN_MEANS_NEVER'),
    ('fold.pml', 'COMMITS=2 FOLDS=1 FAULT_NO_TRACE_WITHOUT_SHARDS'),
    ('fold.pml', 'COMMITS=4 FOLDS=1 NO_CLEANER NO_READER FAULT_TRIM_IS_TRACE'),
    ('fold.pml', 'COMMITS=2 FOLDS=1 FAULT_STAMP_NOT_COMPARED'),
    ('fold.pml', 'COMMITS=2 FOLDS=1 FAULT_CLEANS_UNFINISHED'),
    ('fold.pml', 'COMMITS=2 FOLDS=1 FAULT_READ_UNGUARDED'),
    ('fold.pml', 'COMMITS=2 FOLDS=1 FAULT_KEPT_BY_NUMBER'),
    ('fold.pml', 'COMMITS=2 FOLDS=2 NO_CLEANER NO_READER FAULT_OVERTAKEN_FINISH'),
    ('fold.pml', 'COMMITS=3 FOLDS=2 NO_CLEANER NO_READER FAULT_FENCE_NOT_COMPARED'),
    ('fold.pml', 'COMMITS=2 FOLDS=2 NO_CLEANER FAULT_FENCE_SHRINKS'),
]


def run(command, folder):
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, f'{" ".join(command)}: status {done.returncode}\n{done.stdout[-3000:]}'
    return done.stdout


def search(model, defined, folder):
    """How many errors spin finds (it stops at the first one), and how it came to it."""
    shutil.copy(os.path.join(HERE, model), folder)
    defines = [f'-D{d}' for d in defined.split()]
    run(['spin', *defines, '-a', model], folder)
    # Safety only, states packed; -E: a process that waits for ever is no error, it stands for a crash.
    speed = '-O0' if 'FAULT' in defined and 'FOLDS=2' not in defined else '-O2'  # found soon: compiled soon
    run(['gcc', speed, '-w', '-DSAFETY', '-DCOLLAPSE', '-DMEMLIM=8000', '-o', 'pan', 'pan.c'], folder)
    said = run(['./pan', '-E', '-m100000'], folder)
    found = re.search(r'errors: (\d+)', said)
    assert found and 'max search depth' not in said, said
    errors = int(found[1])
    assert errors or 'Search not completed' not in said, said
    steps = run(['spin', *defines, '-t', '-p', model], folder) if errors else ''
    return errors, said + steps


def params(rows, *marks):
    return [pytest.param(model, defined, id=f'{model}-{defined.replace(" ", "-")}', marks=marks)
            for model, defined in rows]


@pytest.mark.parametrize('model, defined', params(RIGHT) + params(RIGHT_FULL, pytest.mark.full))
def test_no_state_is_wrong(model, defined, tmp_path):
    errors, said = search(model, defined, tmp_path)
    assert errors == 0, said


@pytest.mark.parametrize('model, defined', params(WRONG))
def test_missing_guard_does_harm(model, defined, tmp_path):
    errors, said = search(model, defined, tmp_path)
    assert errors == 1, said
    assert 'assertion violated' in said
