"""Negative control of the model that owners of mailboxes have: it sees what is lost, what is twice, and what went backwards."""
import pytest

from harness.owner import Model, Wrong

SEEN, NONE = frozenset({'\\Seen'}), frozenset()


def two():
    model = Model()
    for uid, subject in (3, 'a'), (5, 'b'):
        model.begin('append', subject, NONE)
        model.done(uid)
    return model


GOOD = [(3, 'a', NONE), (5, 'b', NONE)]


def test_what_was_not_answered_may_have_happened_or_not():
    for change, after in ((('append', 'c', SEEN), [*GOOD, (6, 'c', SEEN)]), (('flags', 3, SEEN), [(3, 'a', SEEN), GOOD[1]]),
                          (('expunge', 3), GOOD[1:])):
        for found in GOOD, after:
            model = two()
            model.begin(*change)
            model.settle(found)
            model.settle(found)  # and stays so


@pytest.mark.parametrize('found', [
    GOOD[:1], [], [*GOOD, (6, 'c', NONE)], [(3, 'a', SEEN), GOOD[1]], [(3, 'b', NONE), GOOD[1]], GOOD[::-1], [GOOD[0], (6, 'b', NONE)],
    [*GOOD, (6, 'b', NONE)]])
def test_what_must_not_be(found):
    with pytest.raises(Wrong):
        two().settle(found)


@pytest.mark.parametrize('change, found', [
    (('append', 'c', SEEN), [*GOOD, (6, 'c', NONE)]), (('append', 'c', SEEN), [*GOOD, (6, 'c', SEEN), (7, 'c', SEEN)]),
    (('append', 'c', SEEN), [(2, 'c', SEEN), *GOOD]), (('append', 'c', SEEN), GOOD[1:]), (('flags', 3, SEEN), [GOOD[0], (5, 'b', SEEN)]),
    (('expunge', 3), GOOD[:1])])
def test_what_must_not_come_of_it(change, found):
    model = two()
    model.begin(*change)
    with pytest.raises(Wrong):
        model.settle(found)


def test_refused_is_not_done():
    model = two()
    model.begin('expunge', 3)
    model.refused()
    with pytest.raises(Wrong):
        model.settle(GOOD[1:])


def test_a_uid_does_not_go_back():
    model = two()
    model.begin('append', 'c', NONE)
    with pytest.raises(Wrong):
        model.done(5)


def test_a_modseq_does_not_go_back():
    model = two()
    model.numbers(2, 10)
    model.numbers(2, 10)
    with pytest.raises(Wrong):
        model.numbers(2, 9)


def test_each_change_has_a_modseq_of_its_own():
    for modseq, is_wrong in (12, False), (11, False), (10, True):
        model = two()
        model.numbers(2, 10)
        for flags in SEEN, SEEN, NONE:  # the second one changes nothing
            model.begin('flags', 3, flags)
            model.done()
        if is_wrong:
            with pytest.raises(Wrong):
                model.numbers(4, modseq)
        else:
            model.numbers(4, modseq)
