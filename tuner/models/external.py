"""Networks from outside: torchvision's by name, and a user's own class.

What they make of images of some size is not known beforehand, so each shows it on two images before it is used.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from tuner.config.registry import Scalar
from tuner.config.user_models import own_network
from tuner.errors import SpecError, type_and_line


def torchvision_network(name: str, in_channels: int, classes: int, image_size: int) -> nn.Module:
    """A classification network of torchvision, `torchvision:NAME`, untrained; nothing is downloaded.

    (N, in_channels, side, side) → (N, classes) logits. Where the images are not RGB its first convolution is made
    anew, with PyTorch's own initialization. googlenet and inception_v3 are without their auxiliary logits.

    Raises:
        SpecError: The network does not take images of this size.
    """

    def build() -> nn.Module:
        return _fitted(name.removeprefix("torchvision:"), in_channels, classes, image_size)

    def without_numbers() -> nn.Module:
        with weightless():
            return build().to("meta")

    _shown_to_work(name, without_numbers, in_channels, classes, image_size)
    return build()


def users_network(
    name: str, in_channels: int, classes: int, image_size: int, hyperparameters: dict[str, Scalar]
) -> nn.Module:
    """A network of the user's own, `package.module:Class`; see `tuner.config.user_models.own_network`.

    Raises:
        SpecError: It cannot be built, does not take images of this size, or does not give (N, classes) logits.
    """

    def build() -> nn.Module:
        return own_network(name)(in_channels, classes, image_size, **hyperparameters)  # type: ignore[no-any-return]

    return _shown_to_work(name, build, in_channels, classes, image_size)


@contextmanager
def weightless() -> Iterator[None]:
    """Within it, networks are built in no time: their parameters are on the meta device, where nothing is stored.

    Unlike under `torch.device("meta")`, other tensors keep their values, of which some networks compute their shape.
    """
    hook = register_module_parameter_registration_hook(_without_values)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _without_values(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:  # noqa: ARG001
    return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)


def _fitted(name: str, in_channels: int, classes: int, image_size: int) -> nn.Module:
    from torchvision.models import get_model  # takes a second

    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        settings = {"image_size": image_size}
    elif name.startswith("maxvit_"):
        settings = {"input_size": (image_size, image_size)}
    model: nn.Module = get_model(name, weights=None, num_classes=classes, **settings)
    place, first = next(pair for pair in model.named_modules() if isinstance(pair[1], nn.Conv2d))
    if isinstance(first, nn.Conv2d) and first.in_channels != in_channels:
        size: dict[str, Any] = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
        model.set_submodule(place, nn.Conv2d(in_channels, first.out_channels, **size, bias=first.bias is not None))
    return model


def _shown_to_work(
    name: str, build: Callable[[], nn.Module], in_channels: int, classes: int, image_size: int
) -> nn.Module:
    """Build a network, show it two images, and give it back in training mode if it gave logits for them."""
    images = f"{in_channels}x{image_size}x{image_size}"
    try:
        model = build()
        if not isinstance(model, nn.Module):
            raise TypeError(f"it gives {type(model).__name__}, not a torch.nn.Module")
        logits = look(model, 2, in_channels, image_size)
    except Exception as error:  # whatever somebody else's network raises
        raise SpecError(
            f"architecture: {name} does not work with images of {images}: {type_and_line(error)}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise SpecError(f"architecture: {name} gives {shape} for 2 images of {images}; expected: logits (2, {classes})")
    return model.train()


def look(model: nn.Module, count: int, in_channels: int, image_size: int) -> Any:
    """What a network in evaluation mode makes of `count` black images, on the device of its parameters."""
    device = next((parameter.device for parameter in model.parameters()), None)
    with torch.no_grad():  # not inference mode: a lazy layer gets its parameters here
        return model.eval()(torch.zeros(count, in_channels, image_size, image_size, device=device))
