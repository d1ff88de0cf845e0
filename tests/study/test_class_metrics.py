"""A study that chooses by another metric than accuracy, and its table of classes."""

from pathlib import Path

import pandas as pd
import pytest

from tuner.analysis.leaderboard import leaderboard
from tuner.config.study import parse_spec
from tuner.results.folder import StudyResults
from tuner.search.optuna_study import rebuild_study
from tuner.study.run import StudyRun

pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    spec = parse_spec(
        {
            "study": "auroc",
            "dataset": {"name": "digits", "validation": 0.2},
            "training": {"architecture": "vazquez_base", "epochs": 3, "batch_size": 64},
            "space": {
                "learning_rate": {"float": [1e-4, 1e-2], "log": True},
                "sampling": {"choice": ["shuffled", "balanced"]},
                "focal_gamma": {"float": [0, 2]},
            },
            "objective": {"maximize": "val_auroc"},
            "metrics": ["val_ece"],
            "classes": ["validation"],
            "untrained": True,
            "search": {"trials": 4},
            "resources": {"concurrent": 1},
            "stopping": {"asha": {"type": "stop", "grace_period": 1, "reduction_factor": 2}},
        }
    )
    study = StudyRun(spec, tmp_path_factory.mktemp("r"))
    study.run()
    return study


@pytest.fixture
def results(run: StudyRun) -> StudyResults:
    return StudyResults(run.folder, run.folder.spec())


def test_study_chooses_by_the_area_under_the_curve(run: StudyRun, results: StudyResults) -> None:
    epochs = results.epochs.set_index(["number", "epoch"])
    for trial in results.trials.itertuples():
        reached = epochs.loc[trial.number]
        assert trial.value == reached["val_auroc"].iloc[-1]
        assert trial.values == [trial.value]
        assert trial.best_epoch == reached["val_auroc"].drop(0).idxmax()
        assert reached["val_auroc"].between(0, 1).all()  # epoch 0 too
        assert reached["val_ece"].between(0, 1).all()
        assert reached[["val_f1", "val_balanced_accuracy", "val_top5_accuracy"]].isna().all(axis=None)
    judged = [epochs.loc[(row.number, row.epoch), "val_auroc"] for row in results.decisions.itertuples()]
    assert list(results.decisions["value"]) == judged
    complete = results.trials[results.trials["state"] == "COMPLETE"]
    assert results.best["value"] == complete["value"].max() > 0.9
    rebuilt = rebuild_study(results.spec, results.trials, results.epochs)
    live = run.searcher.study.trials
    assert [trial.value for trial in rebuilt.trials] == [trial.value for trial in live]
    assert [trial.intermediate_values for trial in rebuilt.trials] == [trial.intermediate_values for trial in live]


def test_leaderboard_shows_the_objective(results: StudyResults) -> None:
    board = leaderboard(results)
    assert list(board.columns[:3]) == ["number", "val_auroc", "val_accuracy"]
    assert board["val_auroc"].is_monotonic_decreasing


def test_study_measures_classes_of_completed_trials(results: StudyResults) -> None:
    complete = results.trials[results.trials["state"] == "COMPLETE"]
    assert set(results.classes["number"]) == set(complete["number"])
    for trial in complete.itertuples():
        rows = results.classes[results.classes["number"] == trial.number]
        assert list(rows["class"]) == list(range(10))
        assert set(rows["split"]) == {"validation"}
        assert set(rows["epoch"]) == {trial.epochs_run}
        assert rows["auroc"].mean() == pytest.approx(trial.value, abs=1e-12)
        accuracy = (rows["recall"] * rows["support"]).sum() / rows["support"].sum()
        assert accuracy == pytest.approx(trial.val_accuracy)


def test_classes_of_a_study_without_them_are_empty(tmp_path: Path) -> None:
    spec = parse_spec({"study": "s", "training": {"architecture": "vazquez_base"}, "space": {}})
    folder = StudyRun(spec, tmp_path).folder
    frame: pd.DataFrame = StudyResults(folder, spec).classes
    assert frame.empty
    assert {"precision", "recall", "f1", "support", "auroc"} <= {*frame.columns}
