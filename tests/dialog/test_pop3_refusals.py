"""Every refusal that POP3 can give stands in a transcript: the table of texts against the transcripts, in its first language."""
import glob
import os
import re

from conftest import STEP
from test_refusals import fits

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, '..', '..', 'src', 'pop3', 'text.c')
ROW = re.compile(r'\[POP3_(\w+)\]\s*=\s*(?:SAY\(|TELL\(\s*"([\w/-]+)",)\s*"([^"]*)"')
FIRST = 'NO_COMMAND'  # from here on they are refusals
# What no client can bring about in a healthy server, and what shows it.
ELSEWHERE = {
    'BUSY': 'a full lane: src/net/',
    'AGAIN': 'never said: a session waits instead',
    'NOT_NOW': 'src/pop3/test_session.c: logins_put_off_count_as_well',
    'FULL': 'the store answers a deletion with NOT_REMOVED',
    'CANNOT': 'never said for what a client can ask',
    'INTERNAL': 'never said for what a client can ask',
    'DAMAGED': 'src/pop3/test_mail.c',
    'NOT_REMOVED': 'src/pop3/test_mail.c: a_failed_deletion_is_not_called_done',
    'KICKED': 'tests/daemon/test_sessions.py: test_a_kick_ends_sessions_of_an_address_with_their_protocols_words',
    'LOGIN_OVER': 'tests/daemon/test_sessions.py: test_a_login_that_holds_no_longer_ends_idle_sessions_at_once',
}


def refusals():
    with open(TABLE, encoding='utf-8') as f:
        rows = ROW.findall(f.read())
    names = [name for name, _, _ in rows]
    return {name: f'-ERR [{code}] {text}' if code else f'-ERR {text}' for name, code, text in rows[names.index(FIRST):]}


def uncovered(rows, lines):
    covered = set()
    for wanted in lines:
        names = [name for name, line in rows.items() if fits(wanted, line)]
        if len(names) == 1:
            covered.add(names[0])
        for name in names:
            if rows[name] == wanted:
                covered.add(name)
    return sorted(set(rows) - covered)


def told():
    for path in glob.glob(os.path.join(HERE, 'pop3', '*.txt')):
        with open(path, encoding='utf-8') as f:
            for line in f:
                step = STEP.fullmatch(line.rstrip('\n'))
                if step and step[1][0] == 'S':
                    yield step[2]


def test_every_refusal_has_a_transcript():
    rows = refusals()
    assert len(rows) > 35
    assert set(ELSEWHERE) <= set(rows)
    assert not set(uncovered(rows, told())) - set(ELSEWHERE), 'no transcript has these refusals'


def test_a_missing_one_is_seen():
    """Negative control."""
    assert uncovered({'ONE': '-ERR one', 'TWO': '-ERR two'}, ['-ERR', '-ERR one']) == ['TWO']
