"""One attempt at a trial: training, reports, checkpoints and resuming, without Ray."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tuner.config.registry import SPEED_METRICS
from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.data.cache import ensure_cached
from tuner.data.device import device_folds
from tuner.errors import DeviceError, OutOfTimeError
from tuner.results.folder import StudyFolder
from tuner.training.checkpoint import Checkpointer, identity, write_state
from tuner.training.cross_validation import CrossValidation, Training, deviation, validation_outputs
from tuner.training.loop import Trainer
from tuner.training.memory import limit_memory, release_memory
from tuner.training.metrics import class_metrics
from tuner.training.precision import Capability
from tuner.training.seeds import derive_step_seed
from tuner.training.watchdog import watched


@watched
def run_trial(
    spec: StudyConfig,
    folder: str,
    dataset: Path,
    number: int,
    parameters: Mapping[str, Value],
    seed: int,
    device: str = "cpu",
    data: Path | None = None,
    gpu: float = 1.0,
    capability: Capability | None = None,
) -> Iterator[dict[str, Any]]:
    """Train or resume a trial, yielding one report per epoch.

    A report has the fields of `EpochResult` (`train_seconds` summed over the epochs),
    `epochs_planned`, `parameters_count` and `device`. With folds it has the mean of the folds, and their
    `deviation` of the first objective. The last report also has `test_loss`,
    `test_accuracy` and `done`. If the study asks for them, the first report has `untrained` (loss
    and accuracy before the training) and the last `predictions` and `classes`, a dict for each kind
    of images.
    Reports from the checkpoint come first, marked `replayed`. A trial that runs out of time repeats
    its last report, marked `out_of_time` and `done`.

    Args:
        spec: The study.
        folder: Its folder.
        dataset: The data set's cache entry, by its path on the machine that made it.
        number: The trial's number.
        parameters: The trial's parameters.
        seed: The seed of its training.
        device: The device that trains: cpu | cuda.
        data: Folder in which this machine searches data sets first, and weights after the working directory.
        gpu: Share of a GPU that the trial has, which limits its memory.
        capability: CUDA compute capability that decides `precision: auto`; None: the device's.

    Raises:
        TrialError: The trial cannot be trained, and a retry would not help.
        UserError: Data or recipe do not allow it.
    """
    _prepare_process(spec, device, gpu)
    images = device_folds(ensure_cached(dataset, spec.dataset, data), spec.dataset, device)
    trainers = [
        Trainer(
            spec.training_config(parameters),
            fold,
            seed=derive_step_seed(seed, "fold", number) if len(images) > 1 else seed,
            log_every=spec.log_every,
            on_step=lambda: _after_step(keeper, spec.budget.trial_minutes),
            capability=capability,
            metrics=spec.extra_metrics,
            root=data,
        )
        for number, fold in enumerate(images, 1)
    ]
    trainer: Training = CrossValidation(trainers) if len(images) > 1 else trainers[0]
    before = trainer.measure() if spec.untrained else None
    study = StudyFolder(folder)
    keeper = Checkpointer(study, number, identity(spec, dataset, parameters, seed), trainer)
    for report in keeper.resume():
        yield {**report, "replayed": True}
    try:
        speeds = _speeds(trainers[0], keeper, spec)
        yield from _train(trainer, keeper, before, speeds, spec)
    except OutOfTimeError:
        if not keeper.reports:
            raise
        yield {**keeper.reports[-1], "replayed": True, "out_of_time": True, "done": True}
        return
    began = time.perf_counter()
    if spec.keep_weights:
        write_state(study.storage, study.weights(number), _weights(trainers))
    yield _last_report(trainers, keeper, spec, began)


def _last_report(trainers: Sequence[Trainer], keeper: Checkpointer, spec: StudyConfig, began: float) -> dict[str, Any]:
    """Complete the last epoch's report with test results and times.

    The times to save the weights and to evaluate are added to those of the report.

    Args:
        trainers: The trainings that have ended, one per fold.
        keeper: Their checkpoints.
        spec: The study.
        began: Time at which their weights were about to be saved.
    """
    saved = time.perf_counter()
    report = keeper.reports[-1]
    report = {**report, **_tested(trainers, report.get("folds", ())), "done": True, **_details(trainers, spec)}
    seconds = {"checkpoint_seconds": saved - began, "evaluation_seconds": time.perf_counter() - saved}
    return report | {name: report.get(name, 0.0) + more for name, more in seconds.items()}


def _prepare_process(spec: StudyConfig, device: str, gpu: float) -> None:
    """Set the number of threads and, on a GPU, the memory limit.

    Raises:
        DeviceError: torch sees no GPU.
    """
    torch.set_num_threads(spec.resources.cpu)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("Ray gave the trial a GPU, but torch sees none; is this torch built for its driver?")
        limit_memory(gpu, torch.device("cuda", 0))
        release_memory(torch.device("cuda", 0))  # what the trial before this one has left


def _after_step(keeper: Checkpointer, minutes: float | None) -> None:
    """Check the time budget, and save a checkpoint that is due.

    Raises:
        OutOfTimeError: The trial has trained and evaluated for longer than the budget allows.
    """
    if minutes is not None and keeper.elapsed_seconds > 60 * minutes:
        raise OutOfTimeError(f"no epoch was complete after budget.trial_minutes, {minutes:g}")
    keeper.save_if_due()


def _speeds(trainer: Trainer, keeper: Checkpointer, spec: StudyConfig) -> dict[str, float]:
    """Measure the speeds that the study searches for, once in a trial."""
    known = keeper.reports[-1] if keeper.reports else {}
    return {
        name: known[name] if name in known else trainer.seconds_per_image(SPEED_METRICS[name])
        for name in spec.speed_metrics
    }


def _train(
    trainer: Training,
    keeper: Checkpointer,
    before: dict[str, Any] | None,
    speeds: dict[str, float],
    spec: StudyConfig,
) -> Iterator[dict[str, Any]]:
    """Train the remaining epochs and yield every report but the last.

    The last report is only kept. A checkpoint is saved before each report after which the trial may
    have to wait.
    """
    planned = trainer.config.epochs
    constant = {
        "epochs_planned": planned,
        "parameters_count": trainer.parameters_count,
        "device": trainer.device_description,  # after resuming, because a checkpoint keeps its precision
        **speeds,
    }
    for result in trainer:
        report = {**asdict(result), **constant}
        report["train_seconds"] += keeper.train_seconds
        if result.folds:
            report["deviation"] = deviation(result.folds, spec.objective[0].metric)
        if before and result.epoch == 1:
            report["untrained"] = before
        report["checkpoint_seconds"] = keeper.take_seconds()
        keeper.reports.append(report)
        if result.epoch < planned:
            keeper.save() if spec.stopping.waits_at(result.epoch) else keeper.save_if_due()
            report["checkpoint_seconds"] += keeper.take_seconds()
            yield report


def _weights(trainers: Sequence[Trainer]) -> dict[str, Any]:
    """Return the evaluated weights of a trial.

    With several folds, the key `folds` lists the weights of each fold's network.
    """
    weights = [trainer.evaluated_model.state_dict() for trainer in trainers]
    return {"folds": weights} if len(weights) > 1 else weights[0]


def _tested(trainers: Sequence[Trainer], folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return loss and accuracy on the test images.

    Values of several networks are averaged, because the mean describes one network. The
    returned `folds` are the given reports, each with the values of its own fold.
    """
    names = ("test_loss", "test_accuracy")
    rows = [dict(zip(names, trainer.evaluate(trainer.data.test), strict=True)) for trainer in trainers]
    means = {name: fmean(row[name] for row in rows) for name in names}
    return {**means, "folds": tuple(fold | row for fold, row in zip(folds, rows, strict=False))}


def _details(trainers: Sequence[Trainer], spec: StudyConfig) -> dict[str, dict[str, Any]]:
    """Return the columns of `predictions` and `classes`, by kind of images."""
    details: dict[str, dict[str, Any]] = {"predictions": {}, "classes": {}}
    for kind in dict.fromkeys([*spec.predictions, *spec.classes]):
        logits, labels = validation_outputs(trainers) if kind == "validation" else _test_outputs(trainers[0])
        if kind in spec.predictions:
            details["predictions"][kind] = _predictions(logits, labels)
        if kind in spec.classes:
            names = trainers[0].data.classes
            columns = {"class": list(range(len(names))), "name": list(names)}
            details["classes"][kind] = columns | class_metrics(logits, labels)
    return details


def _test_outputs(trainer: Trainer) -> tuple[Tensor, Tensor]:
    """Return logits (N, classes) and labels (N,) of the test images."""
    return trainer.logits(trainer.data.test), trainer.data.test.labels


def _predictions(logits: Tensor, labels: Tensor) -> dict[str, list[Any]]:
    """Return the columns of the table `predictions`, one row per image.

    `probability` is that of the predicted label.
    """
    probability, predicted = logits.softmax(dim=1).max(dim=1)
    return {
        "index": list(range(len(labels))),
        "label": labels.tolist(),
        "predicted": predicted.tolist(),
        "probability": probability.tolist(),
    }
