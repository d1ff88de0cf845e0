import json
import os
import re
import shutil
import signal
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


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    spec = digits(stopping={"asha": {"grace_period": 1, "reduction_factor": 2}}, resources=TWO_SLOTS)
    run = StudyRun(spec, tmp_path_factory.mktemp("r"))
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
        assert list(epochs["epoch"]) == list(range(1, trial.epochs_run + 1))
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
    first = {**tables.epochs().iloc[0].to_dict(), "attempt": 2, "val_loss": 0.5, "peak_memory_bytes": None}
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


def test_study_keeps_steps_and_predictions_on_request(tmp_path: Path) -> None:
    asked = {"untrained": True, "log_every": 10, "predictions": ["validation", "test"]}
    run = StudyRun(digits(search={"trials": 2}, stopping={"asha": {}}, **asked), tmp_path)
    study = run.run()
    for trial in study.trials.itertuples():
        epochs = study.epochs[study.epochs["number"] == trial.number].set_index("epoch")
        assert list(epochs.index) == list(range(trial.epochs_run + 1))
        assert epochs.loc[0, "val_accuracy"] < 0.4
        assert pd.isna(epochs.loc[0, "train_loss"])
        assert trial.best_epoch >= 1
        steps = study.steps[study.steps["number"] == trial.number]
        assert list(steps["step"]) == list(range(10, 18 * trial.epochs_run + 1, 10))  # 1,150 images, 64 a step
        assert list(steps["epoch"]) == [(step - 1) // 18 + 1 for step in steps["step"]]
    complete = study.trials[study.trials["state"] == "COMPLETE"]
    assert set(study.predictions["number"]) == set(complete["number"])
    for trial in complete.itertuples():
        for split, accuracy in (("validation", trial.val_accuracy), ("test", trial.test_accuracy)):
            rows = study.predictions.query(f"number == {trial.number} and split == {split!r}")
            assert list(rows["index"]) == list(range(len(rows)))
            assert (rows["label"] == rows["predicted"]).mean() == pytest.approx(accuracy)
            assert rows["probability"].between(0.1, 1).all()
    kept = load_kept(study, int(trial.number), None)
    probabilities = kept.predict(np.array(tuner.data.load(study.spec.dataset).test_images))
    assert probabilities.argmax(1).tolist() == rows["predicted"].tolist()
    assert probabilities.amax(1).tolist() == pytest.approx(rows["probability"].tolist(), abs=1e-5)
    rebuilt = rebuild_study(study.spec, study.trials, study.epochs)
    assert [trial.intermediate_values for trial in rebuilt.trials] == [
        trial.intermediate_values for trial in run.searcher.study.trials
    ]


def test_study_records_its_provenance(study: StudyRun) -> None:
    run = json.loads(study.folder.storage.read("provenance.json"))["runs"][0]
    assert run["dataset"]["fingerprint"]
    assert run["stopped_at"] > run["started_at"]


def test_study_refuses_another_space_and_is_extended(study: StudyRun) -> None:
    results = study.folder.storage.root.parent
    asha = {"asha": {"grace_period": 1, "reduction_factor": 2}}
    with pytest.raises(StudyError, match=r"space.learning_rate.float\[?.*--fresh"):
        StudyRun(digits(stopping=asha, space={"learning_rate": {"float": [1e-4, 1e-3]}}), results).run()
    before = tuner.load_study(str(study.folder)).trials
    extended = StudyRun(digits(stopping=asha, search={"trials": 6}), results).run()
    pd.testing.assert_frame_equal(extended.trials.head(4), before)
    assert list(extended.trials["number"]) == [0, 1, 2, 3, 4, 5]


class Interrupting(NullObserver):
    """Sends this process Ctrl-C when every trial has reached an epoch."""

    def __init__(self, trials: int, epoch: int) -> None:
        self.waiting = set(range(trials))
        self.epoch = epoch

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        if row["epochs_run"] >= self.epoch:
            self.waiting.discard(row["number"])
        if not self.waiting:
            self.epoch = 10**9
            os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_trials_resume_under_their_numbers(tmp_path: Path) -> None:
    training = {"architecture": "vazquez_base", "epochs": 4000, "batch_size": 16}
    few = {"name": "digits", "train": 320, "validation": 64}
    spec = digits(dataset=few, training=training, search={"trials": 2}, resources=TWO_SLOTS)
    first = StudyRun(spec, tmp_path, observer=Interrupting(2, 3), trainable=StudiousTrial)
    results = first.run()
    assert first.stop_reason == "interrupt"
    assert set(results.trials["state"]) == {"RUNNING"}
    reached = results.epochs.groupby("number")["epoch"].max()
    results = StudyRun(spec, tmp_path, observer=Interrupting(2, reached.max() + 3), trainable=StudiousTrial).run()
    assert list(results.trials["attempt"]) == [2, 2]
    assert (results.epochs.groupby("number")["epoch"].max() > reached).all()
    for _, epochs in results.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, len(epochs) + 1))
        assert set(epochs["attempt"]) == {1, 2}


class Clock(NullObserver):
    """A clock that an hour passes on when the first epoch is reported."""

    passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        self.passed = 3601.0


def test_budget_leaves_trials_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tuner.study.budget.time", clock)
    training = {"architecture": "vazquez_base", "epochs": 1_000_000}
    spec = digits(training=training, budget={"hours": 1})
    run = StudyRun(spec, tmp_path, observer=clock, trainable=FreeTrial)
    results = run.run()
    assert run.stop_reason == "budget.hours"
    assert set(results.trials["state"]) == {"RUNNING"}
    assert len(results.epochs)


def test_epoch_budget_counts_over_runs(tmp_path: Path) -> None:
    training = {"architecture": "vazquez_base", "epochs": 3}
    common = {"training": training, "search": {"sampler": "random", "trials": 6}}
    spec = digits(**common, budget={"epochs": 4})
    first = StudyRun(spec, tmp_path, trainable=FreeTrial)
    trained = len(first.run().epochs)
    assert first.stop_reason == "budget.epochs"
    assert 4 <= trained < 18
    file = tmp_path / "study.yaml"
    file.write_text(spec.to_yaml())
    again = CliRunner().invoke(app, ["run", str(file), "--results", str(tmp_path)])  # which needs no Ray
    assert again.exit_code == 0, again.output
    assert "The budget ends the study after 4 epochs" in again.output
    assert "--set budget.epochs=8" in again.output
    assert len(tuner.load_study(tmp_path / "small").epochs) == trained
    raised = StudyRun(digits(**common, budget={"epochs": 1000}), tmp_path, trainable=FreeTrial)
    assert (raised.run().trials["state"] == "COMPLETE").all()
    assert raised.stop_reason is None


def test_trial_stopped_before_a_kill_is_pruned(tmp_path: Path) -> None:
    training = {"architecture": "vazquez_base", "epochs": 4}
    spec = digits(training=training, search={"trials": 8}, stopping={"asha": {"reduction_factor": 2} | AS_RAY})
    results = StudyRun(spec, tmp_path, trainable=FreeTrial).run()
    before = results.trials
    stopped = int(before.query("state == 'PRUNED'")["number"].iloc[0])
    (part,) = results.folder.storage.path("trials").glob("*.parquet")
    rows = pq.read_table(part)
    lost = pc.and_(pc.equal(rows["number"], stopped), pc.equal(rows["state"], "PRUNED"))
    part.unlink()
    without_digest = part.with_name(f"{part.name[:25]}-0a1b2c.parquet")  # as earlier versions named it
    pq.write_table(rows.filter(pc.invert(lost)), without_digest)
    assert tuner.load_study(str(results.folder)).trials["state"][stopped] == "RUNNING"
    after = StudyRun(spec, tmp_path, trainable=FreeTrial).run().trials
    compared = ["number", "attempt", "state", "value", "epochs_run", "sampler_attrs"]
    pd.testing.assert_frame_equal(after[compared], before[compared])


def test_free_trials_share_few_workers(tmp_path: Path) -> None:
    training = {"architecture": "vazquez_base", "epochs": 1}
    spec = digits(search={"sampler": "random", "trials": 200}, training=training, resources=TWO_SLOTS)
    results = StudyRun(spec, tmp_path, trainable=FreeTrial).run()
    assert (results.trials["state"] == "COMPLETE").sum() == 200
    assert len(list((tmp_path / "small" / "starts").iterdir())) <= 4


def test_best_trials_are_repeated(tmp_path: Path) -> None:
    spec = digits(search={"sampler": "random", "trials": 5}, repeats={"top": 2, "seeds": 3})
    results = StudyRun(spec, tmp_path, trainable=FreeTrial).run()
    repeats = results.trials[results.trials["purpose"] == "repeat"]
    best = results.trials[results.trials["purpose"] == "search"].nlargest(2, "value")
    assert repeats["repeat_of"].value_counts().to_dict() == dict.fromkeys(best["number"], 3)
    assert results.trials["seed"].is_unique
    again = StudyRun(spec, tmp_path, trainable=FreeTrial).run()
    assert len(again.trials) == len(results.trials)
