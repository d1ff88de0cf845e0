"""How long a study should take: a few of its configurations are trained for a moment each, and multiplied."""

import math
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from tuner import data
from tuner.config.sections import AshaConfig
from tuner.config.space import Choice, Constant, Int, Parameter, Value
from tuner.config.study import StudyConfig
from tuner.config.training import TrainingConfig
from tuner.data.device import DeviceDataset, device_data
from tuner.errors import SpecError, TunerError
from tuner.results.schema import EpochResult
from tuner.training.loop import train

DRAWN = 300
"""Configurations drawn from the space to know its mean epochs."""
TIMED = 5
"""Of each architecture, so many are timed, or as many as begin within TIMED_SECONDS."""
TIMED_SECONDS = 2.0
EVALUATION_SHARE = 0.35
"""Evaluating an image costs about so much of training on it: a forward pass of forward, backward and update."""
LEARNED_SURVIVAL = 0.6
"""With a sampler that learns, later trials are better, and (1/reduction_factor)**0.6 of them pass a rung (measured)."""


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


REPORT_SECONDS = 0.03
"""What Tune and the tables add to an epoch, and TRIAL_SECONDS to a trial (measured with two slots on two cores)."""
TRIAL_SECONDS = 0.1


class _EnoughError(Exception):
    pass


def estimate(spec: StudyConfig, root: Path | None, slots: int) -> Estimate:
    """Train some configurations of each architecture for a moment, and multiply.

    Args:
        spec: The study.
        root: Where data sets are looked for; None: as `tuner.data.load` does.
        slots: Trials side by side.

    Raises:
        DataError: The images are missing or broken.
        SpecError: An architecture cannot be trained in any of the configurations tried.
    """
    torch.set_num_threads(spec.resources.cpu)
    dataset = data.load(spec.dataset, root)
    on_device = device_data(dataset.folder, spec.dataset, "cuda" if torch.cuda.is_available() else "cpu")
    recipes = [spec.training_config(parameters) for parameters in _configurations(spec)]
    timed = {
        name: _time([recipe for recipe in recipes if recipe.architecture == name], on_device)
        for name in dict.fromkeys(recipe.architecture for recipe in recipes)
    }

    def seconds(recipe: TrainingConfig, epochs: float) -> float:
        return TRIAL_SECONDS + epochs * (timed[recipe.architecture].epoch_seconds + REPORT_SECONDS)

    full = mean(seconds(recipe, recipe.epochs) for recipe in recipes)
    stopped = mean(seconds(recipe, _expected_epochs(spec, recipe.epochs)) for recipe in recipes)
    trials, repeats = spec.search.trials or 1, _repeats(spec)
    return Estimate(
        {name: speed.images_per_second for name, speed in timed.items()},
        (trials + repeats) * full / slots / 3600,
        (trials * stopped + repeats * full) / slots / 3600,
    )


def _configurations(spec: StudyConfig) -> list[dict[str, Value]]:
    """The grid, or configurations drawn as a random search would draw them."""
    if spec.search.sampler == "grid":
        return spec.space.grid()
    draw = random.Random(spec.search.seed)
    return [spec.space.draw(lambda _, parameter: _pick(draw, parameter)) for _ in range(DRAWN)]


def _pick(draw: random.Random, parameter: Parameter) -> Value:
    if isinstance(parameter, Constant):
        return parameter.value
    if isinstance(parameter, Choice):
        return draw.choice(parameter.choice)
    low, high = parameter.bounds
    value = math.exp(draw.uniform(math.log(low), math.log(high))) if parameter.log else draw.uniform(low, high)
    if parameter.step is not None:
        value = low + round((value - low) / parameter.step) * parameter.step
    value = min(max(value, low), high)
    return round(value) if isinstance(parameter, Int) else value


@dataclass(frozen=True)
class _Speed:
    images_per_second: float
    epoch_seconds: float


def _time(recipes: list[TrainingConfig], on_device: DeviceDataset) -> _Speed:
    """Mean speed of some configurations of one architecture; one that cannot be trained is passed over."""
    speeds: list[_Speed] = []
    began, refused = time.perf_counter(), ""
    for recipe in recipes[:TIMED]:
        try:
            speeds.append(_time_one(recipe, on_device))
        except TunerError as error:
            refused = str(error)
        if time.perf_counter() - began > TIMED_SECONDS:
            break
    if not speeds:
        raise SpecError(f"{recipes[0].architecture}: {refused}")
    return _Speed(
        1 / mean(1 / speed.images_per_second for speed in speeds), mean(speed.epoch_seconds for speed in speeds)
    )


def _time_one(recipe: TrainingConfig, on_device: DeviceDataset) -> _Speed:
    """Train for a share of TIMED_SECONDS: whole epochs where they are that short, else some steps, at least one."""
    endless = recipe.model_copy(update={"epochs": 1_000_000, "learning_rate": 1e-6})  # and never NaN
    taken = 0
    began = time.perf_counter()

    def on_step() -> None:
        nonlocal taken
        taken += 1
        if time.perf_counter() - began > TIMED_SECONDS / TIMED:
            raise _EnoughError

    epochs: list[EpochResult] = []
    with suppress(_EnoughError):
        for result in train(endless, on_device, on_step=on_step):
            epochs.append(result)  # noqa: PERF402 - kept when the loop is left by an exception
    if epochs:  # the first is slower than those to come
        later = epochs[1:] or epochs
        return _Speed(mean(each.images_per_second for each in later), mean(each.seconds for each in later))
    speed = recipe.batch_size * taken / (time.perf_counter() - began)
    images = len(on_device.train) + EVALUATION_SHARE * len(on_device.validation)
    return _Speed(speed, images / speed)


def _expected_epochs(spec: StudyConfig, epochs: int) -> float:
    """Epochs of a trial that may be stopped: each rung of ASHA lets a share through; other rules stop nobody here."""
    rule = spec.stopping.rule
    if not isinstance(rule, AshaConfig):
        return epochs
    learns = spec.search.sampler not in ("random", "grid")
    passing = rule.reduction_factor ** -(LEARNED_SURVIVAL if learns else 1.0)
    expected, surviving, reached, rung = 0.0, 1.0, 0.0, float(rule.grace_period)
    while rung < epochs:
        expected += surviving * (rung - reached)
        surviving, reached, rung = surviving * passing, rung, rung * rule.reduction_factor
    return expected + surviving * (epochs - reached)


def _repeats(spec: StudyConfig) -> int:
    trials = spec.search.trials or 1
    if spec.repeats is None:
        return 0
    return spec.repeats.seeds * (trials if spec.repeats.top == "all" else min(spec.repeats.top, trials))
