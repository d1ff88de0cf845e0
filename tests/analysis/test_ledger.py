"""The ledger of a study's slots, on recorded rows."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tuner.analysis.ledger import ENTRIES, ledger
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder, StudyResults
from tuner.study.budget import read_spent

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = parse_spec({"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}})


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def run(start: float, stop: float | None, slots: Any = 2, **more: Any) -> dict[str, Any]:
    changes = slots if isinstance(slots, list) else [[at(start).isoformat(), slots]]
    ends = {"started_at": at(start).isoformat(), "stopped_at": None if stop is None else at(stop).isoformat()}
    return {**ends, "slots": changes, "gpu": 0.5, **more}


def trial(number: int, attempt: int, state: str, when: float) -> dict[str, Any]:
    return {"number": number, "attempt": attempt, "state": state, "purpose": "search", "updated_at": at(when)}


def epoch(number: int, attempt: int, epoch: int, when: float, train: float = 7.0) -> dict[str, Any]:
    """An epoch of 70 images, with one second of evaluation and half a second of saving."""
    times = {"seconds": train + 1, "train_seconds": train * epoch, "images_per_second": 70 / train}
    costs = {"evaluation_seconds": 1.0, "checkpoint_seconds": 0.5}
    return {"number": number, "attempt": attempt, "epoch": epoch, "at": at(when), **times, **costs}


def written(folder: Path, runs: list[dict[str, Any]], trials: list[Any], epochs: list[Any]) -> StudyResults:
    home = StudyFolder(folder / "s")
    home.storage.create()
    home.write_provenance({"runs": runs})
    tables = home.tables(SPEC)
    for row in trials:
        tables.append("trials", {"study": "s", **row})
    for row in epochs:
        tables.append("epochs", {"study": "s", **row})
    tables.flush()
    return StudyResults(home, SPEC)


def entries(study: StudyResults) -> dict[str, float]:
    found = ledger(study)
    assert found is not None
    assert [*found.seconds] == [*ENTRIES]
    assert sum(found.seconds.values()) == pytest.approx(found.slot_seconds)
    return {name: pytest.approx(seconds, abs=1e-6) for name, seconds in found.seconds.items() if seconds > 1e-6}


def test_ledger_divides_the_time_of_a_trial(tmp_path: Path) -> None:
    trials = [trial(0, 1, "RUNNING", 10), trial(0, 1, "COMPLETE", 40)]
    study = written(tmp_path, [run(0, 50)], trials, [epoch(0, 1, 1, 25), epoch(0, 1, 2, 37)])
    assert entries(study) == {
        "completed": 14,
        "evaluation": 2,
        "checkpoints": 1,
        "start-up": 2 * 10 + 15 - 8.5,
        "idle": (12 - 8.5) + 3 + 30 + 2 * 10,  # between reports, after the last one, and of the free slots
    }


@pytest.mark.parametrize(("state", "entry"), [("PRUNED", "stopped"), ("PAUSED", "waiting"), ("COMPLETE", "completed")])
def test_ledger_follows_the_fate_of_a_trial(state: str, entry: str, tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 1, state, 8.5)]
    study = written(tmp_path, [run(0, 8.5, slots=1)], rows, [epoch(0, 1, 1, 8.5)])
    assert entries(study) == {entry: 7, "evaluation": 1, "checkpoints": 0.5}


def test_ledger_counts_what_retries_repeat_as_lost(tmp_path: Path) -> None:
    crashed = [trial(0, 1, "RUNNING", 0), trial(0, 1, "FAILED", 30), trial(0, 2, "RUNNING", 30)]
    rows = [*crashed, trial(0, 2, "RUNNING", 40), trial(0, 2, "COMPLETE", 57)]  # the retry began at 40
    reports = [epoch(0, 1, 1, 8.5), epoch(0, 1, 2, 17), epoch(0, 2, 2, 48.5), epoch(0, 2, 3, 57)]
    study = written(tmp_path, [run(0, 57, slots=1)], rows, reports)
    assert entries(study) == {
        "completed": 3 * 7,
        "lost": 7 + (30 - 17),  # the second epoch, and what the first attempt trained after it
        "evaluation": 4,
        "checkpoints": 2,
        "idle": 10,
    }


def test_ledger_of_a_failed_trial(tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 1, "FAILED", 20)]
    assert entries(written(tmp_path, [run(0, 20, slots=1)], rows, [epoch(0, 1, 1, 8.5)])) == {
        "failed": 7 + 11.5,
        "evaluation": 1,
        "checkpoints": 0.5,
    }


def test_ledger_ends_a_killed_run_with_its_last_row(tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 2, "RUNNING", 1000), trial(0, 2, "COMPLETE", 1017)]
    reports = [epoch(0, 1, 1, 8.5), epoch(0, 2, 2, 1008.5), epoch(0, 2, 3, 1017)]
    study = written(tmp_path, [run(0, None, slots=1), run(1000, 1017, slots=1)], rows, reports)
    assert entries(study) == {"completed": 21, "evaluation": 3, "checkpoints": 1.5}


def test_ledger_splits_an_epoch_between_two_attempts(tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 2, "RUNNING", 100), trial(0, 2, "COMPLETE", 105)]
    study = written(tmp_path, [run(0, 3, slots=1), run(100, 105, slots=1)], rows, [epoch(0, 2, 1, 105)])
    assert entries(study) == {"completed": 3 + 3.5, "evaluation": 1, "checkpoints": 0.5}


def test_ledger_of_a_trial_cut_before_its_first_epoch(tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 1, "COMPLETE", 10.5), trial(1, 1, "RUNNING", 10.5)]
    study = written(tmp_path, [run(0, 20, slots=1)], rows, [epoch(0, 1, 1, 10.5)])
    assert entries(study) == {
        "completed": 7,
        "evaluation": 1,
        "checkpoints": 0.5,
        "start-up": 2 + 2,  # the second is as long as the first
        "waiting": 9.5 - 2,
    }


def test_ledger_follows_slots_that_come_and_go(tmp_path: Path) -> None:
    slots = [[at(0).isoformat(), 1], [at(20).isoformat(), 3], [at(30).isoformat(), 1]]
    rows = [trial(0, 1, "RUNNING", 0), trial(0, 1, "COMPLETE", 50)]
    study = written(tmp_path, [run(0, 50, slots=slots)], rows, [epoch(0, 1, 1, 50)])
    found = ledger(study)
    assert found is not None
    assert found.slot_seconds == 20 + 30 + 20
    assert entries(study)["idle"] == 20


def test_ledger_of_an_earlier_version_is_none(tmp_path: Path) -> None:
    assert ledger(written(tmp_path, [run(0, 50, slots=[])], [], [])) is None
    assert ledger(written(tmp_path / "none", [], [], [])) is None


def test_ledger_of_a_run_without_trials_is_start_up(tmp_path: Path) -> None:
    assert entries(written(tmp_path, [run(0, 10)], [], [])) == {"start-up": 20}


def test_gpu_hours_are_those_that_trials_held(tmp_path: Path) -> None:
    rows = [trial(0, 1, "RUNNING", 10), trial(0, 1, "PAUSED", 40), trial(0, 2, "RUNNING", 1000)]
    study = written(tmp_path, [run(0, 50), run(1000, 1020, gpu=2)], rows, [])
    spec = SPEC.model_copy(update={"budget": SPEC.budget.model_copy(update={"gpu_hours": 1.0})})
    spent = read_spent(spec, study.folder.provenance(), study.folder.tables(SPEC))
    assert spent.gpu_seconds == 30 * 0.5 + 20 * 2
