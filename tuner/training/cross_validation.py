"""Cross-validation within one trial: a network per fold, all trained in step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from tuner.config.training import TrainingConfig
from tuner.errors import NotFiniteError
from tuner.results.schema import EpochResult
from tuner.training.loop import Trainer

MEANS = ("train_loss", "train_accuracy", "learning_rate")
"""Columns of an epoch that are averaged over the folds beside the validation metrics."""


class Training(Protocol):
    """The training of a trial: a `Trainer`, or a `CrossValidation` of several."""

    @property
    def config(self) -> TrainingConfig:
        """The recipe."""

    @property
    def parameters_count(self) -> int:
        """Trainable parameters of a network."""

    @property
    def device_description(self) -> str:
        """Device and number format of the training."""

    @property
    def epoch_seconds(self) -> float:
        """Seconds spent on the current epoch."""

    @property
    def trainers(self) -> Sequence[Trainer]:
        """The training of each network."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> EpochResult: ...

    def leave_out(self, seconds: float) -> None:
        """Leave seconds out of the training time of the current epoch."""

    def measure(self) -> dict[str, Any]:
        """Return an epoch's metrics of the validation images."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a state."""


class CrossValidation:
    """An iterator over epochs that yields the mean of all folds.

    Each step trains one epoch of every fold's network.

    Attributes:
        trainers: The training of each fold, with its own images and seed.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = trainers
        self._done: list[EpochResult] = []  # of the current epoch, in the order of folds

    @property
    def config(self) -> TrainingConfig:
        """The recipe of all folds."""
        return self.trainers[0].config

    @property
    def parameters_count(self) -> int:
        """Trainable parameters of one network."""
        return self.trainers[0].parameters_count

    @property
    def device_description(self) -> str:
        """Device and number format of the training."""
        return self.trainers[0].device_description

    @property
    def epoch_seconds(self) -> float:
        """Seconds spent on the current epoch of all folds."""
        done = sum(result.seconds for result in self._done)
        return done + sum(trainer.epoch_seconds for trainer in self.trainers)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochResult:
        """Train the rest of the current epoch, fold by fold.

        Raises:
            NotFiniteError: A loss of one fold is NaN or infinite.
            OutOfMemoryError: A batch does not fit into the memory of the device.
        """
        for fold, trainer in enumerate(self.trainers[len(self._done) :], len(self._done) + 1):
            try:
                self._done.append(next(trainer))
            except NotFiniteError as error:
                raise NotFiniteError(f"fold {fold}: {error}") from error
        results, self._done = tuple(self._done), []
        return _average(results)

    def leave_out(self, seconds: float) -> None:
        """Leave seconds out of the training time of the fold that trains."""
        for trainer in self.trainers:
            trainer.leave_out(seconds)

    def measure(self) -> dict[str, Any]:
        """Return the mean of the folds' metrics, leaving the networks unchanged."""
        return _means([trainer.measure() for trainer in self.trainers])

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all folds, also within an epoch, see `Trainer.state_dict`."""
        return {
            "folds": [trainer.state_dict() for trainer in self.trainers],
            "done": [asdict(result) for result in self._done],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`.

        Recipe, data set, folds and seed must be the same.

        Raises:
            SpecError: The state is of another recipe.
        """
        for trainer, each in zip(self.trainers, state["folds"], strict=True):
            trainer.load_state_dict(each)
        self._done = [EpochResult(**result) for result in state["done"]]


def deviation(results: Sequence[EpochResult], metric: str) -> float | None:
    """Return the sample's standard deviation of a metric over the folds.

    It is None where a fold lacks the metric.
    """
    values = [getattr(result, metric) for result in results]
    return None if None in values else stdev(values)


def validation_outputs(trainers: Sequence[Trainer]) -> tuple[Tensor, Tensor]:
    """Return logits (N, classes) and labels (N,) of the validation images.

    Those of several folds are joined, each image by the network that was not trained on it. They
    are in the order of the training images.
    """
    logits = torch.cat([trainer.logits(trainer.data.validation) for trainer in trainers])
    labels = torch.cat([trainer.data.validation.labels for trainer in trainers])
    if len(trainers) == 1:
        return logits, labels
    positions = [torch.from_numpy(trainer.data.validation_positions) for trainer in trainers]
    order = torch.cat(positions).argsort().to(logits.device)
    return logits[order], labels[order]


def _average(folds: tuple[EpochResult, ...]) -> EpochResult:
    """Combine the folds' results of one epoch.

    Metrics are averaged, and times are summed.
    """
    train_seconds = math.fsum(each.train_seconds for each in folds)
    images = math.fsum(each.images_per_second * each.train_seconds for each in folds)
    rows = [asdict(each) for each in folds]
    names = [name for name in rows[0] if name in MEANS or name.startswith("val_")]
    return EpochResult(
        epoch=folds[0].epoch,
        seconds=math.fsum(each.seconds for each in folds),
        train_seconds=train_seconds,
        images_per_second=images / train_seconds,
        evaluation_seconds=math.fsum(each.evaluation_seconds for each in folds),
        peak_memory_bytes=max((each.peak_memory_bytes for each in folds if each.peak_memory_bytes), default=None),
        folds=folds,
        **_means([{name: row[name] for name in names} for row in rows]),
    )


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each value, None where a row lacks it."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {name: None if None in values else fmean(values) for name, values in columns.items()}
