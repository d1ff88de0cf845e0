"""Restoring: the knowledge that a resume has of earlier runs."""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.search.test_searcher import Driven
from tests.search.test_searcher import study as driven_study
from tests.support.schedulers import AS_RAY, CONTINUE, STOP, Played, study
from tuner.config.study import StudyConfig
from tuner.results.tables import Tables, now
from tuner.storage import Storage
from tuner.study import recorder, reports
from tuner.study.restore import Past, read_past, restore_scheduler

MEDIAN = {"median": {"grace_period": 1, "min_trials": 2}}
ASHA = {"asha": {"grace_period": 1, "reduction_factor": 2} | AS_RAY}


class Written:
    """Tables of an earlier run."""

    def __init__(self, spec: StudyConfig, folder: Path) -> None:
        self.spec = spec
        self.tables = Tables(Storage(folder), spec.space)

    def trial(self, number: int, state: str, values: list[float], attempt: int = 1, **more: Any) -> None:
        """Write a trial's row, and its epochs from the first on."""
        row = {"number": number, "attempt": attempt, "state": state, "purpose": "search", "updated_at": now()}
        self.tables.append("trials", row | more)
        for epoch, value in enumerate(values, start=1):
            cells = {"number": number, "attempt": attempt, "epoch": epoch, "val_accuracy": value}
            self.tables.append("epochs", cells | {"at": now()})

    def decide(self, number: int, rung: int, value: float, verdict: str = "go", attempt: int = 1) -> None:
        """Write a verdict."""
        row = {"number": number, "attempt": attempt, "bracket": 0, "rung": float(rung), "epoch": rung}
        self.tables.append("decisions", row | {"value": value, "verdict": verdict, "at": now()})

    def past(self) -> Past:
        self.tables.flush()
        return read_past(self.tables)


def resume(written: Written) -> tuple[Played, list[Any]]:
    """Return a restored scheduler, and the trials it had stopped."""
    played = Played(written.spec)
    stopped = restore_scheduler(written.spec, written.past(), played.scheduler)
    return played, [row["number"] for row in stopped]


def test_median_rule_stops_no_replayed_epoch(tmp_path: Path) -> None:
    written = Written(study(MEDIAN, 9), tmp_path)
    written.trial(0, "RUNNING", [0.1, 0.2])  # too early to be compared
    written.trial(1, "COMPLETE", [0.8] * 9)
    written.trial(2, "COMPLETE", [0.9] * 9)
    played, _ = resume(written)
    assert [played.report(0, epoch, value) for epoch, value in ((1, 0.1), (2, 0.2))] == [CONTINUE] * 2
    assert played.report(0, 3, 0.3) == STOP
    assert [row["epoch"] for row in played.decisions] == [3]


def test_asha_keeps_first_value_at_a_rung(tmp_path: Path) -> None:
    written = Written(study(ASHA, 8), tmp_path)
    written.trial(0, "RUNNING", [0.5, 0.6], attempt=1)
    written.decide(0, 1, 0.5)
    written.decide(0, 2, 0.6)
    written.trial(0, "COMPLETE", [0.7, 0.8, 0.8, 0.8], attempt=2)  # trained again with other numbers
    played, _ = resume(written)
    assert played.scheduler.rungs[0, 1][0] == 0.5
    assert played.scheduler.rungs[0, 2][0] == 0.6
    assert played.scheduler.rungs[0, 4][0] == 0.8  # whose verdict was lost


def test_asha_decides_what_was_not_decided(tmp_path: Path) -> None:
    written = Written(study(ASHA, 8), tmp_path)
    written.trial(0, "COMPLETE", [0.8] * 8)
    written.trial(1, "RUNNING", [0.7, 0.1])
    written.decide(1, 1, 0.7)
    played, _ = resume(written)
    assert played.report(1, 1, 0.7) == CONTINUE
    assert played.report(1, 2, 0.1) == STOP
    assert [row["rung"] for row in played.decisions] == [2]


@pytest.mark.parametrize("stopping", [ASHA, MEDIAN])
def test_restore_finds_trials_stopped_before_their_end(stopping: Any, tmp_path: Path) -> None:
    written = Written(study(stopping, 8), tmp_path)
    written.trial(0, "PRUNED", [0.1])
    written.decide(0, 1, 0.1, "stop")
    written.trial(1, "RUNNING", [0.2])
    written.decide(1, 1, 0.2, "stop")
    written.trial(2, "RUNNING", [0.3])
    assert resume(written)[1] == [1]


def test_past_counts_failures_by_kind(tmp_path: Path) -> None:
    written = Written(study("none"), tmp_path)
    written.trial(0, "FAILED", [], attempt=1, error_kind="environment")
    written.trial(0, "FAILED", [], attempt=2)  # an earlier version wrote no kind
    written.trial(0, "RUNNING", [0.1], attempt=3)
    past = written.past()
    assert past.failures == [(0, "environment"), (0, "crash")]
    assert past.attempts == {0: 3}
    assert list(past.reports[0]) == [1]
    assert past.failed == []


def test_past_of_a_new_study_is_empty(tmp_path: Path) -> None:
    past = Written(study("none"), tmp_path).past()
    assert (past.attempts, past.failures, past.reports, past.failed) == ({}, [], {}, [])


def interrupted(folder: Path) -> dict[str, pd.DataFrame]:
    """Kill a study twice, run it to its end, and return its tables without times."""
    driven = Driven(driven_study(trials=20, stopping=ASHA), folder)
    for calls in (25, 40):
        driven = driven.run(calls).killed()
    tables = driven.run().tables
    frames = {"trials": tables.trials(), "epochs": tables.epochs(), "decisions": tables.history("decisions")}
    keys = ["number", "attempt", "epoch"]
    times = ["at", "started_at", "updated_at"]
    return {
        name: frame.drop(columns=times, errors="ignore").sort_values(
            [key for key in keys if key in frame], kind="stable", ignore_index=True
        )
        for name, frame in frames.items()
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """Tables of an interrupted study whose clock was never set back."""
    return interrupted(tmp_path_factory.mktemp("expected"))


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, 24])
def test_study_is_the_same_under_a_clock_set_back(
    hours: int, expected: dict[str, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[datetime] = []

    def set_back() -> datetime:
        readings.append(now() - len(readings) * timedelta(hours=hours))
        return readings[-1]

    begun = time.time_ns()
    for module in (recorder, reports):
        monkeypatch.setattr(module, "now", set_back)
    monkeypatch.setattr(time, "time_ns", lambda: begun - len(readings) * hours * 3_600_000_000_000)
    actual = interrupted(tmp_path / "actual")
    assert len(readings) > 100
    for table, frame in expected.items():
        pd.testing.assert_frame_equal(actual[table], frame)
