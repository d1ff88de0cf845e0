"""The laboratory of search quality, with a small recording."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tuner
from benchmarks.quality.searches import SEARCHES, silence
from benchmarks.quality.simulation import Started, Workers, regret_at
from benchmarks.quality.summary import by_search, interval
from benchmarks.quality.tasks import Task, load_task
from benchmarks.record_curves import recording
from benchmarks.search_quality import main

EPOCHS = 9
COMMITTED = Path(__file__).parents[2] / "notebooks" / "results"


def record(folder: Path, name: str = "small") -> None:
    """Write curves that rise to the height that the parameters decide."""
    rows = []
    choices = [(rate, size) for rate in np.geomspace(1e-4, 1e-1, 7) for size in (16, 64)]
    for config, (rate, size) in enumerate(choices):
        height = 0.9 - 0.1 * abs(math.log10(rate) + 2) - size / 1000
        for epoch in range(1, EPOCHS + 1):
            value = height * (1 - 0.5**epoch)
            cells = {"config": config, "seed": 0, "epoch": epoch, "cpu_seconds": size / 16}
            measured = {"val_accuracy": value, "val_loss": 1 - value}
            rows.append({**cells, **measured, "learning_rate": rate, "batch_size": size})
    pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")


@pytest.fixture
def small(tmp_path: Path) -> Task:
    record(tmp_path)
    return load_task(tmp_path, "small")


class InOrder:
    """A search that proposes given rates one after the other, and stops at given epochs."""

    def __init__(self, rates: list[float], ends: dict[int, int]) -> None:
        self.rates, self.ends, self.begun = rates, ends, 0

    def suggest(self) -> Started | None:
        if self.begun == len(self.rates):
            return None
        self.begun += 1
        rate = self.rates[self.begun - 1]
        return Started(self.begun - 1, {"learning_rate": rate, "batch_size": 16})

    def report(self, number: int, result: dict[str, Any]) -> Any:
        return "stop" if result["epoch"] == self.ends.get(number) else "go"


def test_task_reads_its_space(small: Task) -> None:
    assert small.space == {
        "learning_rate": {"float": [1e-4, pytest.approx(1e-1)], "log": True},
        "batch_size": {"choice": [16, 64]},
    }
    assert small.max_epochs == EPOCHS


def test_task_reads_conditions(tmp_path: Path) -> None:
    record(tmp_path)
    table = pd.read_parquet(tmp_path / "small.parquet")
    table["optimizer"] = np.where(table["batch_size"] == 16, "sgd", "adam")
    table["momentum"] = np.where(table["optimizer"] == "sgd", 0.9, np.nan)
    table.to_parquet(tmp_path / "small.parquet")
    task = load_task(tmp_path, "small")
    assert task.space["momentum"] == {"choice": [0.9], "when": {"batch_size": [16]}}
    point = {"learning_rate": 1e-4, "batch_size": 64, "optimizer": "adam"}
    assert task.configurations["batch_size"][task.nearest(point)] == 64


def test_study_becomes_a_recording(tmp_path: Path) -> None:
    study = tuner.load_study(COMMITTED / "vazquez_exp3")
    recording(study).to_parquet(tmp_path / "recorded.parquet")
    task = load_task(tmp_path, "recorded")
    names = [name.removeprefix("param_") for name in study.trials if name.startswith("param_")]
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    assert set(task.configurations) == set(names)
    assert sum(map(len, task.curves)) == len(complete)
    ends = [curve.values[-1] for seeds in task.curves for curve in seeds]
    assert sorted(ends) == sorted(complete["val_accuracy"])


def test_nearest_configuration_is_itself(small: Task) -> None:
    rows = small.configurations.to_dict("records")
    assert [small.nearest(row) for row in rows] == list(range(len(rows)))


def test_nearest_configuration_is_near_in_logarithm(small: Task) -> None:
    near = small.nearest({"learning_rate": 2.9e-3, "batch_size": 16})
    assert small.configurations["learning_rate"][near] == pytest.approx(10**-2.5)


def test_workers_train_side_by_side(small: Task) -> None:
    search = InOrder([1e-2, 1e-3, 1e-4], {0: 1, 1: 3})
    trace = Workers(small, search, 2, 0).run(1000).table()
    ends = trace.groupby("number")["seconds"].max()
    assert list(ends) == [1.0, 3.0, 1.0 + EPOCHS]
    assert list(trace["used"]) == list(range(1, 1 + 3 + EPOCHS + 1))
    assert list(trace[trace["complete"]]["number"]) == [2]


def test_regret_counts_what_was_seen(small: Task) -> None:
    search = InOrder([1e-1, 1e-2], {})
    trace = Workers(small, search, 1, 0).run(2 * EPOCHS).table()
    best = small.nearest({"learning_rate": 1e-2, "batch_size": 16})
    first = small.nearest({"learning_rate": 1e-1, "batch_size": 16})
    assert small.regrets[best] == 0 < small.regrets[first]
    assert regret_at(small, trace, EPOCHS, "used", "reported") == small.regrets[first]
    assert regret_at(small, trace, 2 * EPOCHS, "used", "reported") == 0
    assert regret_at(small, trace, EPOCHS - 1, "used", "complete") == 1
    assert regret_at(small, trace, 2 * EPOCHS - 1, "used", "complete") == small.regrets[first]


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SEARCHES))
def test_search_repeats_itself(name: str, small: Task) -> None:
    silence()
    runs = []
    for _ in range(2):
        np.random.seed(1)
        runs.append(Workers(small, SEARCHES[name](small, 3, 1), 3, 1).run(60).table())
    pd.testing.assert_frame_equal(*runs)
    assert runs[0]["number"].nunique() > 60 / EPOCHS  # some were stopped, or more than one runs
    assert runs[0]["epoch"].max() == EPOCHS


@pytest.mark.slow
def test_command_continues_where_it_stopped(tmp_path: Path, capsys: Any) -> None:
    record(tmp_path)
    out = tmp_path / "out"
    common = ["--recordings", str(tmp_path), "--out", str(out), "--budgets", "10", "20"]
    common += ["--searches", "random + promote", "grid + promote"]
    main([*common, "--seeds", "2"])
    before = pd.read_parquet(out / "rows.parquet")
    main([*common, "--seeds", "3"])
    after = pd.read_parquet(out / "rows.parquet")
    pd.testing.assert_frame_equal(after.head(len(before)), before)
    assert len(after) == len(before) * 3 / 2
    text = capsys.readouterr().out
    assert "| random + promote |" in text
    assert (out / "tables.md").read_text() in text
    assert (out / "regret.png").stat().st_size > 0


def test_summary_compares_the_seeds_of_all() -> None:
    cells = [("fast", 0, 0.1), ("fast", 1, 0.3), ("slow", 0, 0.2)]
    rows = pd.DataFrame([{"search": n, "seed": s, "regret": r, "task": "a", "workers": 4} for n, s, r in cells])
    assert by_search(rows).to_dict("records") == [{"fast": 0.1, "slow": 0.2}]


def test_interval_holds_the_mean() -> None:
    draw = np.random.default_rng(0)
    regrets = draw.normal(1, 0.1, size=40)
    rows = pd.DataFrame({"task": ["a", "b"] * 20, "workers": 4, "seed": np.arange(40) // 2})
    table = rows.assign(found=regrets).set_index(["task", "workers", "seed"])
    found = interval(table).loc["found"]
    assert found["mean"] == pytest.approx(regrets.mean())
    assert found["low"] < found["mean"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(4 * 0.1 / 40**0.5, rel=0.3)
