"""Architectures by name. `tuner.config.registry` describes them without torch.

A built-in network is a function `(in_channels, classes, image_size, *, hyperparameters with
defaults) -> nn.Module` in the module of its family. To add one, name it here and in the registry.
"""

from collections.abc import Callable
from contextlib import nullcontext

from torch import nn

from tuner.config.registry import Scalar, architecture
from tuner.config.user_models import is_own, library_of
from tuner.errors import SpecError, suggest
from tuner.models.alexnet import alexnet
from tuner.models.external import library_network, users_network, weightless
from tuner.models.lenet import lenet5, lenet5_cesar, lenet5_classic, lenet5_tinoco
from tuner.models.resnet import resnet9
from tuner.models.rubio import rubio_large, rubio_large_shared, rubio_small
from tuner.models.summary import Layer, layer_table
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
    "resnet9": resnet9,
}


def names() -> list[str]:
    """Return the sorted names of the built-in networks.

    `build` also takes networks of torchvision and timm, and classes of the user.
    """
    return sorted(BUILDERS)


def build(name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar) -> nn.Module:
    """Build a network by name, with weights drawn from PyTorch's global generator.

    Args:
        name: One of `names()`, `torchvision:NAME`, `timm:NAME`, or `package.module:Class` of the user.
        in_channels: Channels of the images.
        classes: Number of logits.
        image_size: Width and height of the images, in pixels.
        hyperparameters: Hyperparameters that the registry declares for `name`. Missing ones have
            their default.

    Returns:
        A network (N, in_channels, image_size, image_size) float → (N, classes) logits.

    Raises:
        SpecError: The name or a hyperparameter is unknown, a value is out of bounds, the images
            are too small, or a network of a library or the user gives no logits for them.
    """
    known = architecture(name)
    for key, value in hyperparameters.items():
        if key not in known.hyperparameters:
            raise SpecError(f"{key}: unknown for {name}; {suggest(key, known.hyperparameters)}")
        low, high = known.hyperparameters[key].low, known.hyperparameters[key].high
        if low is not None and high is not None and not (isinstance(value, (int, float)) and low <= value <= high):
            raise SpecError(f"{key}: {value!r} for {name} is outside [{low}, {high}]")
    if image_size < known.min_size:
        raise SpecError(f"architecture: {name} needs images of {known.min_size} pixels or more, not {image_size}")
    if name in BUILDERS:
        return BUILDERS[name](in_channels, classes, image_size, **hyperparameters)
    if library_of(name):
        return library_network(name, in_channels, classes, image_size)
    return users_network(name, in_channels, classes, image_size, hyperparameters)


def build_on_meta(
    name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar
) -> nn.Module:
    """Build a network at once, with its parameters on the meta device.

    Arguments and errors are those of `build`. A class of the user is built in full, because it may
    compute with the values.
    """
    with nullcontext() if is_own(name) else weightless():
        model = build(name, in_channels=in_channels, classes=classes, image_size=image_size, **hyperparameters)
    return model if is_own(name) else model.to("meta")


def shapes(name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar) -> list[Layer]:
    """List a network's layers in the order of the forward pass.

    >>> [layer.shape for layer in shapes("lenet5", in_channels=1, classes=10, image_size=28)][:2]
    [(6, 24, 24), (6, 12, 12)]

    Arguments and errors are those of `build`. `layer_table` defines a layer.
    """
    model = build_on_meta(name, in_channels=in_channels, classes=classes, image_size=image_size, **hyperparameters)
    return layer_table(model, in_channels, image_size)


def parameters_count(model: nn.Module) -> int:
    """Count the trainable parameters of a network, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
