"""Pretrained weights: read from a file without running its code, and fitted to a network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tuner.config.validation_messages import shown
from tuner.data.published import fetch_published
from tuner.data.weights import find_weights
from tuner.errors import DataError, SpecError, shorten, type_and_line
from tuner.models.head import belongs_to, find_head
from tuner.models.published import published_state

WRAPPERS = ("state_dict", "model")
"""Keys under which checkpoints of other programs hold their state dict."""
MOST_NAMES = 3
"""Names of parameters to list of each kind of mismatch."""


class Fit(NamedTuple):
    """Parts of a network that a state dict does not fill directly.

    Attributes:
        head: Path of the head, if it keeps its own weights.
        summed: Name of the first convolution's weights, if those of the colors were added for gray
            images.
    """

    head: str | None
    summed: str | None


def read_weights(file: Path) -> dict[str, Tensor]:
    """Read a state dict without running code of the file.

    Raises:
        DataError: The file is damaged, holds code, or is no state dict. Or a value is not finite.
    """
    place = f"training.pretrained: {file}"
    try:
        content = _load(file)
    except Exception as error:  # because a damaged file may raise anything
        raise DataError(f"{place}: no state dict that is safe to read: {_reason(error)}") from error
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{place}: holds {type(content).__name__}; allowed: a state dict, names with tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{place}: entry {shown(name)} is {type(value).__name__}; allowed: tensors by their names")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{place}: {shown(name)} has values that are NaN or infinite")
    return dict(content)


def _load(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file  # late, because few studies read one

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _reason(error: Exception) -> str:
    """Return the cause of a failed load.

    The advice of torch to trust the file is left out.
    """
    _, _, cause = str(error).partition("WeightsUnpickler error: ")
    return shorten(cause.partition("\n")[0]) or type_and_line(error).partition(". ")[0]


def start_from(
    model: nn.Module,
    architecture: str,
    pretrained: bool | str,
    root: Path | None,
    *,
    in_channels: int,
    classes: int,
    image_size: int,
) -> Fit:
    """Let a network start from pretrained weights.

    Errors are those of `fetch_published`, `find_weights`, `read_weights` and `load_weights`.

    Args:
        model: The network.
        architecture: Its name.
        pretrained: Path to a file of weights. True: the weights that the network's library publishes.
        root: Folder in which a file is searched after the working directory.
        in_channels: Channels of the images.
        classes: Number of logits.
        image_size: Width and height of the images.
    """
    if pretrained is True:
        file = fetch_published(architecture)
        state = published_state(architecture, file, read_weights, in_channels, image_size)
    else:
        file = find_weights(str(pretrained), root)
        state = read_weights(file)
    return load_weights(model, state, classes, f"{file} for {architecture}")


def load_weights(model: nn.Module, state: Mapping[str, Tensor], classes: int, place: str) -> Fit:
    """Copy a state dict into a network.

    The head keeps its own weights if those of the file do not fit, because they are for other classes.

    Args:
        model: The network, with the device that it is on.
        state: The weights by their names.
        classes: Number of logits.
        place: The file and the architecture, for the message.

    Raises:
        SpecError: Another part does not fit.
    """
    own = model.state_dict()
    head = find_head(model, classes)
    summed = _first_of_colors(model, own, state)
    if summed:
        state = {**state, summed: state[summed].sum(dim=1, keepdim=True)}
    misfits = _misfits(own, state)
    if wrong := {name: problem for name, problem in misfits.items() if not belongs_to(name, head)}:
        raise SpecError(f"training.pretrained: {place} does not fit: {_summarize(wrong)}")
    for name, value in own.items():
        if name in state and not (misfits and belongs_to(name, head)):
            value.copy_(state[name])
    return Fit(head if misfits else None, summed)


def _first_of_colors(model: nn.Module, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Name the first convolution's weights if their colors must be summed.

    Colors are summed if the network takes gray images and the file is for RGB. The sum gives the
    output of three equal channels, because a convolution adds its channels.
    """
    first = next((path for path, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)
    name = f"{first}.weight"
    if name not in own or name not in state:
        return None
    shape = own[name].shape
    is_for_colors = shape[1] == 1 and state[name].shape == (shape[0], 3, *shape[2:])
    return name if is_for_colors else None


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """Describe each name that one side lacks, and each shape that differs.

    Counters of batches may be missing, because files of early versions of PyTorch lack them.
    """
    problems: dict[str, str] = {}
    for name, value in own.items():
        if name not in state:
            if not name.endswith("num_batches_tracked"):
                problems[name] = "missing"
        elif state[name].shape != value.shape:
            problems[name] = f"{tuple(state[name].shape)} for {tuple(value.shape)}"
    return problems | {name: "unknown" for name in state if name not in own}


def _summarize(problems: Mapping[str, str]) -> str:
    """Count and list the parameters that do not fit, by problem."""
    missing = [shorten(name) for name, problem in problems.items() if problem == "missing"]
    unknown = [shorten(name) for name, problem in problems.items() if problem == "unknown"]
    shapes = [f"{shorten(name)} {problem}" for name, problem in problems.items() if problem.endswith(")")]
    kinds = {"missing from the file": missing, "unknown to the network": unknown, "of another shape": shapes}
    return "; ".join(f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names)


def _first(names: Sequence[str]) -> str:
    return ", ".join([*names[:MOST_NAMES], *(["…"] if len(names) > MOST_NAMES else [])])
