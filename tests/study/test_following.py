"""The progress of a study that another process runs."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.object_store import BUCKET
from tests.support.studies import START, epoch_rows, trial_row, write_study
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.schema import Table
from tuner.storage import Storage, StoreError
from tuner.study.following import StudyFollower

CIFAR = Path(__file__).parents[2] / "notebooks" / "results" / "cifar"
ASHA = {
    "stopping": {"asha": {"grace_period": 2, "type": "promote"}},
    "training": {"architecture": "vazquez_base", "epochs": 8},
}


def after(seconds: float) -> Any:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def study(tmp_path: Path) -> StudyResults:
    """A study that has just begun, with two slots."""
    found = write_study(tmp_path / "followed", {"search": {"trials": 6}} | ASHA)
    record_runs(found, {"started_at": START.isoformat(), "slots": [[START.isoformat(), 2]]})
    return found


def record_runs(study: StudyResults, *runs: Mapping[str, Any]) -> None:
    study.folder.write_provenance({"study": study.spec.study, "runs": [{"stopped_at": None} | {**run} for run in runs]})


def write(study: StudyResults, **rows: list[dict[str, Any]]) -> None:
    """Write rows as the driver does, in one part per table."""
    tables = study.folder.tables(study.spec)
    names: dict[str, Table] = {"epochs": "epochs", "decisions": "decisions", "trials": "trials"}
    for name, written in rows.items():
        for row in written:
            tables.append(names[name], row)
    tables.flush()


def running(number: int, at: float, **cells: Any) -> dict[str, Any]:
    nothing = {"value": None, "values": None, "epochs_run": None, "seconds": None}
    return trial_row(number, state="RUNNING", updated_at=after(at), **nothing | cells)


def verdict(number: int, at: float, name: str, rung: float = 2.0) -> dict[str, Any]:
    cells = {"attempt": 1, "bracket": 0, "epoch": int(rung), "value": 0.5, "rank": 1, "of": 1}
    return {"number": number, "rung": rung, "verdict": name, "at": after(at), **cells}


def test_new_rows_become_progress(study: StudyResults) -> None:
    follower = StudyFollower(study.folder)
    assert (follower.progress.slots, follower.progress.phase, follower.poll()) == (2, "interrupted", False)
    write(study, trials=[running(0, 1), running(1, 1)])
    assert follower.poll()
    assert list(follower.progress.running) == [0, 1]
    write(study, epochs=epoch_rows(0, [0.3, 0.6]), decisions=[verdict(0, 3, "wait")])
    write(study, trials=[trial_row(0, 0.6, "PAUSED", updated_at=after(4))])
    write(study, epochs=epoch_rows(1, [0.1]))
    assert follower.poll()
    progress = follower.progress
    assert (list(progress.running), list(progress.waiting), progress.epochs) == ([1], [0], 3)
    assert (progress.running[1]["epochs_run"], progress.running[1]["value"]) == (1, 0.1)
    assert progress.reports[1]["images_per_second"] == 100.0
    assert progress.rungs.rungs[0].waiting == 1
    write(study, trials=[trial_row(1, 0.7, updated_at=after(20))])
    assert follower.poll()
    assert progress.best is not None
    assert (progress.best["number"], progress.counts["COMPLETE"]) == (1, 1)
    assert not follower.poll()


def test_each_part_is_read_once(study: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    write(study, trials=[running(0, 1)])
    follower, read, reads = StudyFollower(study.folder), Storage.read, Counter[str]()

    def counting(self: Storage, name: str) -> bytes:
        reads[name.partition("/")[0]] += self.root == study.folder.storage.root  # threads of other tests may read, too
        return read(self, name)

    monkeypatch.setattr(Storage, "read", counting)
    for epoch in range(1, 4):
        write(study, epochs=epoch_rows(0, [0.1] * epoch)[-1:])
        assert follower.poll()
    assert (reads["epochs"], reads["trials"]) == (3, 0)
    assert follower.progress.running[0]["epochs_run"] == 3


def test_merged_tables_are_read_again(study: StudyResults) -> None:
    write(study, trials=[running(0, 1)], epochs=epoch_rows(0, [0.3]))
    follower = StudyFollower(study.folder)
    write(study, epochs=epoch_rows(0, [0.3, 0.4])[1:])
    study.folder.tables(study.spec).compact()
    assert follower.poll()
    assert (follower.progress.running[0]["epochs_run"], follower.progress.epochs) == (2, 2)


def test_failed_attempt_is_no_failed_trial(study: StudyResults) -> None:
    write(study, trials=[running(0, 1)], epochs=epoch_rows(0, [0.3, 0.4, 0.5]))
    follower = StudyFollower(study.folder)
    failed = trial_row(0, 0.5, "FAILED", updated_at=after(5), error="gone")
    write(study, trials=[failed, running(0, 6, attempt=2, epochs_run=3, seconds=3.0)])
    write(study, epochs=[row | {"attempt": 2, "at": after(7)} for row in epoch_rows(0, [0.3, 0.4])[1:]])
    assert follower.poll()
    assert (follower.progress.counts.total(), follower.progress.running[0]["seconds"]) == (0, 3.0)
    assert follower.progress.epochs == 3


def test_resumed_study_counts_earlier_runs(study: StudyResults) -> None:
    write(
        study,
        trials=[running(0, 1), running(1, 1), trial_row(0, 0.9, updated_at=after(9))],
        epochs=epoch_rows(0, [0.9]),
    )
    follower = StudyFollower(study.folder)
    stopped = {"started_at": START.isoformat(), "stopped_at": after(10).isoformat(), "halted": "interrupt"}
    record_runs(study, stopped, {"started_at": after(1000).isoformat()})
    write(study, trials=[running(1, 1001, attempt=2)])
    assert follower.poll()
    progress = follower.progress
    assert (progress.done, list(progress.running), progress.elapsed) == (1, [1], pytest.approx(1))
    assert progress.best is not None


def test_state_tells_if_a_driver_runs(study: StudyResults) -> None:
    write(study, trials=[running(0, 1), trial_row(1, 0.5, "PAUSED", updated_at=after(2))], epochs=epoch_rows(1, [0.5]))
    with study.folder.lock():
        follower = StudyFollower(study.folder)
        assert follower.state == "running"
        assert "no new row for" in (follower.note or "")
    follower.poll()
    assert follower.state == "interrupted"
    assert follower.note == "interrupted, 2 trials in flight; `tuner run` with the study's file goes on"


@pytest.mark.parametrize(
    ("halted", "state", "note"), [(None, "finished", None), ("budget.hours", "interrupted", "ended by budget.hours, 0")]
)
def test_state_tells_how_run_ended(study: StudyResults, halted: str | None, state: str, note: str | None) -> None:
    write(study, trials=[trial_row(number, 0.5) for number in range(6)], epochs=epoch_rows(0, [0.5]))
    record_runs(study, {"started_at": START.isoformat(), "stopped_at": after(99).isoformat(), "halted": halted})
    follower = StudyFollower(study.folder)
    assert follower.state == state
    assert (follower.note or "").startswith(note or "")


def test_store_that_fails_is_asked_again(study: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = StudyFollower(study.folder)

    def fail(*_: object) -> list[str]:
        raise StoreError("s3://bucket: no answer")

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "names", fail)
        assert not follower.poll()
        assert follower.note == "s3://bucket: no answer; tried again"
    write(study, trials=[running(0, 1)])
    assert follower.poll()
    assert "tried again" not in (follower.note or "")


def test_followed_study_equals_its_tables() -> None:
    before = sorted(path for path in CIFAR.rglob("*"))
    follower = StudyFollower(StudyFolder(CIFAR))
    trials = StudyResults(StudyFolder(CIFAR), follower.progress.spec).trials
    assert follower.state == "finished"
    assert follower.progress.counts == trials["state"].value_counts().to_dict()
    assert [rung.passed for rung in follower.progress.rungs.rungs] == [33, 18, 3]
    assert sorted(path for path in CIFAR.rglob("*")) == before


@pytest.mark.slow
def test_fresh_study_takes_the_place_of_the_earlier(study: StudyResults, tmp_path: Path) -> None:
    write(study, trials=[running(0, 1)])
    follower = StudyFollower(study.folder)
    study.folder.move_aside(START)
    assert not follower.poll()
    assert "no study here" in (follower.note or "")
    fresh = write_study(tmp_path / "followed", {"search": {"trials": 9}})
    record_runs(fresh, {"started_at": after(50).isoformat()})
    write(fresh, trials=[running(3, 60)])
    assert follower.poll()
    assert (follower.progress.total, list(follower.progress.running)) == (9, [3])


@pytest.mark.usefixtures("object_store")
def test_study_in_object_store_is_followed(study: StudyResults) -> None:
    stored = StudyResults(StudyFolder(f"s3://{BUCKET}/followed"), study.spec)
    stored.folder.write_spec(study.spec)
    record_runs(stored, {"started_at": START.isoformat()})
    follower = StudyFollower(stored.folder)
    assert follower.state == "interrupted"
    with stored.folder.lock():
        write(stored, trials=[running(0, 0)], epochs=epoch_rows(0, [0.4]))
        assert follower.poll()
        assert (follower.state, follower.progress.epochs) == ("running", 1)
