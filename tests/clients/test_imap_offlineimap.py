"""offlineimap3 keeps an account and a maildir tree the same, both ways, with conflicts."""
import pytest

from harness import imapclients
from harness.sides import Sides


@pytest.mark.parametrize('tls', [None, 'connect'], ids=['plain', 'imaps'])
def test_two_ways(penfold_server, new_user, tmp_path, tls):
    sides = Sides(imapclients.offlineimap, penfold_server, new_user(), tmp_path)
    shared = {'INBOX': 40, 'Work/2026': 20, 'B&APw-ro': 5}
    sides.fill(shared, {'Only Far': 5}, {'Near Only': 5})
    sides.sync(tls=tls)
    sides.assert_same()
    sides.assert_settled()
    for mailbox in shared:
        sides.change(mailbox, added=5)
    sides.sync(tls=tls)
    sides.assert_same()
    sides.assert_settled()
