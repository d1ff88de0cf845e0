"""Trials with folds, on real digits: their means, their tables, and their resuming."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.test_run_trial import kill_after, numbers
from tuner.config.study import StudyConfig, parse_spec
from tuner.data import load
from tuner.data.device import DeviceDataset, ImageSubset, device_folds
from tuner.errors import NotFiniteError, SpecError
from tuner.results.folder import StudyFolder
from tuner.training import checkpoint as checkpoints
from tuner.training.cross_validation import CrossValidation, deviation
from tuner.training.loop import Trainer
from tuner.training.run_trial import run_trial
from tuner.training.seeds import derive_step_seed

pytestmark = pytest.mark.usefixtures("one_thread")

FOLDS, EPOCHS = 3, 2
PARAMETERS = {"learning_rate": 1e-2}


def spec(**changes: Any) -> StudyConfig:
    return parse_spec(
        {
            "study": "folds",
            "dataset": {"name": "digits", "train": 96, "validation": {"folds": FOLDS}},
            "training": {"architecture": "vazquez_base", "epochs": EPOCHS, "batch_size": 32},
            "space": {"learning_rate": {"float": [1e-4, 1e20]}},
            **changes,
        }
    )


SPEC = spec()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load(SPEC.dataset, cache=tmp_path_factory.mktemp("cache")).folder


def attempt(folder: Path, dataset: Path, spec: StudyConfig = SPEC, **changes: Any) -> Iterator[dict[str, Any]]:
    return run_trial(spec, str(folder), dataset, 4, PARAMETERS | changes, seed=1)


def without_clocks(reports: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what does not depend on the clock, in the reports and in their folds."""
    return [{**report, "folds": numbers(report["folds"])} for report in numbers(reports)]


def apart(data: list[DeviceDataset], spec: StudyConfig = SPEC) -> list[Trainer]:
    """Return a training of each fold that knows nothing of the others."""
    recipe = spec.training_config(PARAMETERS)
    seeds = [derive_step_seed(1, "fold", number) for number in range(1, FOLDS + 1)]
    return [Trainer(recipe, fold, seed=seed) for fold, seed in zip(data, seeds, strict=True)]


def test_trial_is_the_mean_of_its_folds(tmp_path: Path, dataset: Path) -> None:
    reports = list(attempt(tmp_path, dataset))
    trainers = apart(device_folds(dataset, SPEC.dataset, "cpu"))
    for report, results in zip(reports, zip(*trainers, strict=True), strict=True):
        for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert report[name] == fmean(getattr(result, name) for result in results)
            assert [fold[name] for fold in report["folds"]] == [getattr(result, name) for result in results]
        assert report["deviation"] == stdev(result.val_accuracy for result in results)
        assert report["seconds"] == pytest.approx(sum(fold["seconds"] for fold in report["folds"]))
        assert report["val_auroc"] is None
    tested = [trainer.evaluate(trainer.data.test) for trainer in trainers]
    assert reports[-1]["test_accuracy"] == fmean(accuracy for _, accuracy in tested)
    assert [(fold["test_loss"], fold["test_accuracy"]) for fold in reports[-1]["folds"]] == tested
    assert reports[1]["train_seconds"] > reports[0]["train_seconds"] > 0
    weights = torch.load(tmp_path / StudyFolder(tmp_path).weights(4), weights_only=True)["folds"]
    for trainer, kept in zip(trainers, weights, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in trainer.model.state_dict().items())


@pytest.mark.slow
def test_validation_tables_hold_every_image(tmp_path: Path, dataset: Path) -> None:
    asked = spec(predictions=["validation"], classes=["validation"], keep_weights=0, objective={"minimize": "val_loss"})
    last = list(attempt(tmp_path, dataset, asked))[-1]
    predictions, classes = last["predictions"]["validation"], last["classes"]["validation"]
    labels = np.load(dataset / "train_labels.npy")[:96]
    assert predictions["index"] == list(range(96))
    assert predictions["label"] == labels.tolist()
    right = np.array(predictions["predicted"]) == labels
    sizes = [len(fold.validation) for fold in device_folds(dataset, SPEC.dataset, "cpu")]
    assert right.mean() == pytest.approx(np.average([fold["val_accuracy"] for fold in last["folds"]], weights=sizes))
    assert classes["support"] == np.bincount(labels).tolist()
    assert last["deviation"] == stdev(fold["val_loss"] for fold in last["folds"])


@pytest.mark.parametrize("calls", [1, 5, 10, 13], ids=["first-fold", "third-fold", "second-epoch", "last-step"])
@pytest.mark.slow
def test_folds_resume_bit_for_bit(
    calls: int, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 1e9)
    kill_after(calls, attempt(tmp_path, dataset, MANY), monkeypatch)
    after = list(attempt(tmp_path, dataset, MANY))
    assert without_clocks(after) == undisturbed
    replayed = [report["epoch"] for report in after if report.get("replayed")]
    assert replayed == ([1] if calls > 6 else [])  # because each fold takes two steps per epoch


MANY = spec(
    training={
        "architecture": "vazquez_base",
        "epochs": EPOCHS,
        "batch_size": 32,
        **{"ema": 0.9, "mixup": 0.4, "cutmix": 0.5, "freeze": 1, "schedule": "one_cycle"},
    },
    predictions=["validation"],
    untrained=True,
)
"""A recipe with all that has a state, or draws."""


@pytest.fixture(scope="module")
def undisturbed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    reports = without_clocks(attempt(tmp_path_factory.mktemp("whole"), dataset, MANY))
    assert 0 <= reports[0]["untrained"]["val_accuracy"] <= 1
    return reports


@pytest.mark.parametrize("other", [{"folds": 2}, 0.25])
def test_another_number_of_folds_starts_over(
    other: object, tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SHARE", 1e9)
    changed = spec(dataset={"name": "digits", "train": 96, "validation": other})
    kill_after(3, attempt(tmp_path, dataset, changed), monkeypatch)
    with pytest.warns(UserWarning, match="cannot be used, starting over: it is of another configuration"):
        next(attempt(tmp_path, dataset))


def test_diverged_trial_names_its_fold(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"^fold 1: training loss is "):
        list(attempt(tmp_path, dataset, learning_rate=1e20))


def test_missing_metric_has_no_mean(dataset: Path) -> None:
    folds = device_folds(dataset, SPEC.dataset, "cpu")
    trainers = [Trainer(SPEC.training_config(PARAMETERS), fold, metrics=["val_auroc"]) for fold in folds]
    whole = next(CrossValidation(trainers))
    assert whole.val_auroc == fmean(fold.val_auroc or 0 for fold in whole.folds) > 0
    few = folds[1].validation
    of_one_class = ImageSubset(few.images[few.labels == 3], None, few.labels[few.labels == 3])
    trainers[1].data = replace(folds[1], validation=of_one_class)
    result = next(CrossValidation(trainers))
    assert [fold.val_auroc is None for fold in result.folds] == [False, True, False]
    assert (result.val_auroc, deviation(result.folds, "val_auroc")) == (None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_every": 2}, "log_every: not with dataset.validation.folds"),
        ({"predictions": ["test"]}, "predictions: found 'test', but with dataset.validation.folds each trial has 3"),
        ({"classes": ["validation", "test"]}, "classes: found 'test', but with dataset.validation.folds each trial"),
        ({"dataset": {"validation": {"folds": 1}}}, "dataset.validation.folds: found 1"),
        ({"dataset": {"validation": {"folds": 3, "share": 0.2}}}, "dataset.validation: unknown key 'share'"),
    ],
)
def test_study_refuses_what_folds_have_not(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
