"""Random changes of training images: a whole batch at once, on its device, each image with draws of its own."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from tuner.config.dataset import Augment


def augment(images: Tensor, config: Augment, generator: torch.Generator) -> Tensor:
    """Change each image at random as `config` says: flip, crop, then rotation and shift together.

    Args:
        images: (B, C, H, W), uint8 or float, pixels 0 to 255; not changed.
        config: what may happen to an image; with everything off `images` itself comes back and nothing is drawn.
        generator: where the draws come from; on a CPU it gives the same draws whatever the images' device.

    Returns:
        (B, C, H, W): as `images` after flip and crop alone, float32 after rotation or shift.
    """
    if not (config.flip or config.crop or config.rotate or config.shift):
        return images
    # six numbers in [0, 1) for each image, whatever is on: switching one change on leaves the others' draws alone
    draws = torch.rand(6, len(images), generator=generator, device=generator.device).to(images.device)
    if config.flip:
        images = flip(images, draws[0] < 0.5)
    if config.crop:
        rows, columns = (draws[1:3] * (2 * config.crop + 1)).long().clamp_(max=2 * config.crop)
        images = crop(images, config.crop, rows, columns)
    if config.rotate or config.shift:
        angle, right, down = draws[3:] * 2 - 1
        images = move(images, torch.deg2rad(angle * config.rotate), right * config.shift, down * config.shift)
    return images


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror left to right those images, (B, C, H, W), that `chosen`, (B,) bool, names."""
    count = len(images)
    both = torch.cat([images, images.flip(3)])  # then a row is picked for each image: faster than `where`
    return both.index_select(0, torch.arange(count, device=images.device) + count * chosen)


def crop(images: Tensor, padding: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Pad by `padding` black pixels on each side and cut the original size at (`rows`, `columns`).

    Args:
        images: (B, C, H, W).
        padding: pixels.
        rows: (B,) int64, 0 to 2 * padding: first row of the cut in the padded image.
        columns: (B,) int64, 0 to 2 * padding: its first column.
    """
    count, channels, height, width = images.shape
    padded = pad(images, (padding, padding, padding, padding))
    tall, wide = padded.shape[2:]
    # every run of `width` pixels in the flat memory of the batch is a candidate; each row of the result is one of them
    runs = padded.flatten().unfold(0, width, 1)
    planes = torch.arange(count * channels, device=images.device).view(count, channels, 1) * (tall * wide)
    lines = (rows[:, None] + torch.arange(height, device=images.device)) * wide + columns[:, None]
    return runs.index_select(0, (planes + lines[:, None]).flatten()).view_as(images)


def move(images: Tensor, radians: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Rotate about the center and shift, reading between pixels bilinearly and repeating the edge pixels outside.

    Pixel (x, y) of the result, counted from the center, is read where rotating it and then adding the shift leads.

    Args:
        images: (B, C, H, W).
        radians: (B,), angle of the rotation.
        right: (B,), share of the width.
        down: (B,), share of the height.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device) * 2 + 1) / width - 1  # pixel centers, the image being [-1, 1]
    y = (torch.arange(height, device=images.device) * 2 + 1) / height - 1
    cos, sin = torch.cos(radians)[:, None], torch.sin(radians)[:, None]
    # what affine_grid computes, seven times as fast: a sum of one term for the column and one for the row
    grid = torch.empty(len(images), height, width, 2, device=images.device)
    torch.add((cos * x)[:, None], (2 * right[:, None] - sin * y * (height / width))[:, :, None], out=grid[..., 0])
    torch.add((sin * x * (width / height))[:, None], (2 * down[:, None] + cos * y)[:, :, None], out=grid[..., 1])
    return grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
