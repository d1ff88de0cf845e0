import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy

from tuner.analysis.compare import compare, compare_values
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder, StudyResults, load_study
from tuner.results.tables import now

CIFAR = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"
GOOD, BAD = np.array([0.90, 0.91, 0.92]), np.array([0.80, 0.82, 0.81, 0.79])
Make = Callable[..., StudyResults]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a study of one trial, with repeats of it."""

    def write(name: str, *repeats: float, images: str = "a", **changes: Any) -> StudyResults:
        training = {"architecture": "vazquez_base", "epochs": 3}
        spec = parse_spec({"study": Path(name).name, "training": training, "space": {}, **changes})
        folder = StudyFolder(tmp_path / name)
        folder.write_spec(spec)
        folder.write_provenance({"runs": [{"dataset": {"name": "digits", "fingerprint": images}}]})
        tables = folder.tables(spec)
        for number, value in enumerate([0.95, *repeats]):
            of = {"purpose": "repeat", "repeat_of": 0} if number else {"purpose": "search"}
            row = {"study": spec.study, "number": number, "attempt": 1, "state": "COMPLETE", "value": value}
            tables.append("trials", row | of | {"values": [value], "train_seconds": 2.0, "updated_at": now()})
            tables.append("epochs", {"study": spec.study, "number": number, "attempt": 1, "epoch": 1, "at": now()})
        tables.flush()
        return load_study(folder.storage.path(""))

    return write


def test_compare_names_settings_that_differ(make: Make) -> None:
    space = {"batch_size": {"choice": [32, 64]}}
    found = compare([make("one"), make("two", space=space, search={"seed": 4, "trials": 1})])
    assert found.settings.to_dict("index") == {
        "training.batch_size": {"one": 64, "two": None},
        "space.batch_size.choice": {"one": None, "two": "[32, 64]"},
        "search.seed": {"one": 0, "two": 4},
    }


def test_compare_counts_values_and_costs(make: Make) -> None:
    rows = compare([make("one", *GOOD), make("two")]).results.to_dict("index")
    one, two = rows["one"], rows["two"]
    half = scipy.stats.t.ppf(0.975, 2) * GOOD.std(ddof=1) / math.sqrt(3)
    assert (one["best"], one["value"], one["seeds"], one["epochs"]) == (0, 0.95, 3, 4)
    assert one["train_seconds"] == 8.0
    assert [one["mean"], one["low"], one["high"]] == pytest.approx([0.91, 0.91 - half, 0.91 + half])
    assert two["seeds"] == 0
    empty = make("none")
    for table in ("trials", "epochs"):
        shutil.rmtree(empty.folder.storage.path(table))
    assert compare([make("three"), empty]).results["best"].tolist() == [0, pd.NA]
    assert pd.isna(two["mean"])


def test_compare_of_two_repeated_studies_is_welch(make: Make) -> None:
    found = compare([make("low", *BAD), make("high", *GOOD)])
    (row,) = found.tests.to_dict("records")
    expected = scipy.stats.ttest_ind(GOOD, BAD, equal_var=False).pvalue
    assert found.obstacles == []
    assert row["p"] == pytest.approx(expected)
    assert row["difference"] == pytest.approx(0.105)
    assert row["verdict"].startswith("high is ahead of low (p ")


@pytest.mark.slow
def test_compare_without_repeats_does_not_test(make: Make) -> None:
    tests = compare([make("one", 0.9), make("two", 0.8), make("three")]).tests
    assert tests["verdict"].tolist() == ["one and two have one value each: no test", "three has no repeats: no test"]
    assert tests["p"].isna().all()
    assert compare([make("four"), make("five")]).tests.empty


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective": {"minimize": "val_loss"}}, "objective: maximize val_accuracy in one, minimize val_loss in two"),
        ({"images": "b"}, "dataset.name: digits in one, digits in two, whose images differ"),
        ({"dataset": {"validation": 0.3}}, "dataset.validation: 0.1 in one, 0.3 in two"),
        ({"dataset": {"split_seed": 1}}, "dataset.split_seed: 0 in one, 1 in two"),
        ({"protocol": "as_published"}, "protocol: clean in one, as_published in two"),
    ],
    ids=["objective", "images", "validation", "split", "protocol"],
)
@pytest.mark.slow
def test_compare_refuses_to_test_different_questions(make: Make, changes: dict[str, Any], said: str) -> None:
    found = compare([make("one", *GOOD), make("two", *BAD, **changes)])
    assert found.obstacles == [said]
    assert found.tests.empty


def test_compare_tells_studies_of_one_name_apart(make: Make) -> None:
    studies = [make("a/same"), make("b/same")]
    assert list(compare(studies).results.index) == [str(study.folder) for study in studies]


@pytest.mark.slow
def test_compare_reads_the_committed_search() -> None:
    found = compare([load_study(CIFAR), load_study(CIFAR.parent / "rubio")])
    assert found.results["mean"].iloc[0] == pytest.approx(0.8161, abs=1e-4)
    assert any(line.startswith("protocol: clean in cifar") for line in found.obstacles)
    assert json.loads(found.settings["cifar"]["space.batch_size.choice"])


def test_values_of_losses_are_better_when_low() -> None:
    (row,) = compare_values({"one": [GOOD], "two": [BAD]}, sign=-1).to_dict("records")
    assert (row["ahead"], row["other"]) == ("two", "one")
    assert row["difference"] == pytest.approx(-0.105)


def test_values_that_do_not_vary_are_not_tested() -> None:
    (row,) = compare_values({"one": [np.full(3, 0.9)], "two": [np.full(3, 0.8)]}, sign=1).to_dict("records")
    assert math.isnan(row["p"])
    assert row["verdict"].endswith("values that differ")


@pytest.mark.parametrize("configurations", [1, 4])
def test_equal_studies_are_rarely_told_apart(configurations: int) -> None:
    """Three equal studies, each with the best of several configurations: wrong in 5 % at most."""
    random, wrong, rounds = np.random.default_rng(0), 0, 150
    for _ in range(rounds):
        repeats = {
            name: sorted(random.normal(0.8, 0.01, (configurations, 4)), key=lambda values: -values.mean())
            for name in "abc"
        }
        wrong += bool((compare_values(repeats, sign=1)["p"] < 0.05).any())
    assert wrong <= 0.05 * rounds + 3 * math.sqrt(0.05 * 0.95 * rounds)
