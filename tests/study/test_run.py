import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import tuner
from tests.support.digits import TWO_SLOTS, digits
from tests.support.schedulers import AS_RAY
from tests.support.trainables import FreeTrial, StudiousTrial
from tuner.analysis.ledger import ledger
from tuner.cli.main import app
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.search.optuna_study import rebuild_study
from tuner.study.kept_model import load_kept
from tuner.study.observer import NullObserver, Row
from tuner.study.run import StudyRun

pytestmark = pytest.mark.usefixtures("ray_session")


ASHA = {"asha": {"grace_period": 1, "reduction_factor": 2}}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study with every table, for the tests that read one."""
    asked = {"untrained": True, "log_every": 10, "predictions": ["validation", "test"]}
    run = StudyRun(digits(stopping=ASHA, resources=TWO_SLOTS, **asked), tmp_path_factory.mktemp("r"))
    run.run()
    return run


def test_study_trains_every_trial_and_learns(study: StudyRun) -> None:
    results = tuner.load_study(str(study.folder))
    assert list(results.trials["number"]) == [0, 1, 2, 3]
    assert set(results.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert results.best["val_accuracy"] > 0.5
    assert results.best["test_accuracy"] > 0.5


def test_study_has_a_row_per_epoch(study: StudyRun) -> None:
    results = tuner.load_study(str(study.folder))
    for trial in results.trials.itertuples():
        epochs = results.epochs[results.epochs["number"] == trial.number]
        assert list(epochs["epoch"]) == list(range(trial.epochs_run + 1))
        assert epochs["val_accuracy"].iloc[0] < 0.4
        assert pd.isna(epochs["train_loss"].iloc[0])
        assert trial.best_epoch >= 1
        assert trial.value == epochs["val_accuracy"].iloc[-1]
        assert (trial.state == "COMPLETE") == (trial.epochs_run == trial.epochs_planned)
        assert pd.isna(trial.test_accuracy) == (trial.state != "COMPLETE")


def test_study_rebuilds_what_optuna_was_told(study: StudyRun) -> None:
    results = tuner.load_study(str(study.folder))
    rebuilt = rebuild_study(results.spec, results.trials, results.epochs)
    for live, again in zip(study.searcher.study.trials, rebuilt.trials, strict=True):
        assert (live.state, live.params, live.value) == (again.state, again.params, again.value)
        assert live.intermediate_values == again.intermediate_values


def test_study_accounts_for_the_time_of_its_slots(study: StudyRun) -> None:
    found = ledger(tuner.load_study(str(study.folder)))
    assert found is not None
    assert sum(found.seconds.values()) == pytest.approx(found.slot_seconds, rel=0.02)
    assert {name for name in ("completed", "evaluation", "start-up", "idle") if found.seconds[name] > 0} == {
        "completed",
        "evaluation",
        "start-up",
        "idle",
    }
    assert found.seconds["failed"] == found.seconds["lost"] == 0


def test_study_keeps_only_the_best_weights(study: StudyRun) -> None:
    for table in ("trials", "epochs", "decisions"):
        assert len(list(study.folder.storage.path(table).glob("*.parquet"))) == 1
    complete = tuner.load_study(str(study.folder)).trials.query("state == 'COMPLETE'")
    kept = list(study.folder.storage.path("checkpoints").rglob("*.pt"))
    assert len(kept) == min(3, len(complete))
    assert {path.name for path in kept} == {"weights.pt"}


def contents(study: StudyRun) -> dict[str, bytes]:
    root = study.folder.storage.path("")
    return {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}


def test_rerun_is_the_same_and_writes_nothing(study: StudyRun) -> None:
    before = contents(study)
    states = tuner.load_study(str(study.folder)).trials.groupby("state").head(1)
    for number, epochs, state in states[["number", "epochs_run", "state"]].itertuples(index=False):
        done = CliRunner().invoke(app, ["rerun", str(study.folder), str(number)])
        assert done.exit_code == 0, done.output
        *_, last = done.output.splitlines()
        numbers = epochs * 5 + (2 if state == "COMPLETE" else 0)
        assert last == f"The same to the last bit: {numbers} numbers of {epochs} epochs"
    assert contents(study) == before


def test_rerun_names_what_differs(study: StudyRun, tmp_path: Path) -> None:
    copied = shutil.copytree(study.folder.storage.path(""), tmp_path / "copied")
    folder = StudyFolder(copied)
    tables = folder.tables(folder.spec())
    (first, *_) = tables.epochs().query("epoch == 1").to_dict("records")
    first = {**first, "attempt": 2, "val_loss": 0.5, "peak_memory_bytes": None}
    tables.append("epochs", first)
    tables.flush()
    done = CliRunner().invoke(app, ["rerun", str(copied), str(first["number"])])
    assert done.exit_code == 1
    assert re.search(r"^epoch 1: val_loss [0-9.]+ instead of 0.5$", done.output, re.MULTILINE)
    assert re.search(
        r"^Not the same: 1 of \d+ numbers differ \(code, device and versions are the same", done.output, re.M
    )


def test_study_starts_from_weights_of_another(study: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = tuner.load_study(str(study.folder)).best
    weights = study.folder.weights(int(best["number"]))
    monkeypatch.chdir(str(study.folder))  # because workers have another working directory
    training = {"architecture": "vazquez_base", "epochs": 1, "pretrained": weights}
    run = StudyRun(digits(training=training, search={"trials": 1}, untrained=True), tmp_path)
    run.run()
    start = tuner.load_study(str(run.folder)).epochs.set_index("epoch").loc[0]
    assert start["val_accuracy"] == best["val_accuracy"]
    assert run.folder.identity()[f"weights {weights}"]  # type: ignore[index]


def test_study_keeps_steps_on_request(study: StudyRun) -> None:
    results = tuner.load_study(str(study.folder))
    for trial in results.trials.itertuples():
        steps = results.steps[results.steps["number"] == trial.number]
        assert list(steps["step"]) == list(range(10, 18 * trial.epochs_run + 1, 10))  # 1,150 images, 64 a step
        assert list(steps["epoch"]) == [(step - 1) // 18 + 1 for step in steps["step"]]


def test_study_keeps_predictions_on_request(study: StudyRun) -> None:
    results = tuner.load_study(str(study.folder))
    complete = results.trials[results.trials["state"] == "COMPLETE"]
    assert set(results.predictions["number"]) == set(complete["number"])
    for trial in complete.itertuples():
        for split, accuracy in (("validation", trial.val_accuracy), ("test", trial.test_accuracy)):
            rows = results.predictions.query(f"number == {trial.number} and split == {split!r}")
            assert list(rows["index"]) == list(range(len(rows)))
            assert (rows["label"] == rows["predicted"]).mean() == pytest.approx(accuracy)
            assert rows["probability"].between(0.1, 1).all()
    kept = load_kept(results, int(results.best["number"]), None)
    rows = results.predictions.query(f"number == {results.best['number']} and split == 'test'")
    probabilities = kept.predict(np.array(tuner.data.load(results.spec.dataset).test_images))
    assert probabilities.argmax(1).tolist() == rows["predicted"].tolist()
    assert probabilities.amax(1).tolist() == pytest.approx(rows["probability"].tolist(), abs=1e-5)


def test_study_records_its_provenance(study: StudyRun) -> None:
    run = json.loads(study.folder.storage.read("provenance.json"))["runs"][0]
    assert run["dataset"]["fingerprint"]
    assert run["stopped_at"] > run["started_at"]


def test_study_refuses_another_space(study: StudyRun) -> None:
    other = digits(stopping=ASHA, space={"learning_rate": {"float": [1e-4, 1e-3]}})
    with pytest.raises(StudyError, match=r"space.learning_rate.float\[?.*--fresh"):
        StudyRun(other, study.folder.storage.root.parent).run()


class Stopping(NullObserver):
    """Stops a study once every trial has reached an epoch."""

    def __init__(self, trials: int, epoch: int, stop: Callable[[], None]) -> None:
        self.waiting = set(range(trials))
        self.epoch = epoch
        self.stop = stop

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        if row["epochs_run"] >= self.epoch:
            self.waiting.discard(row["number"])
        if not self.waiting:
            self.epoch = 10**9
            self.stop()


class Clock:
    """A clock that stands still until a test lets time pass."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def pass_an_hour(self) -> None:
        self.passed += 3601.0


def test_trials_in_flight_resume_under_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"architecture": "vazquez_base", "epochs": 4000, "batch_size": 16}
    few = {"name": "digits", "train": 320, "validation": 64}
    common = {"dataset": few, "training": training, "search": {"trials": 1}}
    interrupt = Stopping(1, 3, lambda: os.kill(os.getpid(), signal.SIGINT))
    first = StudyRun(digits(**common), tmp_path, observer=interrupt, trainable=StudiousTrial)
    results = first.run()
    assert first.stop_reason == "interrupt"
    assert set(results.trials["state"]) == {"RUNNING"}
    reached = results.epochs.groupby("number")["epoch"].max()

    clock = Clock()
    monkeypatch.setattr("tuner.study.budget.time", clock)
    late = Stopping(1, reached.max() + 3, clock.pass_an_hour)
    second = StudyRun(digits(**common, budget={"hours": 1}), tmp_path, observer=late, trainable=StudiousTrial)
    results = second.run()
    assert second.stop_reason == "budget.hours"
    assert set(results.trials["state"]) == {"RUNNING"}
    assert list(results.trials["attempt"]) == [2]
    assert (results.epochs.groupby("number")["epoch"].max() > reached).all()
    for _, epochs in results.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, len(epochs) + 1))
        assert set(epochs["attempt"]) == {1, 2}


FREE = {
    "training": {"architecture": "vazquez_base", "epochs": 4},
    "search": {"trials": 8},
    "stopping": {"asha": {"reduction_factor": 2} | AS_RAY},
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study of free trials that its budget has stopped."""
    run = StudyRun(digits(**FREE, budget={"epochs": 4}), tmp_path_factory.mktemp("r"), trainable=FreeTrial)
    run.run()
    return run


@pytest.fixture(scope="module")
def ended(stopped: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The same study, which went on to its end with a larger budget."""
    spec = digits(**FREE, budget={"epochs": 1000})
    run = StudyRun(spec, copy_results(stopped, tmp_path_factory.mktemp("r")), trainable=FreeTrial)
    run.run()
    return run


def copy_results(run: StudyRun, parent: Path) -> Path:
    """Copy the results directory of a run, for others to write to."""
    return Path(shutil.copytree(run.folder.storage.root.parent, parent / "results"))


def test_epoch_budget_stops_a_study(stopped: StudyRun, tmp_path: Path) -> None:
    trained = len(tuner.load_study(str(stopped.folder)).epochs)
    assert stopped.stop_reason == "budget.epochs"
    assert trained >= 4
    file, results = tmp_path / "study.yaml", copy_results(stopped, tmp_path)
    file.write_text(stopped.spec.to_yaml())
    again = CliRunner().invoke(app, ["run", str(file), "--results", str(results)])  # which needs no Ray
    assert again.exit_code == 0, again.output
    assert "The budget ends the study after 4 epochs" in again.output
    assert "--set budget.epochs=8" in again.output
    assert len(tuner.load_study(results / "small").epochs) == trained


def test_epoch_budget_counts_over_runs(stopped: StudyRun, ended: StudyRun) -> None:
    results = tuner.load_study(str(ended.folder))
    assert ended.stop_reason is None
    assert set(results.trials["state"]) == {"COMPLETE", "PRUNED"}
    assert len(tuner.load_study(str(stopped.folder)).epochs) < len(results.epochs)


def test_study_is_extended(ended: StudyRun, tmp_path: Path) -> None:
    before = tuner.load_study(str(ended.folder)).trials
    spec = digits(**{**FREE, "search": {"trials": 10}})
    extended = StudyRun(spec, copy_results(ended, tmp_path), trainable=FreeTrial).run()
    pd.testing.assert_frame_equal(extended.trials.head(8), before)
    assert list(extended.trials["number"]) == list(range(10))


def test_trial_stopped_before_a_kill_is_pruned(ended: StudyRun, tmp_path: Path) -> None:
    results = tuner.load_study(copy_results(ended, tmp_path) / "small")
    before = results.trials
    pruned = int(before.query("state == 'PRUNED'")["number"].iloc[0])
    (part,) = results.folder.storage.path("trials").glob("*.parquet")
    rows = pq.read_table(part)
    lost = pc.and_(pc.equal(rows["number"], pruned), pc.equal(rows["state"], "PRUNED"))
    part.unlink()
    without_digest = part.with_name(f"{part.name[:25]}-0a1b2c.parquet")  # as earlier versions named it
    pq.write_table(rows.filter(pc.invert(lost)), without_digest)
    assert tuner.load_study(str(results.folder)).trials["state"][pruned] == "RUNNING"
    after = StudyRun(digits(**FREE), tmp_path / "results", trainable=FreeTrial).run().trials
    compared = ["number", "attempt", "state", "value", "epochs_run", "sampler_attrs"]
    pd.testing.assert_frame_equal(after[compared], before[compared])


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study of many free trials on two slots, the best of which are repeated."""
    search = {"sampler": "random", "trials": 40}
    spec = digits(search=search, repeats={"top": 2, "seeds": 3}, resources=TWO_SLOTS)
    run = StudyRun(spec, tmp_path_factory.mktemp("r"), trainable=FreeTrial)
    run.run()
    return run


def test_free_trials_share_few_workers(repeated: StudyRun) -> None:
    trials = tuner.load_study(str(repeated.folder)).trials
    assert (trials["state"] == "COMPLETE").sum() == 46
    assert len(list(repeated.folder.storage.path("starts").iterdir())) <= 4


def test_best_trials_are_repeated(repeated: StudyRun) -> None:
    trials = tuner.load_study(str(repeated.folder)).trials
    repeats = trials[trials["purpose"] == "repeat"]
    best = trials[trials["purpose"] == "search"].nlargest(2, "value")
    assert repeats["repeat_of"].value_counts().to_dict() == dict.fromkeys(best["number"], 3)
    assert trials["seed"].is_unique
    again = StudyRun(repeated.spec, repeated.folder.storage.root.parent, trainable=FreeTrial).run()
    assert len(again.trials) == len(trials)
