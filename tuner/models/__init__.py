"""Architectures by name. What a study file may say about them without importing torch stands in `tuner.catalogue`.

A network is a function `(in_channels, classes, image_size, *, hyperparameters with defaults) -> nn.Module` in the file
of its family; giving it a name here and in the catalogue is all that it needs.
"""

from collections.abc import Callable

from torch import nn

from tuner.catalogue import ARCHITECTURES, Scalar
from tuner.errors import SpecError, nearest
from tuner.models.alexnet import alexnet
from tuner.models.lenet import lenet5, lenet5_cesar, lenet5_classic, lenet5_tinoco
from tuner.models.rubio import rubio_large, rubio_large_shared, rubio_small
from tuner.models.vazquez import vazquez_base, vazquez_bn, vazquez_deep

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "lenet5": lenet5,
    "lenet5_tinoco": lenet5_tinoco,
    "lenet5_classic": lenet5_classic,
    "lenet5_cesar": lenet5_cesar,
    "vazquez_base": vazquez_base,
    "vazquez_deep": vazquez_deep,
    "vazquez_bn": vazquez_bn,
    "alexnet": alexnet,
    "rubio_small": rubio_small,
    "rubio_large": rubio_large,
    "rubio_large_shared": rubio_large_shared,
}


def names() -> list[str]:
    """Names that `build` knows, sorted."""
    return sorted(BUILDERS)


def build(name: str, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar) -> nn.Module:
    """Build a network by name, its weights drawn from PyTorch's global generator.

    Args:
        name: One of `names()`.
        in_channels: Channels of the images.
        classes: Number of logits.
        image_size: Side of the square images, in pixels.
        hyperparameters: As the catalogue declares them for `name`; what is left out has its default.

    Returns:
        A network (N, in_channels, image_size, image_size) float → (N, classes) logits.

    Raises:
        SpecError: The name or a hyperparameter is unknown, a value out of its bounds, or the image too small.
    """
    if name not in BUILDERS:
        raise SpecError(f"architecture: no '{name}'; {nearest(name, BUILDERS)}")
    architecture = ARCHITECTURES[name]
    for key, value in hyperparameters.items():
        if key not in architecture.hyperparameters:
            raise SpecError(f"{key}: unknown for {name}; {nearest(key, architecture.hyperparameters)}")
        low, high = architecture.hyperparameters[key].low, architecture.hyperparameters[key].high
        if low is not None and high is not None and not (isinstance(value, (int, float)) and low <= value <= high):
            raise SpecError(f"{key}: {value!r} for {name} is outside [{low}, {high}]")
    if image_size < architecture.min_size:
        raise SpecError(
            f"architecture: {name} needs images of {architecture.min_size} pixels or more, not {image_size}"
        )
    return BUILDERS[name](in_channels, classes, image_size, **hyperparameters)


def parameters_count(model: nn.Module) -> int:
    """Trainable parameters of a network; one that several layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
