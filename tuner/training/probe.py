"""What the largest trials of a space take of a GPU's memory, by one real training step of each. It knows no Ray."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from tuner.config.space import Choice, Constant, Parameter, Value
from tuner.config.study import StudyConfig
from tuner.config.training import TrainingConfig
from tuner.data.cache import ensure_cached
from tuner.data.dataset import Dataset
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.errors import OutOfMemoryError, TrialError
from tuner.training.loop import EVALUATION_BATCH, Trainer

CONTEXT_BYTES = 700 << 20
"""What CUDA itself takes of a GPU for a process, beside PyTorch's pool: 500 to 700 MB are usual; not measured."""


@dataclass(frozen=True)
class MemoryNeed:
    """What the largest trial of a study takes of a GPU's memory."""

    what: str
    """The trial, in words: `alexnet, batch size 256`."""
    bytes: int | None
    """Memory of its process; None where it does not fit into the whole GPU."""
    of: int
    """The GPU's memory, in bytes."""


class _EnoughError(Exception):
    pass


def largest_recipes(spec: StudyConfig) -> list[TrainingConfig]:
    """For each architecture the recipe with the largest batch and the largest of every number that a trial may meet."""

    def recipe(name: str) -> TrainingConfig:
        def pick(key: str, parameter: Parameter) -> Value:
            return name if key == "architecture" else _largest(parameter)

        return spec.training_config(spec.space.draw(pick) | {"architecture": name})

    return [recipe(name) for name in spec.architectures]


def _largest(parameter: Parameter) -> Value:
    if isinstance(parameter, Constant):
        return parameter.value
    if isinstance(parameter, Choice):
        numbers = [value for value in parameter.choice if isinstance(value, int | float)]
        return max(numbers) if len(numbers) == len(parameter.choice) else parameter.choice[-1]
    return parameter.bounds[1]


def gpu_need(spec: StudyConfig, dataset: Path, root: Path | None) -> MemoryNeed:
    """Try the largest trial of each architecture on this process's GPU; returns what the most demanding took.

    Args:
        spec: The study.
        dataset: The data set, as the cache of the machine that made it calls it.
        root: Where data sets are looked for first on this machine.

    Raises:
        TrialError: torch sees no GPU.
        DataError: The images are not here.
    """
    if not torch.cuda.is_available():
        raise TrialError("Ray counts a GPU here, but torch sees none; is this torch built for its driver?")
    data = DeviceDataset.open(Dataset.open(ensure_cached(dataset, spec.dataset, root)), spec.dataset, "cuda")
    of = torch.cuda.get_device_properties(0).total_memory
    needs = [_need(recipe, data, of) for recipe in largest_recipes(spec)]
    return max(needs, key=lambda need: float("inf") if need.bytes is None else need.bytes)


def _need(recipe: TrainingConfig, data: DeviceDataset, of: int) -> MemoryNeed:
    what = f"{recipe.architecture} with batches of {recipe.batch_size}"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        one_step(recipe, data)
    except OutOfMemoryError:
        return MemoryNeed(what, None, of)
    return MemoryNeed(what, torch.cuda.max_memory_reserved() + CONTEXT_BYTES, of)


def one_step(recipe: TrainingConfig, data: DeviceDataset) -> None:
    """Train one step of a recipe and evaluate one batch, on the device of the data.

    Raises:
        OutOfMemoryError: It does not fit.
    """

    def stop() -> None:
        raise _EnoughError

    training = Trainer(recipe, data, on_step=stop)
    with suppress(_EnoughError):
        next(training)
    pixels, labels = data.validation.batch(slice(0, EVALUATION_BATCH[data.device.type]))
    training.evaluate(ImageSubset(pixels, None, labels))
