"""Estimate of a study's hours, from the speed of some of its configurations."""

import math
import random
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from tuner import data
from tuner.config.parameters import Choice, Constant, Parameter
from tuner.config.sections import HalvingConfig
from tuner.config.study import StudyConfig
from tuner.config.training import TrainingConfig
from tuner.config.values import Value
from tuner.data.device import device_data
from tuner.training.probe import time_recipes

DRAWN = 300
"""Configurations drawn from the space to average its epochs."""
LEARNED_SURVIVAL = 0.6
"""Measured exponent of the share that passes a rung, (1/reduction_factor)**0.6, if the sampler learns."""
REPORT_SECONDS = 0.03
"""Seconds per epoch in Tune and the tables, measured with two slots."""
TRIAL_SECONDS = 0.1
"""Seconds per trial in Tune and the tables measured with two slots."""


@dataclass(frozen=True)
class Estimate:
    """Hours of a study on this machine, one trial per slot.

    Attributes:
        images_per_second: Training speed of each architecture, one trial running.
        hours_without_stopping: Hours if every trial runs to its last epoch.
        hours: Hours if the stopping rule prunes as expected.
    """

    images_per_second: dict[str, float]
    hours_without_stopping: float
    hours: float


def estimate(spec: StudyConfig, root: Path | None, slots: int) -> Estimate:
    """Time some configurations of each architecture and multiply by the study's epochs.

    Args:
        spec: The study.
        root: Folder in which data sets are searched first; None: as in `tuner.data.load`.
        slots: Trials that run side by side.

    Raises:
        DataError: The images are missing or broken.
        SpecError: An architecture cannot be trained in any of the configurations tried.
    """
    torch.set_num_threads(spec.resources.cpu)
    dataset = data.load(spec.dataset, root)
    on_device = device_data(dataset.folder, spec.dataset, "cuda" if torch.cuda.is_available() else "cpu")
    recipes = [spec.training_config(parameters) for parameters in _configurations(spec)]
    timed = {
        name: time_recipes([recipe for recipe in recipes if recipe.architecture == name], on_device, root)
        for name in dict.fromkeys(recipe.architecture for recipe in recipes)
    }

    def seconds(recipe: TrainingConfig, epochs: float) -> float:
        epoch_seconds = spec.dataset.folds * timed[recipe.architecture].epoch_seconds
        return TRIAL_SECONDS + epochs * (epoch_seconds + REPORT_SECONDS)

    full = mean(seconds(recipe, recipe.epochs) for recipe in recipes)
    stopped = mean(seconds(recipe, _expected_epochs(spec, recipe.epochs)) for recipe in recipes)
    trials, repeats = spec.search.trials or 1, _repeats(spec)
    return Estimate(
        {name: speed.images_per_second for name, speed in timed.items()},
        (trials + repeats) * full / slots / 3600,
        (trials * stopped + repeats * full) / slots / 3600,
    )


def _configurations(spec: StudyConfig) -> list[dict[str, Value]]:
    """Return the grid, or configurations drawn as a random search draws them."""
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
    return parameter.nearest(value)


def _expected_epochs(spec: StudyConfig, epochs: int) -> float:
    """Return the mean epochs of a trial under the stopping rule.

    Each rung of ASHA lets a share pass.

    Other rules are treated as pruning nothing.
    """
    rule = spec.stopping.rule
    if not isinstance(rule, HalvingConfig):
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
