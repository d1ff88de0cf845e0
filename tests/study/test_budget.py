"""The budget of a study over several runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuner.config.budget import Budget
from tuner.config.study import StudyConfig, parse_spec
from tuner.config.yaml import parse_yaml
from tuner.results.tables import Tables
from tuner.storage import Storage
from tuner.study.budget import BudgetMeter, Spent, describe_budget, describe_limit, read_spent, spent_seconds
from tuner.study.halting import StudyStopper

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def run(start: float, stop: float | None) -> dict[str, Any]:
    return {"started_at": at(start).isoformat(), "stopped_at": None if stop is None else at(stop).isoformat()}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """Tables whose last rows of a killed run are 60 and 90 seconds old."""
    space = parse_spec({"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}}).space
    tables = Tables(Storage(tmp_path), space)
    tables.append("trials", {"number": 0, "attempt": 1, "state": "RUNNING", "updated_at": at(60)})
    tables.append("epochs", {"number": 0, "attempt": 1, "epoch": 1, "at": at(90)})
    tables.append("epochs", {"number": 0, "attempt": 2, "epoch": 2, "at": at(1030)})
    tables.flush()
    return tables


@pytest.mark.parametrize(
    ("runs", "seconds"),
    [
        ([], 0),
        ([run(0, 100)], 100),
        ([run(0, 100), run(500, 530)], 130),
        ([run(0, None), run(1000, 1050)], 140),  # killed, 90 seconds after its start
        ([run(0, 100), run(1000, None)], 130),
        ([run(2000, None)], 0),  # killed before its first row
        ([run(0, -50)], 0),  # the clock was set back
        ([{"started_at": "yesterday"}, "damaged"], 0),
    ],
)
def test_spent_seconds_sum_up_all_runs(runs: list[Any], seconds: float, tables: Tables) -> None:
    assert spent_seconds({"runs": runs}, tables) == seconds


def study(**budget: Any) -> StudyConfig:
    objective = [{"maximize": "val_accuracy"}, {"minimize": "parameters_count"}]
    training = {"architecture": "vazquez_base"}
    return parse_spec({"study": "s", "training": training, "objective": objective, "space": {}, "budget": budget})


def test_stopper_counts_what_earlier_runs_spent() -> None:
    def stopper(spent: float) -> StudyStopper:
        return StudyStopper(BudgetMeter(study(hours=1), Spent(spent)), check=lambda: None, is_hopeless=lambda: False)

    assert not stopper(3500).stop_all()
    used_up = stopper(3600)
    assert used_up.stop_all()
    assert used_up.reason == "budget.hours"


def test_epoch_budget_counts_every_attempt(tables: Tables) -> None:
    tables.append("epochs", {"number": 0, "attempt": 1, "epoch": 0, "at": at(80)})  # the untrained network
    tables.append("epochs", {"number": 0, "attempt": 2, "epoch": 1, "at": at(1010)})  # trained again
    tables.flush()
    meter = BudgetMeter(study(epochs=5), read_spent(study(epochs=5), {}, tables))
    meter.trained()
    assert meter.limit is None
    meter.trained()
    assert meter.limit == "epochs"


@pytest.mark.parametrize(
    ("values", "limit"),
    [((0.99, 100), "target"), ((0.995, 99), "target"), ((0.989, 100), None), ((0.99, 101), None)],
)
def test_target_is_every_value_of_one_trial(values: tuple[float, float], limit: str | None, tables: Tables) -> None:
    spec = study(target={"parameters_count": 100, "val_accuracy": 0.99})
    meter = BudgetMeter(spec, Spent())
    meter.completed((0.999, 1000))
    meter.completed((0.5, 1))
    assert meter.limit is None
    meter.completed(values)
    assert meter.limit == limit
    done = {"number": 1, "attempt": 1, "purpose": "search", "values": [*map(float, values)], "updated_at": at(70)}
    tables.append("trials", {**done, "state": "COMPLETE"})
    tables.flush()
    assert BudgetMeter(spec, read_spent(spec, {}, tables)).limit == limit


@pytest.mark.parametrize(
    ("budget", "seconds", "epochs", "is_short"),
    [
        ({}, 1e9, 10**6, False),
        ({"hours": 1}, 3000, 1, True),
        ({"hours": 1}, 1000, 1, False),
        ({"epochs": 10}, 1, 6, True),
        ({"epochs": 10}, 1, 5, False),
    ],
)
def test_budget_is_short_of_a_trial_in_time(
    budget: dict[str, Any], seconds: float, epochs: int, is_short: bool
) -> None:
    assert BudgetMeter(study(**budget), Spent()).is_short_of(seconds, epochs) is is_short


class Clock:
    """A clock that a test sets."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed


def test_gpu_hours_count_trials_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tuner.study.budget.time", clock)
    meter = BudgetMeter(study(gpu_hours=1), Spent(gpu_seconds=2400))
    meter.gpu = 0.5
    meter.began(0)
    meter.began(1)
    clock.passed = 600.0
    assert meter.is_short_of(700, 1)  # 600 seconds are left of the GPUs
    assert not meter.is_short_of(500, 1)
    meter.ended(1)
    clock.passed = 1700.0
    assert meter.limit is None
    clock.passed = 1800.0
    assert meter.limit == "gpu_hours"


def test_every_limit_can_be_raised() -> None:
    limits = {"hours": 2, "gpu_hours": 1, "epochs": 50, "trials": 9, "plateau": 4, "target": {"val_accuracy": 0.99}}
    spec = study(**limits)
    assert [*spec.budget.limits] == [name for name in Budget.model_fields if name in limits]
    for key in limits:
        raised = study(**limits | {key: read_setting(describe_limit(spec.budget, key)[1])})
        assert raised.budget != spec.budget, key
    assert describe_budget(study(hours=2, target={"val_accuracy": 0.99}, trial_minutes=5).budget) == (
        "ends after 2 hours, or a trial with val_accuracy 0.99, or 5 minutes of each trial"
    )
    assert describe_budget(study().budget) == "none"


def read_setting(setting: str) -> Any:
    return parse_yaml(setting.partition("=")[2], "--set")
