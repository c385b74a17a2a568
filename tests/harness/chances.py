"""Seeds of tests that do things at random."""
import os
import random


def seed(short=None):
    """PENFOLD_SEED, which repeats a run, or a new one; `short`: that of every run without PENFOLD_FULL. It is printed."""
    fixed = os.environ.get('PENFOLD_SEED') or (None if os.environ.get('PENFOLD_FULL') else short)
    chosen = random.SystemRandom().randrange(1 << 32) if fixed is None else int(fixed)
    print(f'PENFOLD_SEED={chosen}')
    return chosen
