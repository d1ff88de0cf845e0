"""Studies that promote: trials wait with their checkpoints, and the best go on."""

import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from tests.search.test_waiting import Reference
from tests.support.trainables import FreeTrial
from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, StudyResults, check_comparable
from tuner.search.asha import Decision
from tuner.study import retries
from tuner.study.observer import NullObserver, Row
from tuner.study.run import StudyRun

RULE = {"type": "promote", "grace_period": 1, "reduction_factor": 2, "min_trials": 3}


def promoting(trials: int = 8, epochs: int = 5, **changes: object) -> StudyConfig:
    """Return a study of digits whose trials wait after one, two and four epochs."""
    return parse_spec(
        {
            "study": "promoted",
            "dataset": {"name": "digits", "validation": 0.2},
            "training": {"architecture": "vazquez_base", "epochs": epochs, "batch_size": 64},
            "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
            "search": {"trials": trials, "sampler": "random"},
            "stopping": {"asha": RULE},
            **changes,
        }
    )


def assert_explained(study: StudyResults) -> None:
    """Assert that the rows of `decisions` follow from each other and from `epochs`."""
    values = study.epochs.set_index(["number", "epoch"])["val_accuracy"]
    names = list(Decision.__dataclass_fields__)
    rows = study.decisions[names].astype(object).where(study.decisions[names].notna(), None)
    reference = Reference(2, 3, stops=False, sign=1, rungs=[1.0, 2.0, 4.0])
    finishing: set[int] = set()
    for row in rows.to_dict("records"):
        decision = Decision(**{str(name): cell for name, cell in row.items()})
        assert decision.value == values[decision.number, decision.epoch]
        if decision.verdict == "promote":
            reference.check_promoted(decision)
        elif decision.verdict == "finish":
            reference.check_finished(decision)
            finishing.add(decision.number)
        else:
            ended = decision.verdict == "complete"
            reference.check(decision, ended=ended, finishing=decision.number in finishing)


def assert_whole(study: StudyResults, trials: int) -> None:
    """Assert that every trial has ended with each epoch once, and left no checkpoint."""
    assert list(study.trials["number"]) == list(range(trials))
    assert set(study.trials["state"]) == {"COMPLETE", "PRUNED"}
    for number, epochs in study.epochs.groupby("number"):
        run = int(study.trials["epochs_run"][int(str(number))])
        assert list(epochs["epoch"]) == list(range(1, run + 1))
    for number in range(trials):
        assert not study.folder.storage.exists(study.folder.checkpoint(number))


def history(study: StudyResults) -> pd.DataFrame:
    return study.folder.tables(study.spec).history("trials")


@pytest.mark.usefixtures("ray_session")
def test_promoted_trials_go_on_from_their_checkpoints(tmp_path: Path) -> None:
    study = StudyRun(promoting(), tmp_path).run()
    assert_whole(study, 8)
    assert_explained(study)
    assert study.best["val_accuracy"] > 0.8
    rows = history(study)
    assert (rows["state"] == "PAUSED").sum() >= 7
    went_on = study.decisions.query("verdict in ('promote', 'finish')")
    assert len(went_on) >= 2
    for row in went_on.to_dict("records"):
        again = study.epochs.query(f"number == {row['number']} and attempt == {row['attempt'] + 1}")
        assert again["epoch"].min() == row["epoch"] + 1  # because it resumed from its checkpoint
    extended = StudyRun(promoting(10, resources={"concurrent": 1}), tmp_path).run()
    assert_whole(extended, 10)
    pd.testing.assert_frame_equal(extended.trials.head(8), study.trials)
    assert extended.decisions["of"].max() > study.decisions["of"].max()


class KillingWorkers(NullObserver):
    """Kills every worker when the third trial waits, as it has no other work."""

    def __init__(self, folder: Path) -> None:
        self._starts = folder / "starts"
        self.paused: list[int] = []

    def trial_paused(self, row: Row) -> None:
        self.paused.append(row["number"])
        if len(self.paused) == 3:
            for worker in self._starts.iterdir():
                os.kill(int(worker.name), signal.SIGKILL)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_waiting_trials_outlive_their_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", (0.1,))
    observer = KillingWorkers(tmp_path / "promoted")
    spec = promoting(4, resources={"concurrent": 1}, retries=0)
    study = StudyRun(spec, tmp_path, observer=observer, trainable=FreeTrial).run()
    assert list(study.trials["number"]) == list(range(4))
    assert set(study.trials["state"]) == {"COMPLETE", "PRUNED"}
    failed = history(study).query("state == 'FAILED'")
    assert set(failed["error_kind"]) == {"environment"}
    assert len(failed) == 1  # the trial that had just begun, or gone on


# --- studies of earlier versions ------------------------------------------------------------------


def stored(folder: Path, stopping: str) -> StudyFolder:
    """Return a study folder whose file has this rule, as an earlier version wrote it."""
    home = StudyFolder(folder / "promoted")
    text = promoting().to_yaml()
    start, end = text.index("stopping:"), text.index("resources:")
    home.storage.write("study.yaml", f"{text[:start]}stopping: {stopping}\n{text[end:]}".encode())
    return home


def test_earlier_study_keeps_stopping_as_ray_does(tmp_path: Path) -> None:
    home = stored(tmp_path, "{asha: {grace_period: 1, reduction_factor: 2}}")
    rule = home.spec().stopping.asha
    assert rule
    assert (rule.type, rule.min_trials) == ("stop", 1)
    for asha in ({"grace_period": 1, "reduction_factor": 2}, {"reduction_factor": 2}):
        assert check_comparable(home, promoting(stopping={"asha": asha})).stopping.asha == rule


def test_study_keeps_the_type_with_which_it_began(tmp_path: Path) -> None:
    rule = "{asha: {type: promote, min_trials: 4, grace_period: 1, reduction_factor: 2}}"
    home = stored(tmp_path, rule)
    open_file = promoting(stopping={"asha": {"reduction_factor": 2}})
    continued = check_comparable(home, open_file).stopping.asha
    assert continued
    assert (continued.type, continued.min_trials) == ("promote", 4)
    with pytest.raises(StudyError, match=r"stopping.asha.min_trials: 4 -> 3"):
        check_comparable(home, promoting())
    stopping = promoting(stopping={"asha": {**RULE, "type": "stop", "min_trials": 4}})
    with pytest.raises(StudyError, match=r"stopping.asha.type: promote -> stop"):
        check_comparable(home, stopping)


def test_state_of_a_waiting_trial_is_read_without_times(tmp_path: Path) -> None:
    """As a clock that was set back leaves the rows."""
    spec = promoting()
    tables = StudyFolder(tmp_path / "promoted").tables(spec)
    at = pd.Timestamp("2025-01-01", tz="UTC")
    rows = [(1, "RUNNING", 9), (1, "PAUSED", 5), (2, "RUNNING", 4), (2, "PAUSED", 3)]
    for count in range(1, len(rows) + 1):
        attempt, state, second = rows[count - 1]
        row = {"study": "promoted", "number": 0, "attempt": attempt, "state": state}
        tables.append("trials", row | {"updated_at": at + pd.Timedelta(seconds=second)})
        tables.flush()
        (read,) = tables.trials().to_dict("records")
        assert (read["attempt"], read["state"]) == (attempt, state)
