"""Random changes of training images that belong to a recipe, so that they can be searched."""

import torch
from torch import Tensor

from tuner.config.training import TrainingConfig
from tuner.data import boxes, color, policies


def change(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Apply the recipe's random crop, color jitter and policies, in this order.

    Args:
        images: (B, C, H, W), uint8 or float, pixels 0 to 255.
        config: The recipe. With all of these changes off, nothing is drawn.
        generator: The source of the draws.

    Returns:
        (B, C, H, W): `images` itself with everything off, float32 after a crop, uint8 after others.
    """
    if config.random_resized_crop < 1:
        images = boxes.resized_crop(images, config.random_resized_crop, generator)
    if config.color_jitter:
        draws = torch.rand(3, len(images), generator=generator, device=generator.device).to(images.device)
        images = color.jitter(_to_bytes(images), *(1 + (draws * 2 - 1) * config.color_jitter))
    if config.rand_augment:
        images = policies.rand_augment(_to_bytes(images), config.rand_augment, generator)
    if config.trivial_augment:
        images = policies.trivial_augment(_to_bytes(images), generator)
    return images


def finish(images: Tensor, config: TrainingConfig, generator: torch.Generator) -> Tensor:
    """Erase random boxes of normalized images, (B, C, H, W) float32."""
    return boxes.erase(images, config.erasing, generator) if config.erasing else images


def _to_bytes(images: Tensor) -> Tensor:
    return images if images.dtype == torch.uint8 else images.round().clamp_(0, 255).to(torch.uint8)
