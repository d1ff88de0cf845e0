"""What each layer of a network gives, for the shape tables that reports print."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tuner.models.external import look


@dataclass(frozen=True)
class Layer:
    """One layer of a network, as an image passes through it."""

    name: str
    """Its place in the network: `features.0`."""
    kind: str
    """Its class: `Conv2d`."""
    shape: tuple[int, ...]
    """What it gives for one image: (channels, height, width), or (units,)."""
    parameters: int
    """Trainable parameters; those that an earlier layer has too count there."""


def layer_table(model: nn.Module, in_channels: int, image_size: int) -> list[Layer]:
    """The layers that one image (in_channels, image_size, image_size) passes, in that order.

    Layers are modules without modules of their own; a layer that is passed twice is listed twice. What a network
    computes outside of them, such as a sum, is not listed.
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
        look(model, 1, in_channels, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return passed
