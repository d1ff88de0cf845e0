"""The Pareto front of several objectives, and the hypervolume below it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from tuner.analysis.front import front, hypervolume, hypervolume_by_epochs
from tuner.analysis.leaderboard import leaderboard
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.pareto import not_dominated

START = datetime(2026, 1, 1, tzinfo=UTC)
TWO = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]
THREE = [*TWO, {"minimize": "val_loss"}]


def written(folder: Path, objective: list[dict[str, str]], seed: int, **changes: object) -> StudyResults:
    """A study of 60 trials with random values, some of them equal."""
    spec = parse_spec(
        {"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}, "objective": objective, **changes}
    )
    home = StudyFolder(folder / "s")
    home.storage.create()
    tables, draw = home.tables(spec), np.random.default_rng(seed)
    for number in range(60):
        values = [float(value) for value in draw.integers(0, 9, len(objective)) / 8]
        state = "PRUNED" if number % 5 == 4 else "COMPLETE"
        row = {"study": "s", "number": number, "attempt": 1, "purpose": "search", "updated_at": START}
        tables.append("trials", {**row, "state": state, "value": values[0], "values": values})
        for epoch in (1, 2):
            when = START + timedelta(seconds=2 * number + epoch)
            tables.append("epochs", {"study": "s", "number": number, "attempt": 1, "epoch": epoch, "at": when})
    tables.flush()
    return StudyResults(home, spec)


@pytest.mark.parametrize("objective", [TWO, THREE])
@pytest.mark.parametrize("seed", range(3))
def test_front_equals_brute_force(objective: list[dict[str, str]], seed: int, tmp_path: Path) -> None:
    study = written(tmp_path, objective, seed)
    complete = study.trials[study.trials["state"] == "COMPLETE"].set_index("number")["values"]
    signs = [one.sign for one in study.spec.objective]
    points = {
        int(str(number)): [s * v for s, v in zip(signs, values, strict=True)] for number, values in complete.items()
    }

    def dominates(one: list[float], other: list[float]) -> bool:
        return all(a >= b for a, b in zip(one, other, strict=True)) and one != other

    expected = [n for n, point in points.items() if not any(dominates(other, point) for other in points.values())]
    found = front(study)
    assert sorted(found.loc[found["is_front"], "number"]) == expected
    assert sorted(leaderboard(study)["number"]) == expected
    assert list(found["number"]) == list(points)


@pytest.mark.parametrize("objective", [TWO, THREE])
def test_hypervolume_never_falls(objective: list[dict[str, str]], tmp_path: Path) -> None:
    study = written(tmp_path, objective, 7)
    found = hypervolume_by_epochs(study)
    assert list(found["number"]) == [number for number in range(60) if number % 5 != 4]
    assert list(found["epochs"]) == [2 * number + 2 for number in found["number"]]
    assert found["hypervolume"].is_monotonic_increasing
    assert 0 < found["hypervolume"].iloc[0] < found["hypervolume"].iloc[-1] <= 1


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_is_that_of_optuna(objectives: int) -> None:
    for seed in range(5):
        points = np.random.default_rng(seed).uniform(-0.2, 1, (12, objectives)).round(1)
        inside = points[(points > 0).all(axis=1)]
        expected = compute_hypervolume(-inside, np.zeros(objectives)) if len(inside) else 0.0
        assert hypervolume(points) == pytest.approx(expected)


def test_front_leaves_out_trials_outside_of_a_constraint(tmp_path: Path) -> None:
    limit = 0.5
    study = written(tmp_path, TWO, 1, constraints={"parameters_count": {"max": limit}})
    assert (front(study)["parameters_count"] <= limit).all()
    assert len(front(study)) < (study.trials["state"] == "COMPLETE").sum()
    assert hypervolume_by_epochs(study)["hypervolume"].is_monotonic_increasing


def test_front_without_completed_trials_is_empty(tmp_path: Path) -> None:
    study = written(tmp_path, TWO, 1, constraints={"val_accuracy": {"max": -1.0}})
    assert front(study).empty
    assert hypervolume_by_epochs(study).empty


def test_equal_rows_are_both_not_dominated() -> None:
    values = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert list(not_dominated(values)) == [True, True, True, False]
