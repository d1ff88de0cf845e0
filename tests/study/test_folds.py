"""A study with folds: its tables, and trials whose worker was killed."""

from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch

from tests.study.test_promotion import assert_explained, assert_whole, promoting
from tests.support.trainables import KilledTrial
from tuner import data
from tuner.analysis.leaderboard import leaderboard
from tuner.config.study import StudyConfig
from tuner.results.folder import StudyResults
from tuner.results.schema import COLUMNS, parameters_from_row
from tuner.study import retries
from tuner.study.final import train_final
from tuner.study.run import StudyRun
from tuner.training.run_trial import run_trial

pytestmark = pytest.mark.usefixtures("ray_session")

TRIALS = 4


@pytest.fixture(scope="module")
def folds_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyResults]:
    """Trials that wait and go on. The worker of one was killed while its second fold trained."""
    spec: StudyConfig = promoting(
        TRIALS,
        resources={"concurrent": 1},
        dataset={"name": "digits", "train": 192, "validation": {"folds": 2}},
        training={
            "architecture": "vazquez_base",
            "epochs": 5,
            "batch_size": 64,
            **{"ema": 0.9, "mixup": 0.2, "freeze": 1, "schedule": "one_cycle"},
        },
    )
    folder, threads = tmp_path_factory.mktemp("r"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "BACKOFF_SECONDS", (0.1,))
        yield StudyRun(spec, folder, trainable=KilledTrial).run()
    torch.set_num_threads(threads)


def test_epochs_are_the_mean_of_the_folds(folds_study: StudyResults) -> None:
    assert_whole(folds_study, TRIALS)
    epochs, folds = folds_study.epochs.set_index(["number", "epoch"]), folds_study.folds
    assert len(folds) == 2 * len(epochs)
    assert set(folds["fold"]) == {1, 2}
    for at, rows in folds.groupby(["number", "epoch"]):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert epochs.loc[at, name] == fmean(rows[name])
        assert epochs.loc[at, "deviation"] == stdev(rows["val_accuracy"])
    for trial in folds_study.trials.itertuples():
        last = folds[(folds["number"] == trial.number) & (folds["epoch"] == trial.epochs_run)]
        assert (trial.value, trial.deviation) == (fmean(last["val_accuracy"]), stdev(last["val_accuracy"]))
        tested = trial.state == "COMPLETE"
        assert last["test_accuracy"].notna().all() == tested
        if tested:
            assert trial.test_accuracy == fmean(last["test_accuracy"])
    assert list(leaderboard(folds_study).columns[:3]) == ["number", "val_accuracy", "deviation"]


def test_verdicts_follow_from_the_folds(folds_study: StudyResults) -> None:
    means = folds_study.folds.groupby(["number", "epoch"])["val_accuracy"].agg(fmean)
    for row in folds_study.decisions.itertuples():
        assert row.value == means[row.number, row.epoch]
    assert_explained(folds_study)
    assert {"wait", "promote"} <= {*folds_study.decisions["verdict"]}


def test_killed_trials_equal_undisturbed_ones(folds_study: StudyResults, tmp_path: Path) -> None:
    """Their rows are those of trainings that neither waited nor lost their worker."""
    spec = folds_study.spec
    images = data.load(spec.dataset).folder
    states = folds_study.folder.tables(spec).history("trials")["state"]
    assert {"FAILED", "PAUSED"} <= {*states}  # because a worker was killed, and trials waited
    names = [name for name in COLUMNS["folds"] if name.startswith(("train_", "val_", "test_"))]
    for row in folds_study.trials.to_dict("records"):
        number = int(row["number"])
        parameters = parameters_from_row(spec.space, row)
        reports = run_trial(spec, str(tmp_path), images, number, parameters, int(row["seed"]))
        expected = [
            fold for _, report in zip(range(row["epochs_run"]), reports, strict=False) for fold in report["folds"]
        ]
        rows = folds_study.folds[folds_study.folds["number"] == number]
        for cells, fold in zip(rows[names].to_dict("records"), expected, strict=True):
            assert {name: cell for name, cell in cells.items() if cell == cell} == {
                name: fold[name] for name in names if fold.get(name) is not None
            }


def test_final_model_is_trained_on_all_folds(folds_study: StudyResults, tmp_path: Path) -> None:
    train_final(folds_study, tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "Trained on: 192 images" in card
    assert f"{folds_study.best['value']:.4f} | validation images, mean of 2 folds |" in card
