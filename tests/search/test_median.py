"""The median rule, by examples worked out by hand."""

import random
import statistics

import pytest

from tests.support.schedulers import CONTINUE, STOP, Played, study
from tuner.search.median import MedianRule, RunningMean, median_cutoff


@pytest.mark.parametrize("size", range(1, 12))
def test_median_cutoff_is_the_median(size: int) -> None:
    means = sorted(random.Random(size).gauss(0, 1) for _ in range(size))
    assert median_cutoff(means) == statistics.median(means)


def test_running_mean_counts_repeated_epochs_once() -> None:
    trial = RunningMean()
    assert [trial.record(*report) for report in ((1, 1.0), (2, 3.0), (3, 8.0))] == [1, 2, 4]
    assert trial.record(2, 5.0) == 3  # from a checkpoint in the first epoch
    assert trial.record(3, 6.0) == 4
    assert trial.record(4, 8.0) == 5
    assert trial.values == {1: 1.0, 2: 5.0, 3: 6.0, 4: 8.0}


def test_median_rule_stops_below_the_median() -> None:
    played = Played(study({"median": {"grace_period": 2, "min_trials": 3}}, 9))
    for number, values in enumerate([(0.2, 0.4, 0.6), (0.1, 0.3, 0.2), (0.6, 0.8, 0.4)]):
        for epoch, value in enumerate(values, start=1):
            assert played.report(number, epoch, value) == CONTINUE
    assert played.decisions == []  # never three other trials that had come so far
    # Running means after two epochs: 0.3, 0.2, 0.7, their median 0.3.
    # After three epochs: 0.4, 0.2, 0.6, their median 0.4.
    assert played.report(3, 1, 0.0) == CONTINUE  # within the grace period
    assert played.report(3, 2, 0.35) == CONTINUE
    assert played.report(3, 3, 0.1) == STOP  # its best is still 0.35
    assert played.decisions == [
        {
            "number": 3,
            "bracket": 0,
            "rung": 2.0,
            "epoch": 2,
            "value": 0.35,
            "cutoff": pytest.approx(0.3),
            "rank": 2,
            "of": 4,
            "verdict": "go",
        },
        {
            "number": 3,
            "bracket": 0,
            "rung": 3.0,
            "epoch": 3,
            "value": 0.35,
            "cutoff": pytest.approx(0.4),
            "rank": 3,
            "of": 4,
            "verdict": "stop",
        },
    ]


def test_median_rule_minimizes_a_loss() -> None:
    played = Played(study({"median": {"min_trials": 2}}, 9, "minimize"))
    for number, value in ((0, 1.0), (1, 2.0)):
        played.report(number, 1, value)
    assert played.report(2, 1, 1.4) == CONTINUE  # the median is 1.5
    assert played.report(3, 1, 1.6) == STOP  # the median of 1, 2, 1.4 is 1.4
    explained = [(row["cutoff"], row["value"], row["rank"]) for row in played.decisions]
    assert explained == [(1.5, 1.4, 2), (1.4, 1.6, 3)]


def test_median_rule_decides_once_per_epoch() -> None:
    rule = MedianRule(grace_period=1, min_trials=1)
    rule.report(0, 1, 0.5)
    first = rule.report(1, 1, 0.6)
    assert first is not None
    assert first.verdict == "go"
    assert rule.report(1, 1, 0.1) is None
    assert rule.rungs == {(0, 1.0): {0: 0.5, 1: 0.1}}


def test_median_rule_bears_trials_without_reports() -> None:
    played = Played(study({"median": {"min_trials": 1}}, 9))
    played.scheduler.replay(0, {})  # in flight when the study was interrupted
    assert played.report(1, 1, 0.5) == CONTINUE
    assert played.report(0, 1, 0.4) == STOP
