"""Explanations of trials in every state, whose cutoffs follow from the epochs alone."""

from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tuner
from tuner.analysis.explain import RUNG_COLUMNS, explain
from tuner.config.study import parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, StudyResults, load_study

COMMITTED = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"
START = datetime(2026, 1, 2, tzinfo=UTC)


def written(tmp_path: Path, *trials: dict[str, Any], decisions: list[dict[str, Any]] | None = None) -> StudyResults:
    """A study of made-up rows, read from its folder."""
    spec = parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base", "epochs": 9},
            "space": {"learning_rate": {"float": [1e-4, 1e-1], "log": True}},
            "stopping": "asha",
        }
    )
    folder = StudyFolder(tmp_path / "demo")
    folder.storage.create()
    folder.write_spec(spec)
    shared = {"study": "demo", "attempt": 1, "purpose": "search", "origin": "tpe", "seed": 7, "epochs_planned": 9}
    tables = folder.tables(spec)
    for verdict in decisions or []:
        tables.append("decisions", {"study": "demo", "attempt": 1, "bracket": 0, "at": START, **verdict})
    for row in trials:
        tables.append("trials", {**shared, "param_learning_rate": 0.01, "updated_at": START, **row})
    tables.flush()
    return load_study(folder.storage.root)


@pytest.fixture(scope="module")
def cifar() -> StudyResults:
    return tuner.load_study(COMMITTED)


@pytest.mark.slow
def test_cutoffs_follow_from_epochs_alone(cifar: StudyResults) -> None:
    """Compute each cutoff again, as Ray's ASHA does, from the values that came before.

    Trials from 42 on are left out, because the version that resumed there refilled the rungs from
    the latest attempt of two trials.
    """
    decisions = cifar.decisions[: (cifar.decisions["number"] == 42).argmax()]
    assert len(decisions) > 60
    epochs = cifar.folder.tables(cifar.spec).history("epochs")  # of every attempt
    values = epochs.set_index(["number", "attempt", "epoch"])["val_accuracy"]
    share = 1 - 1 / cifar.spec.stopping.asha.reduction_factor  # type: ignore[union-attr]
    before: dict[float, list[float]] = defaultdict(list)
    explained = {number: explain(cifar, number).rungs for number in decisions["number"].unique()}
    seen = dict.fromkeys(explained, 0)
    for number, attempt in decisions[["number", "attempt"]].itertuples(index=False):
        row = explained[number].iloc[seen[number]]
        seen[number] += 1
        value = values[number, attempt, row["epoch"]]
        assert row["value"] == value
        earlier = before[row["rung"]]
        expected = np.percentile(earlier, 100 * share) if earlier else np.nan
        np.testing.assert_allclose(row["cutoff"], expected)
        assert row["rank"] == 1 + sum(other > value for other in earlier)
        assert row["verdict"] == ("stop" if earlier and value < expected else "go")
        earlier.append(value)
    assert all(seen[number] == len(rungs) for number, rungs in explained.items() if number < 41)


@pytest.mark.slow
def test_every_committed_trial_is_explained(cifar: StudyResults) -> None:
    for number, state in zip(cifar.trials["number"], cifar.trials["state"], strict=True):
        found = explain(cifar, number)
        assert found.end.startswith(f"{state} after ")
        assert list(found.rungs) == RUNG_COLUMNS
    assert "place 1 of" in explain(cifar, int(cifar.best["number"])).end
    assert explain(cifar, 64).proposal.startswith("repeats trial ")


@pytest.mark.parametrize(
    ("row", "decision", "end"),
    [
        (
            {"state": "FAILED", "error_kind": "memory", "error": "no room", "attempt": 2, "epochs_run": 1},
            None,
            "FAILED (memory) after 1 of 9 epochs in 2 attempts: no room; its log is ",
        ),
        (
            {"state": "PRUNED", "value": 0.5, "epochs_run": 3},
            {"rung": 3.0, "verdict": "wait"},
            "PRUNED after 3 of 9 epochs: val_accuracy 0.5000; it waited at rung 3 until the search ended",
        ),
        (
            {"state": "PRUNED", "value": 0.5, "epochs_run": 1},
            {"rung": 1.0, "verdict": "stop", "cutoff": 0.75},
            "PRUNED after 1 of 9 epochs: val_accuracy 0.5000; rung 1 stopped it, where 0.7500 was needed",
        ),
        (
            {"state": "PRUNED", "value": 0.5, "epochs_run": 2},
            {"rung": 2.0, "epoch": 2, "verdict": "time", "rank": None, "of": None},
            "PRUNED after 2 of 9 epochs: val_accuracy 0.5000; it took longer than budget.trial_minutes",
        ),
        (
            {"state": "PRUNED", "error_kind": "constraint", "error": "parameters_count 9 is not at most 8"},
            None,
            "PRUNED before its training: parameters_count 9 is not at most 8",
        ),
        (
            {"state": "PAUSED", "value": 0.5, "epochs_run": 1},
            {"rung": 1.0, "verdict": "wait"},
            "PAUSED after 1 of 9 epochs: val_accuracy 0.5000; it waits at rung 1",
        ),
        ({"state": "RUNNING"}, None, "RUNNING after 0 of 9 epochs"),
    ],
)
def test_explain_says_what_became_of_a_trial(
    row: dict[str, Any], decision: dict[str, Any] | None, end: str, tmp_path: Path
) -> None:
    shown = {"number": 4, "epoch": 1, "value": 0.5, "rank": 2, "of": 3}
    decisions = [{**shown, **decision}] if decision else []
    found = explain(written(tmp_path, {"number": 4, **row}, decisions=decisions), 4)
    assert found.end.startswith(end)
    assert found.proposal == "proposed by tpe, with seed 7: learning_rate 0.01"
    assert len(found.rungs) == len(decisions)


def test_explain_names_the_nearest_trial(tmp_path: Path) -> None:
    study = written(tmp_path, {"number": 3, "state": "RUNNING"}, {"number": 9, "state": "RUNNING"})
    with pytest.raises(StudyError, match=r"demo: no trial 7; did you mean 9\? allowed: 3 to 9$"):
        explain(study, 7)
    assert pd.isna(study.trials["value"]).all()
    with pytest.raises(StudyError, match="no trial has begun"):
        explain(written(tmp_path / "empty"), 0)
