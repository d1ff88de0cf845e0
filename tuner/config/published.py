"""Weights that torchvision and timm publish for their networks, and the images they were trained with.

The libraries are imported where a study asks for their weights, because they take seconds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tuner.config.user_models import library_of
from tuner.errors import SpecError, shorten

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Files of a repository of timm that may hold its weights, in timm's order."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation of googlenet and inception_v3.

torchvision states those of ImageNet and converts them inside of the network.
"""


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that a library publishes for a network.

    Attributes:
        name: `ResNet18_Weights.IMAGENET1K_V1`, or `resnet18.a1_in1k`.
        url: Address of the file, '' if it is on the hub only.
        hub: Repository of the hub, with its revision after `@`. '' if it is not there.
        files: Files of that repository that may hold the weights, the preferred one first.
        size: Bytes of the file, as far as the library states them.
        mean: Mean of each channel, with pixels in [0, 1].
        deviation: Standard deviation of each channel, with pixels in [0, 1].
        image_size: Width and height of the images.
    """

    name: str
    url: str
    hub: str
    files: tuple[str, ...]
    size: int | None
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    image_size: int

    def moments(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and deviation for images of some channels.

        Gray images have the average of a network's channels.
        """
        if channels == len(self.mean):
            return self.mean, self.deviation
        mean, deviation = (sum(values) / len(values) for values in (self.mean, self.deviation))
        return (mean,) * channels, (deviation,) * channels


@lru_cache(maxsize=64)
def describe_published(architecture: str) -> PublishedWeights:
    """Describe the default weights of `torchvision:NAME`, or of `timm:NAME` or `timm:NAME.TAG`.

    The name must be that of a network. Networks without weights have images of a size, too.
    """
    library, _, member = architecture.partition(":")
    return _of_timm(member) if library == "timm" else _of_torchvision(member)


def check_published(architecture: str) -> None:
    """Refuse a network for which no weights are published.

    Raises:
        SpecError: There are none, or the network is of no library.
    """
    allowed = "allowed: false, or a path to a state dict"
    if library_of(architecture) is None:
        raise SpecError(
            f"pretrained: found true for {shorten(architecture)}; {allowed}; true: with torchvision:NAME or timm:NAME"
        )
    weights = describe_published(architecture)
    if not weights.url and not weights.hub:
        raise SpecError(f"pretrained: found true, but no weights are published for {architecture}; {allowed}")


def common_size(architectures: Iterable[str], found: str) -> int:
    """Return the one image size of the networks' published weights.

    Args:
        architectures: The networks of a study.
        found: What the study file says, for the message.

    Raises:
        SpecError: A network is of no library, or the sizes differ.
    """
    sizes: dict[int, str] = {}
    for name in architectures:
        if library_of(name) is None:
            raise SpecError(
                f"dataset.image_size: found {found} with {shorten(name)}; allowed: a number;"
                " auto: with torchvision:NAME and timm:NAME only"
            )
        sizes.setdefault(describe_published(name).image_size, name)
    if len(sizes) > 1:
        each = ", ".join(f"{size} for {name}" for size, name in sorted(sizes.items()))
        raise SpecError(f"dataset.image_size: found {found}, and the networks differ ({each}); allowed: one number")
    return next(iter(sizes))


def _of_torchvision(name: str) -> PublishedWeights:
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(name).DEFAULT
    images = weights.transforms()
    is_halved = name in ("googlenet", "inception_v3")
    mean, deviation = (HALF, HALF) if is_halved else (tuple(images.mean), tuple(images.std))
    size = round(weights.meta["_file_size"] * 2**20)
    return PublishedWeights(str(weights), weights.url, "", (), size, mean, deviation, images.crop_size[0])


def _of_timm(name: str) -> PublishedWeights:
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    full = f"{name.partition('.')[0]}.{config.tag}" if config.tag else name
    files: tuple[str, ...] = HUB_FILES
    if config.hf_hub_filename:
        safe = config.hf_hub_filename.removesuffix(".bin") + ".safetensors"
        files = (safe, config.hf_hub_filename) if safe != config.hf_hub_filename else (safe,)
    mean, deviation = tuple(config.mean), tuple(config.std)
    return PublishedWeights(
        full, config.url or "", config.hf_hub_id or "", files, None, mean, deviation, max(config.input_size[1:])
    )
