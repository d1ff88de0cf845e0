"""Networks of torchvision, timm and the user.

Each is tried on two images before its use, because its output is not known beforehand.
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


def library_network(name: str, in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Build an untrained network, `torchvision:NAME` or `timm:NAME`, without a download.

    (N, in_channels, size, size) → (N, classes) logits. The first convolution of a network of
    torchvision is replaced if the images are not RGB, with PyTorch's initialization. googlenet and
    inception_v3 have no auxiliary logits.

    Raises:
        SpecError: The network does not take images of this size.
    """

    def build() -> nn.Module:
        library, _, member = name.partition(":")
        fitted = _of_timm if library == "timm" else _fitted
        return fitted(member, in_channels, classes, image_size)

    def build_weightless() -> nn.Module:
        with weightless():
            return build().to("meta")

    _check(name, build_weightless, in_channels, classes, image_size)
    return build()


def users_network(
    name: str, in_channels: int, classes: int, image_size: int, hyperparameters: dict[str, Scalar]
) -> nn.Module:
    """Build a network of the user, `package.module:Class`.

    Raises:
        SpecError: The network cannot be built, does not take images of this size, or does not give
            (N, classes) logits.
    """

    def build() -> nn.Module:
        return own_network(name)(in_channels, classes, image_size, **hyperparameters)  # type: ignore[no-any-return]

    return _check(name, build, in_channels, classes, image_size)


@contextmanager
def weightless() -> Iterator[None]:
    """Build networks without weights: their parameters are on the meta device.

    Unlike under `torch.device("meta")`, other tensors keep their values, because some networks
    compute their shape from them. The hook is public in torch.
    """
    hook = register_module_parameter_registration_hook(_without_values)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def _without_values(module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:  # noqa: ARG001
    """Return a parameter of the same shape without values."""
    return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)


def _of_timm(name: str, in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Build an untrained network of timm."""
    import timm  # late, because it takes seconds

    settings = {"num_classes": classes, "in_chans": in_channels, **timm_settings(name, image_size)}
    model: nn.Module = timm.create_model(name, pretrained=False, **settings)
    return model


def timm_settings(name: str, image_size: int) -> dict[str, Any]:
    """Return the settings of a timm network that depend on image size."""
    import timm

    config = timm.get_pretrained_cfg(name)
    return {"img_size": image_size} if config is not None and config.fixed_input_size else {}


def _fitted(name: str, in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Build a network of torchvision for other images.

    Their size or number of channels may differ from torchvision's.
    """
    from torchvision.models import get_model  # late, because it takes a second

    settings: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):
        settings = {"image_size": image_size}
    elif name.startswith("maxvit_"):
        settings = {"input_size": (image_size, image_size)}
    model: nn.Module = get_model(name, weights=None, num_classes=classes, **settings)
    path, first = next(pair for pair in model.named_modules() if isinstance(pair[1], nn.Conv2d))
    if isinstance(first, nn.Conv2d) and first.in_channels != in_channels:
        size: dict[str, Any] = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
        model.set_submodule(path, nn.Conv2d(in_channels, first.out_channels, **size, bias=first.bias is not None))
    return model


def _check(name: str, build: Callable[[], nn.Module], in_channels: int, classes: int, image_size: int) -> nn.Module:
    """Build a network and check its logits for two images."""
    images = f"{in_channels}x{image_size}x{image_size}"
    try:
        model = build()
        if not isinstance(model, nn.Module):
            raise TypeError(f"it gives {type(model).__name__}, not a torch.nn.Module")
        logits = forward_black(model, 2, in_channels, image_size)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # because a network of others may raise anything, SystemExit too
        raise SpecError(
            f"architecture: {name} does not work with images of {images}: {type_and_line(error)}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise SpecError(f"architecture: {name} gives {shape} for 2 images of {images}; expected: logits (2, {classes})")
    return model.train()


def forward_black(model: nn.Module, count: int, in_channels: int, image_size: int) -> Any:
    """Return a network's output for `count` black images, in evaluation mode."""
    device = next((parameter.device for parameter in model.parameters()), None)
    with torch.no_grad():  # not inference mode, because lazy layers get their parameters here
        return model.eval()(torch.zeros(count, in_channels, image_size, image_size, device=device))
