import math

import numpy as np
import pandas as pd
import pytest
import scipy

from benchmarks.confirmation import rates
from tuner.analysis.confirmation import confirmed, error_ahead, find_winner, winner_lines
from tuner.config.study import StudyConfig, parse_spec
from tuner.results.ranking import rank_confirmed

ACCURACIES = {0: [], 1: [0.80, 0.84, 0.88], 2: [0.85]}
"""Validation accuracies of the repeats by trial."""


def spec(**changes: object) -> StudyConfig:
    training = {"architecture": "vazquez_base"}
    return parse_spec({"study": "demo", "training": training, "space": {}, **changes})


def trial(
    number: int, accuracy: float | None, repeat_of: int | None = None, error_kind: str = "crash"
) -> dict[str, object]:
    return {
        "number": number,
        "state": "FAILED" if accuracy is None else "COMPLETE",
        "purpose": "search" if repeat_of is None else "repeat",
        "repeat_of": repeat_of,
        "error_kind": error_kind if accuracy is None else None,
        "value": accuracy,
        "val_accuracy": accuracy,
        "test_accuracy": None if accuracy is None else accuracy - 0.1,
    }


def trials(*more: dict[str, object]) -> pd.DataFrame:
    searched = [trial(number, accuracy) for number, accuracy in enumerate([0.70, 0.90, 0.95])]
    repeats = [
        trial(10 * of + index, accuracy, repeat_of=of)
        for of, accuracies in ACCURACIES.items()
        for index, accuracy in enumerate(accuracies)
    ]
    return pd.DataFrame([*searched, *repeats, *more]).astype({"repeat_of": "Int64"})


def without(number: int, table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the repeats of a trial."""
    return table[table["repeat_of"].fillna(-1) != number]


def test_confirmed_averages_repeats_without_the_search() -> None:
    table = confirmed(spec(), trials()).set_index("number")
    assert list(table.index) == [2, 1]
    assert list(table["seeds"]) == [1, 3]
    assert table["val_accuracy"].to_dict() == {2: 0.85, 1: pytest.approx(0.84)}
    assert table["test_accuracy"][1] == pytest.approx(0.74)


def test_confirmed_interval_is_students_and_needs_two_seeds() -> None:
    table = confirmed(spec(), trials(), ["val_accuracy"]).set_index("number")
    assert table["val_accuracy_half"][1] == pytest.approx(4.30265 * 0.04 / math.sqrt(3), rel=1e-5)
    assert math.isnan(table["val_accuracy_half"][2])
    assert "test_accuracy" not in table


def test_confirmed_counts_failed_repeats_apart() -> None:
    table = confirmed(spec(), trials(trial(30, None, repeat_of=0), trial(31, None, repeat_of=1)))
    assert table["number"].tolist() == [2, 1, 0]
    assert table["failed"].tolist() == [0, 1, 1]
    assert table["diverged"].tolist() == [0, 0, 0]
    assert table["seeds"].tolist() == [1, 3, 0]
    assert table["val_accuracy"].isna().tolist() == [False, False, True]


def test_diverged_repeats_count_before_the_mean() -> None:
    table = confirmed(spec(), trials(trial(30, None, repeat_of=2, error_kind="diverged")))
    assert table["number"].tolist() == [1, 2]
    assert table["diverged"].tolist() == [0, 1]


def test_rank_ends_with_what_only_diverged() -> None:
    others = [trial(3, 0.5), trial(30, None, repeat_of=0, error_kind="diverged")]
    ranked = rank_confirmed(spec(), trials(*others))
    assert ranked["number"].tolist() == [2, 1, 3, 0]
    assert ranked["confirmed"].tolist() == pytest.approx([0.85, 0.84, math.nan, math.nan], nan_ok=True)


def test_confirmed_without_repeats_is_empty() -> None:
    searched = trials().head(3)
    table = confirmed(spec(), searched)
    assert table.empty
    assert [*table.columns] == [
        "number", "seeds", "failed", "diverged",
        "val_accuracy", "val_accuracy_half", "test_accuracy", "test_accuracy_half",
    ]  # fmt: skip


def test_confirmed_ranks_losses_lowest_first() -> None:
    table = confirmed(spec(objective={"minimize": "val_loss"}), trials())
    assert table["number"].tolist() == [1, 2]


def test_winner_is_not_ahead_within_the_spread() -> None:
    near = [trial(number, value, repeat_of=0) for number, value in ((40, 0.80), (41, 0.83), (42, 0.86))]
    winner = find_winner(spec(), without(2, trials(*near)))
    assert winner is not None
    assert (winner.number, winner.nearest, winner.compared, winner.is_ahead) == (1, 0, 2, False)
    apart = scipy.stats.ttest_ind([0.80, 0.84, 0.88], [0.80, 0.83, 0.86], equal_var=False).pvalue
    assert winner.error == pytest.approx(apart)
    assert (winner.low, winner.high) == pytest.approx((0.84 - 0.0993655, 0.84 + 0.0993655), rel=1e-5)


def test_winner_by_losses_is_ahead_of_worse_ones() -> None:
    worse = [trial(number, value, repeat_of=0) for number, value in ((40, 1.50), (41, 1.53), (42, 1.56))]
    lossy = spec(objective={"minimize": "val_loss"})
    winner = find_winner(lossy, without(2, trials(*worse)))
    assert winner is not None
    assert (winner.number, winner.is_ahead) == (1, True)
    assert winner.low < 0.84 < winner.high
    (*_, verdict) = winner_lines(lossy, without(2, trials(*worse)))
    assert verdict == "It is ahead of trial 0 (p < 0.001, 2 compared)"


def test_interval_of_a_share_ends_at_one() -> None:
    high = [trial(number, value, repeat_of=0) for number, value in ((40, 0.99), (41, 0.7))]
    winner = find_winner(spec(), pd.concat([without(2, without(1, trials(*high)))]))
    assert winner is not None
    assert (winner.low, winner.high) == (0.0, 1.0)


def test_winner_needs_two_seeds_to_be_ahead() -> None:
    winner = find_winner(spec(), trials())
    assert winner is not None
    assert winner.number == 2
    assert math.isnan(winner.error)
    assert not winner.is_ahead
    lines = winner_lines(spec(), trials())
    assert lines[0] == "Best by its repeats: trial 2, val_accuracy 0.8500 (1 seed)"
    assert lines[2] == "It cannot be compared, because that takes two seeds of each, and values that differ"


def test_winner_lines_show_the_search_apart() -> None:
    lines = winner_lines(spec(), without(2, trials()))
    assert lines == [
        "Best by its repeats: trial 1, val_accuracy 0.8400, 95 % interval 0.7406 to 0.9394 (3 seeds)",
        "In the search it had 0.9000, which is too good, because it was chosen among 3 trials",
    ]


def test_equal_repeats_are_never_ahead() -> None:
    assert math.isnan(error_ahead([np.array([0.9, 0.9]), np.array([0.8, 0.8])]))


@pytest.mark.parametrize(("spread", "unequal"), [(0.0, False), (1.0, False), (1.0, True)])
def test_simulated_intervals_cover_and_verdicts_hold(spread: float, unequal: bool) -> None:
    found = rates(spread, top=3, seeds=5, studies=500, seed=1, unequal=unequal)
    assert 0.93 <= found.each <= 0.97
    assert 0.93 <= found.covered <= 0.985
    assert found.wrong <= 0.05
    assert found.bias > 1
    assert spread == 0 or found.ahead > 0.1
