"""Architectures by name. What a study file may say of them, without torch, stands in `tuner.config.registry`.

A network of ours is a function `(in_channels, classes, image_size, *, hyperparameters with defaults) -> nn.Module` in
the file of its family; giving it a name here and in the catalogue is all that it needs.
"""

from collections.abc import Callable
from contextlib import nullcontext

from torch import nn

from tuner.config.registry import Scalar, architecture
from tuner.config.user_models import is_own
from tuner.errors import SpecError, suggest
from tuner.models.alexnet import alexnet
from tuner.models.external import torchvision_network, users_network, weightless
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
    """Names of our own networks, sorted; `build` knows torchvision's and classes of your own besides."""
    return sorted(BUILDERS)


def build(name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar) -> nn.Module:
    """Build a network by name, its weights drawn from PyTorch's global generator.

    Args:
        name: One of `names()`, `torchvision:NAME`, or `package.module:Class` for a class of your own.
        in_channels: Channels of the images.
        classes: Number of logits.
        image_size: Side of the square images, in pixels.
        hyperparameters: As the catalogue declares them for `name`; what is left out has its default.

    Returns:
        A network (N, in_channels, image_size, image_size) float → (N, classes) logits.

    Raises:
        SpecError: The name or a hyperparameter is unknown, a value out of its bounds, or the image too small; or a
            network that is not ours does not give logits for such images.
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
    if name.startswith("torchvision:"):
        return torchvision_network(name, in_channels, classes, image_size)
    return users_network(name, in_channels, classes, image_size, hyperparameters)


def build_on_meta(
    name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar
) -> nn.Module:
    """As `build`, with the same errors, but at once: its parameters are on the meta device, without values.

    A class of your own is built in full: only it knows which values it looks at.
    """
    with nullcontext() if is_own(name) else weightless():
        model = build(name, in_channels=in_channels, classes=classes, image_size=image_size, **hyperparameters)
    return model if is_own(name) else model.to("meta")


def shapes(name: str, /, *, in_channels: int, classes: int, image_size: int, **hyperparameters: Scalar) -> list[Layer]:
    """The layers of a network in the order in which an image passes them: their output shapes and parameters.

    >>> [layer.shape for layer in shapes("lenet5", in_channels=1, classes=10, image_size=28)][:2]
    [(6, 24, 24), (6, 12, 12)]

    Arguments and errors are those of `build`; see `layer_table` for what counts as a layer.
    """
    model = build_on_meta(name, in_channels=in_channels, classes=classes, image_size=image_size, **hyperparameters)
    return layer_table(model, in_channels, image_size)


def parameters_count(model: nn.Module) -> int:
    """Trainable parameters of a network; one that several layers share counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
