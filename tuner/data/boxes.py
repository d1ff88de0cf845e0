"""Random boxes: what a resized crop cuts out, and what erasing covers."""

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

TRIES = 10
"""Boxes drawn per image, of which the first that fits is taken."""
CROP_RATIO = (3 / 4, 4 / 3)
"""Width by height of a crop (torchvision's RandomResizedCrop)."""
ERASED_SHARE, ERASED_RATIO = (0.02, 0.33), (0.3, 3.3)
"""Share of the area, and width by height, of an erased box (torchvision's RandomErasing)."""


def draw_boxes(
    count: int,
    size: tuple[int, int],
    share: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Draw one random box per image.

    Args:
        count: Number of images.
        size: Height and width of the images.
        share: Lowest and highest share of the area, drawn evenly.
        ratio: Lowest and highest width by height, drawn evenly over the logarithm.
        generator: The source of the draws.

    Returns:
        (4, count) int64: top, left, height, width; and (count,) bool, False where no try fits.
    """
    height, width = size
    draws = torch.rand(4, TRIES, count, generator=generator, device=generator.device)
    areas = height * width * (share[0] + (share[1] - share[0]) * draws[0])
    low, high = (math.log(one) for one in ratio)
    ratios = torch.exp(low + (high - low) * draws[1])
    heights, widths = (areas / ratios).sqrt().round().long(), (areas * ratios).sqrt().round().long()
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    tops = (draws[2] * (height - heights + 1)).long()
    lefts = (draws[3] * (width - widths + 1)).long()
    first = fits.to(torch.uint8).argmax(dim=0, keepdim=True)
    boxes = torch.stack([one.gather(0, first)[0] for one in (tops, lefts, heights, widths)])
    return boxes, fits.any(dim=0)


def resized_crop(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """Cut a random box out of each image and resize it.

    An image into which no drawn box fits stays whole.

    Args:
        images: (B, C, H, W), uint8 or float.
        smallest: Lowest share of the area that is cut out.
        generator: The source of the draws.
    """
    size = images.shape[2], images.shape[3]
    boxes, fits = draw_boxes(len(images), size, (smallest, 1.0), CROP_RATIO, generator)
    whole = torch.tensor([0, 0, *size], device=boxes.device)[:, None]
    return cut_and_resize(images, torch.where(fits, boxes, whole).to(images.device))


def cut_and_resize(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut a box out of each image and resize it bilinearly.

    Args:
        images: (B, C, H, W), uint8 or float.
        boxes: (4, B) int64: top, left, height, width.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = images.shape[2:]
    rows, columns = (_source(boxes[first], boxes[first + 2], size) for first, size in ((0, height), (1, width)))
    grid = torch.empty(len(images), height, width, 2, device=images.device)
    grid[..., 0] = columns[:, None]
    grid[..., 1] = rows[:, :, None]
    return grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def _source(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return the place where each pixel of a side is read.

    It is (B, size), the image being [-1, 1].
    """
    start, length = start[:, None].float(), length[:, None].float()
    pixels = start + (torch.arange(size, device=start.device) + 0.5) * (length / size) - 0.5
    inside = torch.maximum(torch.minimum(pixels, start + length - 1), start)  # because a box has edges
    return (inside * 2 + 1) / size - 1


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Set a random box of some images to 0.

    The method is that of Zhong et al. (2020, arXiv 1708.04896).

    Args:
        images: (B, C, H, W) float, normalized.
        probability: Probability that an image loses a box.
        generator: The source of the draws.
    """
    count, size = len(images), (images.shape[2], images.shape[3])
    chosen = torch.rand(count, generator=generator, device=generator.device) < probability
    boxes, fits = draw_boxes(count, size, ERASED_SHARE, ERASED_RATIO, generator)
    return cover(images, (boxes * (chosen & fits)).to(images.device))


def cover(images: Tensor, boxes: Tensor) -> Tensor:
    """Return images with 0 in each image's box.

    Args:
        images: (B, C, H, W).
        boxes: (4, B) int64.
    """
    rows, columns = (_is_within(boxes[first], boxes[first + 2], images.shape[first + 2]) for first in (0, 1))
    return images.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0.0)


def _is_within(start: Tensor, length: Tensor, size: int) -> Tensor:
    pixels = torch.arange(size, device=start.device)
    return (pixels >= start[:, None]) & (pixels < (start + length)[:, None])
