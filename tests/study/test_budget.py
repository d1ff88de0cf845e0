"""The budget of a study over several runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuner.config.study import parse_spec
from tuner.results.tables import Tables
from tuner.storage import Storage
from tuner.study.budget import spent_seconds
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


def test_stopper_counts_what_earlier_runs_spent() -> None:
    def stopper(spent: float) -> StudyStopper:
        return StudyStopper(1.0, spent, check=lambda: None, is_hopeless=lambda: False)

    assert not stopper(3500).stop_all()
    used_up = stopper(3600)
    assert used_up.stop_all()
    assert used_up.reason == "budget"
