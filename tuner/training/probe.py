"""Speed and memory of trainings, measured by a few real steps, without Ray."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from tuner.config.parameters import Choice, Constant, Parameter
from tuner.config.study import StudyConfig
from tuner.config.training import TrainingConfig
from tuner.config.values import Value
from tuner.data.cache import ensure_cached
from tuner.data.dataset import Dataset
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.errors import OutOfMemoryError, SpecError, TrialError, TunerError, UserError, type_and_line
from tuner.results.schema import EpochResult
from tuner.training.evaluation import EVALUATION_BATCH
from tuner.training.loop import Trainer
from tuner.training.memory import CONTEXT_BYTES
from tuner.training.memory_need import MemoryNeed

TIMED = 5
"""Recipes timed per architecture, or as many as begin within TIMED_SECONDS."""
TRIED_IMAGES = 8
"""Images of the step that is tried before a study."""
TIMED_SECONDS = 2.0
"""Seconds of training per architecture that is timed."""
EVALUATION_SHARE = 0.35
"""Cost of evaluating an image, as a share of training on it."""


class _EnoughError(Exception):
    """The end of a probe, raised after its last step."""


@dataclass(frozen=True)
class Speed:
    """Speed of a training, one trial running."""

    images_per_second: float
    epoch_seconds: float


def largest_recipes(spec: StudyConfig) -> list[TrainingConfig]:
    """Return the largest recipe of each architecture.

    Every number is at its upper bound.
    """
    return [_recipe(spec, name, _largest) for name in spec.architectures]


def _recipe(spec: StudyConfig, name: str, pick: Callable[[Parameter], Value]) -> TrainingConfig:
    """Return a recipe of an architecture with the values that are picked."""
    drawn = spec.space.draw(lambda key, parameter: name if key == "architecture" else pick(parameter))
    return spec.training_config(drawn | {"architecture": name})


def _smallest(parameter: Parameter) -> Value:
    """Return the smallest value of a parameter, or its first choice."""
    if isinstance(parameter, Constant):
        return parameter.value
    return parameter.choice[0] if isinstance(parameter, Choice) else parameter.reachable[0]


def _largest(parameter: Parameter) -> Value:
    """Return the largest value of a parameter, or its last choice."""
    if isinstance(parameter, Constant):
        return parameter.value
    if isinstance(parameter, Choice):
        numbers = [value for value in parameter.choice if isinstance(value, int | float)]
        return max(numbers) if len(numbers) == len(parameter.choice) else parameter.choice[-1]
    return parameter.bounds[1]


def gpu_need(spec: StudyConfig, dataset: Path, root: Path | None) -> MemoryNeed:
    """Measure the most demanding of the largest trials on the GPU.

    Args:
        spec: The study.
        dataset: The data set's cache entry, by its path on the machine that made it.
        root: Folder in which this machine searches data sets first.

    Raises:
        TrialError: torch sees no GPU.
        DataError: The images are missing here.
    """
    if not torch.cuda.is_available():
        raise TrialError("Ray counts a GPU here, but torch sees none; is this torch built for its driver?")
    folds = DeviceDataset.open_folds(Dataset.open(ensure_cached(dataset, spec.dataset, root)), spec.dataset, "cuda")
    of = torch.cuda.get_device_properties(0).total_memory
    needs = [_need(recipe, folds, of, root) for recipe in largest_recipes(spec)]
    return max(needs, key=lambda need: float("inf") if need.bytes is None else need.bytes)


def _need(recipe: TrainingConfig, folds: Sequence[DeviceDataset], of: int, root: Path | None) -> MemoryNeed:
    """Measure the GPU memory of one recipe, with a network per fold.

    `of` is the memory of the GPU in bytes.
    """
    what = f"{recipe.architecture} with batches of {recipe.batch_size}"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        _ = [one_step(recipe, fold, root) for fold in folds]  # kept, because a trial keeps all its networks
    except OutOfMemoryError:
        return MemoryNeed(what, None, of)
    return MemoryNeed(what, torch.cuda.max_memory_reserved() + CONTEXT_BYTES, of)


def try_smallest(spec: StudyConfig, name: str, data: DeviceDataset, root: Path | None = None) -> None:
    """Train one step of an architecture on a few images.

    This is a check before a study. Every number is at its lower bound.

    Raises:
        SpecError: The network fails in training.
    """
    recipe = _recipe(spec, name, _smallest)
    recipe = recipe.model_copy(update={"batch_size": min(recipe.batch_size, TRIED_IMAGES)})
    try:
        _train_until(lambda: True, recipe, data, root)
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:  # because a user's network may raise anything, SystemExit too
        raise SpecError(f"architecture: {name} fails in training: {type_and_line(error)}") from error


def one_step(recipe: TrainingConfig, data: DeviceDataset, root: Path | None = None) -> Trainer:
    """Train one step of a recipe and evaluate one batch.

    Raises:
        OutOfMemoryError: The step or the evaluation does not fit.
    """
    released = recipe.model_copy(update={"freeze": 0})  # because frozen layers take less memory
    trainer, _ = _train_until(lambda: True, released, data, root)
    pixels, labels = data.validation.batch(slice(0, EVALUATION_BATCH[data.device.type]))
    trainer.evaluate(ImageSubset(pixels, None, labels))
    return trainer


def time_recipes(recipes: Sequence[TrainingConfig], data: DeviceDataset, root: Path | None = None) -> Speed:
    """Measure the mean speed of some recipes of one architecture.

    Recipes that fail are skipped.

    Raises:
        SpecError: None of the recipes can be trained.
    """
    speeds: list[Speed] = []
    began, refused = time.perf_counter(), ""
    for recipe in recipes[:TIMED]:
        try:
            speeds.append(_time(recipe, data, root))
        except TunerError as error:
            refused = str(error)
        if time.perf_counter() - began > TIMED_SECONDS:
            break
    if not speeds:
        raise SpecError(f"{recipes[0].architecture}: {refused}")
    per_image = mean(1 / speed.images_per_second for speed in speeds)
    return Speed(1 / per_image, mean(speed.epoch_seconds for speed in speeds))


def _time(recipe: TrainingConfig, data: DeviceDataset, root: Path | None) -> Speed:
    """Time whole epochs of a recipe if they are short, else steps."""
    endless = recipe.model_copy(update={"epochs": 1_000_000, "learning_rate": 1e-6, "head_learning_rate": None})
    if endless.freeze != "all":  # because most epochs come after the frozen ones
        endless = endless.model_copy(update={"freeze": 0})
    taken = 0
    began = time.perf_counter()

    def enough() -> bool:
        nonlocal taken
        taken += 1
        return time.perf_counter() - began > TIMED_SECONDS / TIMED

    _, epochs = _train_until(enough, endless, data, root)
    if epochs:
        steady = epochs[1:] or epochs  # because the first epoch is slower than the others
        return Speed(mean(each.images_per_second for each in steady), mean(each.seconds for each in steady))
    speed = recipe.batch_size * taken / (time.perf_counter() - began)
    images = len(data.train) + EVALUATION_SHARE * len(data.validation)
    return Speed(speed, images / speed)


def _train_until(
    enough: Callable[[], bool], recipe: TrainingConfig, data: DeviceDataset, root: Path | None
) -> tuple[Trainer, list[EpochResult]]:
    """Train until `enough` is true after a step.

    Return the trainer and the epochs completed.
    """

    def on_step() -> None:
        if enough():
            raise _EnoughError

    trainer = Trainer(recipe, data, on_step=on_step, root=root)
    epochs: list[EpochResult] = []
    with suppress(_EnoughError):
        for result in trainer:
            epochs.append(result)  # noqa: PERF402 - kept when an exception ends the loop
    return trainer, epochs
