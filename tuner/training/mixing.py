"""Mixup and CutMix: batches of which each image is a mixture of two, and so is its label."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tuner.config.training import TrainingConfig


@dataclass(frozen=True)
class Targets:
    """Labels of a batch whose images may be mixtures.

    Attributes:
        labels: (B,) int64.
        others: (B,) int64, labels of the images mixed in.
        share: Share of `labels` in the mixture, 1 without one.
    """

    labels: Tensor
    others: Tensor
    share: float

    @property
    def main(self) -> Tensor:
        """Labels of the larger share, (B,) int64."""
        return self.labels if self.share >= 0.5 else self.others


def mix(images: Tensor, labels: Tensor, config: TrainingConfig, seed: int) -> tuple[Tensor, Targets]:
    """Mix each image with the previous image of the batch.

    The recipe names the method. Where a recipe has both mixup and CutMix, one of them is drawn for
    each batch. Without them, the images stay as they are.

    Args:
        images: (B, C, H, W) float32, normalized.
        labels: (B,) int64.
        config: The recipe.
        seed: Seed of the batch's draws.
    """
    if not (config.mixup or config.cutmix):
        return images, Targets(labels, labels, 1.0)
    draw = np.random.default_rng(seed)
    is_mixup = bool(config.mixup) and (not config.cutmix or draw.random() < 0.5)
    alpha = config.mixup if is_mixup else config.cutmix
    share = float(draw.beta(alpha, alpha))
    if is_mixup:
        mixed = mixup(images, share)
    else:
        mixed, share = cutmix(images, share, (draw.random(), draw.random()))
    return mixed, Targets(labels, labels.roll(1), share)


def mixup(images: Tensor, share: float) -> Tensor:
    """Blend each image with the previous image.

    The method is mixup (arXiv 1710.09412). `share` is the weight of the image itself.
    """
    return images.mul(share).add_(images.roll(1, 0), alpha=1 - share)


def cutmix(images: Tensor, share: float, center: tuple[float, float]) -> tuple[Tensor, float]:
    """Paste a box of the previous image into each image.

    The method is that of Yun et al. (2019, arXiv 1905.04899).

    Args:
        images: (B, C, H, W).
        share: Share of the area that an image keeps, unless the box crosses its edge.
        center: Center of the box as shares of width and height.

    Returns:
        The images, and the share that each has kept.
    """
    height, width = images.shape[2:]
    side = math.sqrt(1 - share) / 2
    left, right = _clipped(int(center[0] * width), int(side * width), width)
    top, bottom = _clipped(int(center[1] * height), int(side * height), height)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images.roll(1, 0)[:, :, top:bottom, left:right]
    return mixed, 1 - (right - left) * (bottom - top) / (height * width)


def _clipped(center: int, half: int, size: int) -> tuple[int, int]:
    return max(center - half, 0), min(center + half, size)


def mixed_loss(loss_of: Callable[[Tensor], Tensor], targets: Targets) -> Tensor:
    """Return the losses by both labels, weighted by their shares.

    Args:
        loss_of: Returns the loss by some labels, (B,) int64.
        targets: Labels and shares of the batch.
    """
    if targets.share == 1:
        return loss_of(targets.labels)
    return targets.share * loss_of(targets.labels) + (1 - targets.share) * loss_of(targets.others)
