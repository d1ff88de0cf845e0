"""How long a study should take, from a timed step of each of its architectures."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from tuner import data
from tuner.data import split
from tuner.data.batches import device_data
from tuner.search_space import Choice, Constant
from tuner.spec import Asha, StudySpec
from tuner.training import Training

TIMED_SECONDS = 1.5
"""Steps of an architecture are timed for about so long."""
EVALUATION_SHARE = 0.35
"""Evaluating an image costs about so much of training on it: a forward pass of forward, backward and update."""


class _EnoughError(Exception):
    pass


@dataclass(frozen=True)
class Estimate:
    """What a study will cost on this machine, one trial a slot.

    Attributes:
        images_per_second: Training speed of each architecture, one trial running.
        hours_without_stopping: Every trial to its last epoch.
        hours: With the trials that the stopping rule should spare.
    """

    images_per_second: dict[str, float]
    hours_without_stopping: float
    hours: float


def estimate(spec: StudySpec, root: Path | None, slots: int) -> Estimate:
    """Time a few steps of each architecture at its middle batch size, and multiply.

    Raises:
        DataError: The images are missing or broken.
    """
    torch.set_num_threads(spec.resources.cpu)
    dataset = data.load(spec.dataset, root)
    parts = split(dataset, spec.dataset)
    on_device = device_data(dataset.folder, spec.dataset, "cuda" if torch.cuda.is_available() else "cpu")
    speeds = {name: _images_per_second(spec, name, on_device) for name in spec.architectures}
    images = len(parts.train) + EVALUATION_SHARE * len(parts.validation)
    epochs = _mean(spec, "epochs")
    per_epoch = images * mean(1 / speed for speed in speeds.values())
    trials = spec.search.trials or 1
    full = trials * epochs * per_epoch / slots / 3600
    return Estimate(speeds, full, full * min(1.0, _expected_epochs(spec, epochs) / epochs))


def _images_per_second(spec: StudySpec, architecture: str, on_device: data.batches.DeviceData) -> float:
    config = spec.training_config({"architecture": architecture, "batch_size": int(_middle(spec, "batch_size"))})
    stamps: list[float] = []

    def on_step() -> None:
        stamps.append(time.perf_counter())
        if len(stamps) > 2 and stamps[-1] - stamps[0] > TIMED_SECONDS:
            raise _EnoughError

    training = Training(config, on_device, on_step=on_step)
    with suppress(_EnoughError):
        next(training)
    return config.batch_size * (len(stamps) - 1) / (stamps[-1] - stamps[0])


def _values(spec: StudySpec, name: str) -> list[float]:
    if name not in spec.space:
        return [float(spec.training[name])]
    parameter = spec.space[name]
    if isinstance(parameter, Constant):
        return [float(str(parameter.value))]
    values = parameter.choice if isinstance(parameter, Choice) else parameter.bounds
    return [float(str(value)) for value in values]


def _mean(spec: StudySpec, name: str) -> float:
    return mean(_values(spec, name))


def _middle(spec: StudySpec, name: str) -> float:
    return sorted(_values(spec, name))[len(_values(spec, name)) // 2]


def _expected_epochs(spec: StudySpec, epochs: float) -> float:
    """Mean epochs of a trial when each rung lets 1/reduction_factor through; all of them for other rules."""
    rule = spec.stopping.rule
    if not isinstance(rule, Asha):
        return epochs
    expected, surviving, rung = 0.0, 1.0, 0.0
    upper = float(rule.grace_period)
    while upper < epochs:
        expected += surviving * (upper - rung)
        rung, surviving, upper = upper, surviving / rule.reduction_factor, upper * rule.reduction_factor
    return expected + surviving * (epochs - rung)
