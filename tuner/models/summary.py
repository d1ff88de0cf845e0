"""Layers of a network and their output shapes, as reports print them."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tuner.models.external import forward_black


@dataclass(frozen=True)
class Layer:
    """A layer of a network, as an image passes through it."""

    name: str
    """Path in the network: `features.0`."""
    kind: str
    """Class: `Conv2d`."""
    shape: tuple[int, ...]
    """Output shape for one image: (channels, height, width), or (units,)."""
    parameters: int
    """Trainable parameters that no earlier layer has."""


def layer_table(model: nn.Module, in_channels: int, image_size: int) -> list[Layer]:
    """List the layers that one image (in_channels, image_size, image_size) passes, in order.

    A layer is a module without submodules. One that is passed twice is listed twice. Operations
    outside of modules, such as a sum, are not listed.
    """
    passed: list[Layer] = []
    counted: set[int] = set()
    names = {module: name for name, module in model.named_modules()}

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        new = {id(p): p.numel() for p in layer.parameters() if p.requires_grad and id(p) not in counted}
        counted.update(new)
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        passed.append(Layer(names[layer], type(layer).__name__, shape, sum(new.values())))

    hooks = [module.register_forward_hook(note) for module in names if not any(module.children())]
    try:
        forward_black(model, 1, in_channels, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return passed
