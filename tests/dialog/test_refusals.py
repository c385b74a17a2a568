"""Every refusal that smtpd can give stands in a transcript: the table of replies against the transcripts.

A line of a transcript counts for a reply when it fits that one alone, so it has to say enough of the text.
"""
import glob
import os
import re

from conftest import STEP

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(HERE, '..', '..', 'src', 'smtpd', 'replies.def')
ROW = re.compile(r'^REPLY\((\w+), (\d{3}), "([\d.]*)", "((?:[^"\\]|\\.)*)"\)', re.M)
# What no client can bring about in a healthy server, and the unit test that shows it.
ELSEWHERE = {
    'FAILED': 'src/smtpd/test_receive.c: a_failed_commit_is_told',
    'LOGIN_LATER': 'src/smtpd/test_auth.c',
    'KICKED': 'tests/daemon/test_sessions.py: test_a_kick_ends_sessions_of_an_address_with_their_protocols_words',
    'LOGIN_ENDED': 'src/smtpd/test_submission.c: a_login_ends_with_its_account',
    'LOGIN_OVER': 'only to a command that is faster than the end of its session',
    'TOO_MANY_SESSIONS': 'tests/daemon/test_sessions.py: test_an_account_has_as_many_sessions_as_it_may',
    'REFUSED': 'deliver refuses nothing for good today',
}


def refusals():
    with open(TABLE, encoding='utf-8') as f:
        rows = ROW.findall(f.read())
    return {name: f'{code} {status} {text}' for name, code, status, text in rows if code[0] in '45'}


def fits(wanted, line):
    """As a transcript's step is compared with what the server says."""
    if len(wanted) > 1 and wanted.startswith('/') and wanted.endswith('/'):
        return re.fullmatch(wanted[1:-1], line)
    return re.match('.*'.join(re.escape(part) for part in wanted.split('<...>')), line)


def told():
    for path in glob.glob(os.path.join(HERE, '*', '*.txt')):
        with open(path, encoding='utf-8') as f:
            for line in f:
                step = STEP.fullmatch(line.rstrip('\n'))
                if step and step[1][0] == 'S' and step[2][:1] in ('4', '5', '/'):
                    yield step[2]


def uncovered(rows, lines):
    covered = set()
    for wanted in lines:
        names = [name for name, line in rows.items() if fits(wanted, line)]
        if not names:  # one whose text is composed: the table has its codes alone
            names = [name for name, line in rows.items() if line.endswith(' ') and wanted.startswith(line)]
        if len(names) == 1:
            covered.add(names[0])
    return sorted(set(rows) - covered)


def test_every_refusal_has_a_transcript():
    rows = refusals()
    assert len(rows) > 50
    assert set(ELSEWHERE) <= set(rows)
    assert not set(uncovered(rows, told())) - set(ELSEWHERE), 'no transcript has these replies'


def test_a_missing_one_is_seen():
    """Negative control: a reply that nobody says, and a line that fits two."""
    rows = {'ONE': '550 5.1.1 first', 'TWO': '550 5.1.1 second', 'THREE': '550 5.1.2 third'}
    assert uncovered(rows, ['550 5.1.1', '550 5.1.2']) == ['ONE', 'TWO']
    rows['FOUR'] = '550 5.1.1 '
    assert uncovered(rows, ['550 5.1.1 first', '550 5.1.1 second', '550 5.1.2']) == ['FOUR']
    assert uncovered(rows, ['550 5.1.1 first', '550 5.1.1 second', '550 5.1.2', '550 5.1.1 composed']) == []
