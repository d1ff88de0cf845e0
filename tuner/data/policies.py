"""RandAugment and TrivialAugment, which change each image by operations drawn for it.

Operations, strengths and their ranges are torchvision's. All images that draw the same operation
are changed together. Pixels that a geometric operation brings in are black.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from tuner.data import color

LARGEST = 30
"""Highest strength of an operation."""
OPERATIONS = 2
"""Operations that RandAugment applies to an image."""


@dataclass(frozen=True)
class Policy:
    """Ranges of the operations, as they differ between the two methods.

    Attributes:
        shear: Largest shift of a pixel by its distance from the first row or column.
        shift: Largest shift, as a share of the image's size, or in pixels.
        is_share: True if `shift` is a share.
        degrees: Largest rotation.
        factor: Largest change of a factor of colour from 1.
        bits: Most bits that a posterized image loses.
    """

    shear: float
    shift: float
    is_share: bool
    degrees: float
    factor: float
    bits: int


RAND = Policy(shear=0.3, shift=150 / 331, is_share=True, degrees=30, factor=0.9, bits=4)
"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719)."""
TRIVIAL = Policy(shear=0.99, shift=32, is_share=False, degrees=135, factor=0.99, bits=6)
"""TrivialAugment, wide (Müller and Hutter 2021, arXiv 2103.10158)."""

Matrices = Callable[[Policy, Tensor, tuple[int, int]], Tensor]
Colors = Callable[[Policy, Tensor, Tensor], Tensor]


def rand_augment(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Apply two operations of one strength to each image.

    Args:
        images: (B, C, H, W) uint8, gray or RGB. They are not changed.
        strength: 0 to LARGEST, fractions allowed.
        generator: The source of the draws.
    """
    for _ in range(OPERATIONS):
        draws = torch.rand(3, len(images), generator=generator, device=generator.device).to(images.device)
        images = apply(RAND, images, _index(draws[0]), torch.full_like(draws[0], strength), _sign(draws[1]))
    return images


def trivial_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one operation of a random whole strength to each image.

    Args:
        images: (B, C, H, W) uint8, gray or RGB. They are not changed.
        generator: The source of the draws.
    """
    draws = torch.rand(3, len(images), generator=generator, device=generator.device).to(images.device)
    strengths = (draws[2] * (LARGEST + 1)).floor_().clamp_(max=LARGEST)
    return apply(TRIVIAL, images, _index(draws[0]), strengths, _sign(draws[1]))


def apply(policy: Policy, images: Tensor, operations: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    """Apply one operation to each image.

    Args:
        policy: Ranges of the operations.
        images: (B, C, H, W) uint8.
        operations: (B,) int64, positions in `NAMES`.
        strengths: (B,) float32, 0 to LARGEST.
        signs: (B,) float32, -1 or 1: the direction, for operations that have one.
    """
    result = images.clone()
    shares = strengths / LARGEST
    signed = shares * signs
    height, width = images.shape[2:]
    for index, name in enumerate(NAMES):
        chosen = (operations == index).nonzero()[:, 0]
        if not len(chosen) or name == "identity":
            continue
        if name in GEOMETRIC:
            matrices = GEOMETRIC[name](policy, signed[chosen], (height, width))
            result[chosen] = warp(images[chosen], matrices)
        else:
            values = (signed if name in SIGNED else shares)[chosen]
            result[chosen] = COLORS[name](policy, images[chosen], values)
    return result


def warp(images: Tensor, matrices: Tensor) -> Tensor:
    """Transform images by affine matrices, bilinearly.

    Pixel (x, y) of the result, counted from the center, is read at `matrix @ (x, y, 1)`.

    Args:
        images: (N, C, H, W) uint8.
        matrices: (N, 2, 3) float32, in pixels.

    Returns:
        (N, C, H, W) uint8, with black pixels from outside of the images.
    """
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    grid = torch.empty(len(images), height, width, 2, device=images.device)
    for axis, size in enumerate((width, height)):
        a, b, c = (matrices[:, axis] * (2 / size)).unbind(1)
        torch.add((a[:, None] * x)[:, None], (b[:, None] * y + c[:, None])[:, :, None], out=grid[..., axis])
    moved = grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return moved.round_().to(torch.uint8)


def _shear_x(policy: Policy, signed: Tensor, size: tuple[int, int]) -> Tensor:
    slope = policy.shear * signed
    return _matrices(signed, x=(1.0, slope, slope * (size[0] / 2)))


def _shear_y(policy: Policy, signed: Tensor, size: tuple[int, int]) -> Tensor:
    slope = policy.shear * signed
    return _matrices(signed, y=(slope, 1.0, slope * (size[1] / 2)))


def _translate_x(policy: Policy, signed: Tensor, size: tuple[int, int]) -> Tensor:
    return _matrices(signed, x=(1.0, 0.0, -_pixels(policy, signed, size[1])))


def _translate_y(policy: Policy, signed: Tensor, size: tuple[int, int]) -> Tensor:
    return _matrices(signed, y=(0.0, 1.0, -_pixels(policy, signed, size[0])))


def _rotate(policy: Policy, signed: Tensor, size: tuple[int, int]) -> Tensor:  # noqa: ARG001
    angle = torch.deg2rad(signed * policy.degrees)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _matrices(signed, x=(cos, -sin, 0.0), y=(sin, cos, 0.0))


def _pixels(policy: Policy, signed: Tensor, size: int) -> Tensor:
    return (signed * policy.shift * (size if policy.is_share else 1)).trunc()


def _matrices(
    like: Tensor,
    x: tuple[Tensor | float, ...] = (1.0, 0.0, 0.0),
    y: tuple[Tensor | float, ...] = (0.0, 1.0, 0.0),
) -> Tensor:
    """Return one affine matrix per image, (N, 2, 3) float32.

    `x` and `y` are the rows. An entry is one value for all images, or one value per image.
    """
    columns = [torch.as_tensor(value, device=like.device).expand(len(like)) for value in (*x, *y)]
    return torch.stack(columns, dim=1).view(-1, 2, 3)


def _bits(policy: Policy, shares: Tensor) -> Tensor:
    return 8 - (shares * policy.bits).round()


GEOMETRIC: dict[str, Matrices] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
}
COLORS: dict[str, Colors] = {
    "brightness": lambda policy, images, signed: color.brighten(images, 1 + signed * policy.factor),
    "color": lambda policy, images, signed: color.saturate(images, 1 + signed * policy.factor),
    "contrast": lambda policy, images, signed: color.contrast(images, 1 + signed * policy.factor),
    "sharpness": lambda policy, images, signed: color.sharpen(images, 1 + signed * policy.factor),
    "posterize": lambda policy, images, shares: color.posterize(images, _bits(policy, shares)),
    "solarize": lambda policy, images, shares: color.solarize(images, 255 * (1 - shares)),  # noqa: ARG005
    "autocontrast": lambda policy, images, shares: color.stretch(images),  # noqa: ARG005
    "equalize": lambda policy, images, shares: color.equalize(images),  # noqa: ARG005
}
SIGNED = frozenset({"brightness", "color", "contrast", "sharpness"})
"""Operations of colour whose strength has a direction."""
NAMES = ("identity", *GEOMETRIC, *COLORS)
"""Operations, in the order in which they are numbered."""


def _index(draws: Tensor) -> Tensor:
    return (draws * len(NAMES)).long().clamp_(max=len(NAMES) - 1)


def _sign(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0)
