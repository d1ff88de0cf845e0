"""The epochs that the trials of a study still have to train."""

from collections import Counter

import pytest

from tuner.study.epochs_left import Course, by_lengths, by_rungs
from tuner.study.rung_counts import RungCount


def test_later_trials_are_like_ended_ones() -> None:
    left = by_lengths(Counter({2: 6, 10: 2}), [], 10, Counter({10: 8}))
    assert left.mean == pytest.approx(10 * 4)
    assert left.variance > 0
    assert left.least == left.mean


def test_running_trial_goes_on_as_those_that_got_as_far() -> None:
    lengths = Counter({1: 50, 6: 2, 10: 2})
    assert by_lengths(lengths, [Course(3, 10)], 0, Counter({10: 54})).mean == pytest.approx((3 + 7) / 2)


def test_few_ended_trials_leave_everything_open() -> None:
    left = by_lengths(Counter({1: 1}), [Course(1, 10)], 0, Counter({10: 2}))
    assert (left.least, left.mean) == (0, 9)
    assert by_lengths(Counter(), [], 5, Counter({10: 1}))[::2] == (50, 5)


def test_waiting_trials_pass_as_rung_fills() -> None:
    rungs = [RungCount(1, 0, 9, 0), RungCount(3, 0, 0, 0)]
    early = by_rungs(rungs, 3, [], 18, Counter({9: 9}))
    assert early.mean == pytest.approx(18 + 9 * 2 + 3 * 6)
    assert early.variance > 0


def test_rung_that_lets_more_pass_makes_trials_longer() -> None:
    strict = by_rungs([RungCount(1, 20, 0, 40)], 3, [], 30, Counter({9: 60}))
    generous = by_rungs([RungCount(1, 50, 0, 10)], 3, [], 30, Counter({9: 60}))
    assert strict.mean == pytest.approx(30 + 10 * 8)
    assert generous.mean == pytest.approx(30 + 8 * (90 * 53 / 69 - 50))


def test_trials_with_few_planned_epochs_reach_no_rung() -> None:
    left = by_rungs([RungCount(5, 0, 0, 0)], 2, [Course(1, 3), Course(2, 20)], 4, Counter({3: 1, 20: 1}))
    assert left.mean == pytest.approx(2 + 3 + 4 * 4 + (4 / 2 + 1) / 2 * 15)


def test_nothing_is_left_when_all_ended() -> None:
    assert by_rungs([RungCount(1, 3, 0, 6)], 3, [], 0, Counter({9: 9})) == (0, 0, None)
    assert by_lengths(Counter({3: 9}), [], 0, Counter({9: 9}))[:2] == (0, 0)
