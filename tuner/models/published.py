"""Published weights of torchvision and timm, under the names and shapes of the networks that are built here."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tuner.errors import DataError, type_and_line
from tuner.models.external import timm_settings

AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Names of the parts of googlenet and inception_v3 that are built without."""


def published_state(
    architecture: str,
    file: Path,
    read: Callable[[Path], dict[str, Tensor]],
    in_channels: int,
    image_size: int,
) -> dict[str, Tensor]:
    """Return a library's published weights as a state dict.

    The names are those of a network of `library_network`. The head is that of the file, for the
    classes that it was trained on.

    Args:
        architecture: `torchvision:NAME` or `timm:NAME`.
        file: The weights.
        read: Function that reads a file without running its code.
        in_channels: Channels of the images.
        image_size: Width and height of the images.

    Raises:
        DataError: The file is damaged, or not of this network.
    """
    library, _, member = architecture.partition(":")
    if library == "timm":
        return _of_timm(member, file, in_channels, image_size)
    state = {name: value for name, value in read(file).items() if not name.startswith(AUXILIARY)}
    if member.startswith("densenet"):  # whose files have the names of an early version
        return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)", r"\1\2", name): state[name] for name in state}
    if member.startswith("vit_"):
        return _resized(state, int(member.rpartition("_")[2]), image_size)
    return state


def _resized(state: dict[str, Tensor], patch_size: int, image_size: int) -> dict[str, Tensor]:
    """Interpolate the embeddings of a vision transformer's positions."""
    from torchvision.models.vision_transformer import interpolate_embeddings

    return dict(interpolate_embeddings(image_size, patch_size, state))


def _of_timm(name: str, file: Path, in_channels: int, image_size: int) -> dict[str, Tensor]:
    """Let timm read a file of its weights.

    This is necessary because names, sizes and first layers differ between its networks.
    """
    import timm

    overlay: dict[str, Any] = {"file": str(file)}
    settings = {"in_chans": in_channels, **timm_settings(name, image_size)}
    try:
        with torch.random.fork_rng(devices=[]):
            model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    except Exception as error:  # because a damaged file may raise anything
        raise DataError(
            f"training.pretrained: {file}: not the weights of timm:{name}: {type_and_line(error)}"
        ) from error
    return dict(model.state_dict())
