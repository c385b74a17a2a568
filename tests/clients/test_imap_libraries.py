"""Mail::IMAPClient for Perl and imapflow for Node: a script of each does everything the library can; the account shows that it was done."""
import os

import pytest

from harness import clients, imap, imapclients

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ('plain', 'starttls', 'imaps')


def run(host, user, line, kind):
    arguments = ['127.0.0.1', str(host.port('imaps' if kind == 'imaps' else 'imap')), kind, host.address(user), host.certificate()]
    said = clients.check([*line, *arguments], stdin=host.passwords[user].encode() + b'\n')
    assert said.splitlines()[-1] == b'done', said


def flags_by_name(held):
    return [(m.subject.split()[-1].strip('?='), sorted(m.flags)) for m in held]


@pytest.mark.parametrize('kind', (*KINDS, 'compressed'))
def test_perl(penfold_server, new_user, kind):
    user = new_user()
    run(penfold_server, user, ['perl', os.path.join(HERE, 'imapclient.pl')], kind)
    account = imap.holds_all(penfold_server, user)
    assert flags_by_name(account['INBOX']) == [
        ('0', ['\\Flagged', '\\Seen']), ('1', []), ('2', ['$Work', '\\Flagged']), ('3', ['\\Seen']), ('4', []), ('5', ['\\Seen']),
        ('6', []), ('10', [])]
    assert [m.subject for m in account['Lists/other']] == ['letter 0', 'letter 1', 'letter 8', 'letter 9']


@pytest.mark.skipif(not imapclients.node_modules(), reason='tools/deps has not installed the packages of tests/clients/node')
@pytest.mark.parametrize('kind', KINDS)
def test_imapflow(penfold_server, new_user, kind):
    user = new_user()
    run(penfold_server, user, ['node', os.path.join(HERE, 'node', 'imapflow.js'), imapclients.node_modules()], kind)
    account = imap.holds_all(penfold_server, user)
    assert [sorted(m.flags) for m in account['INBOX']] == [
        ['\\Flagged'], ['Work'], ['\\Flagged'], ['\\Answered'], [], ['Work', '\\Seen'], [], []]
    assert [m.uid for m in account['B&APw-ro/Bern']] == [1, 2, 3, 4]
    assert 'Gone' not in account


@pytest.mark.skipif(not imapclients.node_modules(), reason='tools/deps has not installed the packages of tests/clients/node')
def test_imapflow_comes_back(penfold_server, new_user):
    """With QRESYNC, and compressed, as it always does."""
    run(penfold_server, new_user(), ['node', os.path.join(HERE, 'node', 'qresync.js'), imapclients.node_modules()], 'imaps')
