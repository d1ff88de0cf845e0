import math

import pandas as pd
import pytest

from tuner.analysis.confirmation import confirmed
from tuner.config.study import StudyConfig, parse_spec

ACCURACIES = {0: [], 1: [0.80, 0.84, 0.88], 2: [0.85]}
"""Validation accuracies of the repeats by trial."""


def spec(**changes: object) -> StudyConfig:
    training = {"architecture": "vazquez_base"}
    return parse_spec({"study": "demo", "training": training, "space": {}, **changes})


def trial(number: int, accuracy: float | None, repeat_of: int | None = None) -> dict[str, object]:
    return {
        "number": number,
        "state": "FAILED" if accuracy is None else "COMPLETE",
        "purpose": "search" if repeat_of is None else "repeat",
        "repeat_of": repeat_of,
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


def test_confirmed_averages_repeats_without_the_search() -> None:
    table = confirmed(spec(), trials()).set_index("number")
    assert list(table.index) == [2, 1]  # as the search ranks them
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
    assert table["seeds"].tolist() == [1, 3, 0]
    assert table["val_accuracy"].isna().tolist() == [False, False, True]


def test_confirmed_without_repeats_is_empty() -> None:
    searched = trials().head(3)
    table = confirmed(spec(), searched)
    assert table.empty
    assert [*table.columns] == [
        "number", "seeds", "failed", "val_accuracy", "val_accuracy_half", "test_accuracy", "test_accuracy_half",
    ]  # fmt: skip


def test_confirmed_ranks_losses_lowest_first() -> None:
    table = confirmed(spec(objective={"minimize": "val_loss"}), trials())
    assert table["number"].tolist() == [1, 2]
