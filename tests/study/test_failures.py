"""Studies whose trials, workers or images fail."""

import gc
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
from optuna.trial import TrialState
from ray.tune.experiment import Trial

import tuner
from tests.support.digits import TWO_SLOTS, digits
from tests.support.schedulers import AS_RAY
from tests.support.trainables import DatalessTrial, FaultyTrial, FreeTrial, MendedTrial
from tests.support.trial_logs import expected, read
from tuner.analysis.ledger import ledger
from tuner.errors import StudyError
from tuner.study import retries
from tuner.study.observer import NullObserver, Row
from tuner.study.run import StudyRun

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]


def test_study_stops_when_its_data_vanish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", (0.1, 0.2))
    spec = digits(search={"trials": 4})
    run = StudyRun(spec, tmp_path, trainable=DatalessTrial)
    with pytest.raises(StudyError, match=r"stopped, because 3 attempts in a row failed .*DataError: gone"):
        run.run()
    assert run.stop_reason == "environment"
    trials = tuner.load_study(tmp_path / "small").trials
    assert set(trials["state"]) == {"RUNNING"}
    history = run.folder.tables(spec).history("trials")
    assert set(history["error_kind"].dropna()) == {"environment"}
    (tmp_path / "small" / "there").touch()  # and the data are back
    results = StudyRun(spec, tmp_path, trainable=DatalessTrial).run()
    assert list(results.trials["number"]) == list(range(4))
    assert "FAILED" not in set(results.trials["state"])


def test_study_outlasts_data_gone_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", (0.5, 1.0))

    class Returning(NullObserver):
        """Brings the data back after the first failure."""

        def trial_ended(self, row: Row) -> None:
            assert row["state"] != "FAILED" or row["error_kind"] == "environment"
            (tmp_path / "small" / "there").touch()

    results = StudyRun(digits(search={"trials": 4}), tmp_path, observer=Returning(), trainable=DatalessTrial).run()
    assert list(results.trials["number"]) == [0, 1, 2, 3]
    assert set(results.trials["state"]) == {"COMPLETE"}
    assert results.trials["attempt"].max() > 1


class KillingIdle(NullObserver):
    """Kills the only worker when the first trial has ended."""

    def __init__(self, folder: Path) -> None:
        self._starts = folder / "starts"
        self.has_killed = False

    def trial_ended(self, row: Row) -> None:  # noqa: ARG002
        if not self.has_killed:
            (worker,) = self._starts.iterdir()
            os.kill(int(worker.name), signal.SIGKILL)
            self.has_killed = True


def test_idle_worker_that_dies_costs_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", (0.1,))
    spec = digits(search={"trials": 3}, retries=0)
    observer = KillingIdle(tmp_path / "small")
    results = StudyRun(spec, tmp_path, observer=observer, trainable=FreeTrial).run()
    assert observer.has_killed
    assert list(results.trials["state"]) == ["COMPLETE"] * 3
    history = results.folder.tables(spec).history("trials")
    failed = history[history["state"] == "FAILED"]
    assert [*zip(failed["number"], failed["error_kind"], strict=True)] == [(1, "environment")]
    assert failed["error"].iloc[0].startswith("the worker was lost before the trial began")


def test_failed_trials_are_opened_again(tmp_path: Path) -> None:
    spec = digits(search={"trials": 4}, retries=0)
    before = StudyRun(spec, tmp_path, trainable=MendedTrial).run().trials
    assert list(before["state"]) == ["COMPLETE", "FAILED", "COMPLETE", "FAILED"]
    assert StudyRun(spec, tmp_path, trainable=MendedTrial).run().trials.equals(before)
    (tmp_path / "small" / "mended").touch()
    after = StudyRun(spec, tmp_path, trainable=MendedTrial, retry_failed=True).run().trials
    assert set(after["state"]) == {"COMPLETE"}
    assert list(after["attempt"]) == [1, 2, 1, 2]
    assert after["error"].isna().all()
    assert after.iloc[[0, 2]].equals(before.iloc[[0, 2]])


class TrialCounter(NullObserver):
    """Counts Tune's trials in memory whenever a trial ends."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def trial_ended(self, row: Row) -> None:  # noqa: ARG002
        gc.collect()
        self.counts.append(sum(type(kept) is Trial for kept in gc.get_objects()))


def test_tune_forgets_trials_that_ended(tmp_path: Path) -> None:
    """Half of the trials fail. Besides those that run there are two that ended last."""
    observer = TrialCounter()
    spec = digits(search={"trials": 8}, retries=0)
    results = StudyRun(spec, tmp_path, observer=observer, trainable=MendedTrial).run()
    assert list(results.trials["state"]) == ["COMPLETE", "FAILED"] * 4
    assert max(observer.counts) <= observer.counts[0] + 4


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    spec = digits(
        space={"label_smoothing": {"choice": [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]}},
        search={"sampler": "grid"},
        stopping={"asha": {"grace_period": 2, "reduction_factor": 2} | AS_RAY},
        retries=1,
        resources=TWO_SLOTS,
        log_to=["tensorboard", "mlflow"],
    )
    run = StudyRun(spec, tmp_path_factory.mktemp("r"), trainable=FaultyTrial)
    run.run()
    return run


@pytest.fixture
def trials(faulty: StudyRun) -> pd.DataFrame:
    return tuner.load_study(str(faulty.folder)).trials.set_index("number")


def test_faulty_study_ends(trials: pd.DataFrame) -> None:
    assert list(trials.index) == list(range(8))
    assert trials["state"].to_dict() == {
        0: trials["state"][0],
        1: trials["state"][1],
        2: "FAILED",
        3: trials["state"][3],
        4: "FAILED",
        5: "FAILED",
        6: "PRUNED",
        7: "PRUNED",
    }
    assert {trials["state"][0], trials["state"][1], trials["state"][3]} <= {"COMPLETE", "PRUNED"}
    assert "COMPLETE" in set(trials["state"])


@pytest.mark.parametrize("log", ["tensorboard", "mlflow"])
def test_faulty_study_is_logged_as_in_its_tables(faulty: StudyRun, log: str) -> None:
    folder = Path(str(faulty.folder))
    assert read(log, folder) == expected(log, faulty.spec, folder)


def test_faulty_study_accounts_for_lost_time(faulty: StudyRun) -> None:
    found = ledger(tuner.load_study(str(faulty.folder)))
    assert found is not None
    assert sum(found.seconds.values()) == pytest.approx(found.slot_seconds, rel=0.02)
    assert min(found.seconds[name] for name in ("completed", "stopped", "failed", "lost", "checkpoints")) > 0


def test_faulty_study_retries_crashes(faulty: StudyRun, trials: pd.DataFrame) -> None:
    history = faulty.folder.tables(faulty.spec).history("trials")
    history = history.drop_duplicates(["number", "attempt", "state"])  # a retry has a row for its start, too
    states = {n: list(zip(rows["attempt"], rows["state"], strict=True)) for n, rows in history.groupby("number")}
    assert states[1][:3] == [(1, "RUNNING"), (1, "FAILED"), (2, "RUNNING")]
    assert states[2] == [(1, "RUNNING"), (1, "FAILED"), (2, "RUNNING"), (2, "FAILED")]
    assert "RuntimeError: trial 2 was told to fail" in trials["error"][2]
    log = trials["error"][2].rpartition("log ")[2].rstrip(")")
    assert "trial 2 was told to fail" in (faulty.folder.storage.root / log).read_text()


def test_faulty_study_resumes_from_a_checkpoint(faulty: StudyRun) -> None:
    epochs = faulty.folder.tables(faulty.spec).history("epochs").query("number == 3")
    assert list(epochs.query("attempt == 1")["epoch"]) == [1, 2]
    assert epochs.query("attempt == 2")["epoch"].min() == 3


def test_faulty_study_retries_nothing_hopeless(trials: pd.DataFrame) -> None:
    assert "loss is nan" in trials["error"][5]
    assert "memory" in trials["error"][4]
    assert trials["attempt"][5] == 1
    assert trials["attempt"][4] == 2  # once more, alone


def test_faulty_study_tells_optuna_every_end(faulty: StudyRun, trials: pd.DataFrame) -> None:
    states = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}
    told = faulty.searcher.study.trials
    expected = [states[state] for state in trials["state"]]
    assert trials["error_kind"].dropna().to_dict() == {2: "crash", 4: "memory", 5: "diverged"}
    expected[4] = expected[5] = TrialState.PRUNED  # because their parameters are at fault
    assert [trial.state for trial in told] == expected
    for trial in told:
        if trial.state == TrialState.COMPLETE:
            assert trial.value == trials["val_accuracy"][trial.number]
            assert len(trial.intermediate_values) == 4


def test_faulty_study_records_every_verdict(faulty: StudyRun, trials: pd.DataFrame) -> None:
    decisions = tuner.load_study(str(faulty.folder)).decisions
    stopped = decisions[decisions["verdict"] == "stop"]
    assert set(stopped["number"]) == set(trials.index[trials["state"] == "PRUNED"])
    assert (stopped["value"] < stopped["cutoff"]).all()
