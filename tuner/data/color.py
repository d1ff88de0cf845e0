"""Changes of colour with one strength per image, for a whole batch at once.

Images are (N, C, H, W) uint8, gray or RGB, and so is every result. Strengths are (N,) float32.
Values are computed and rounded as torchvision does for one image.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_LUMA = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in gray."""


def brighten(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply every pixel by its image's factor."""
    return _to_bytes(images.float().mul_(_each(factors)))


def saturate(images: Tensor, factors: Tensor) -> Tensor:
    """Move colours away from gray by a factor, 0 giving gray images.

    Gray images stay as they are.
    """
    return images if images.shape[1] == 1 else _blend(images.float(), _gray(images), factors)


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Move pixels away from the image's mean gray by a factor."""
    return _blend(images.float(), _gray(images).mean((1, 2, 3), keepdim=True), factors)


def sharpen(images: Tensor, factors: Tensor) -> Tensor:
    """Move pixels away from a smoothed copy by a factor.

    Pixels on the edge of an image stay as they are.
    """
    if min(images.shape[2:]) < 3:
        return images
    pixels, channels = images.float(), images.shape[1]
    kernel = torch.full((3, 3), 1 / 13, device=images.device)
    kernel[1, 1] = 5 / 13
    smooth = conv2d(pixels, kernel.expand(channels, 1, 3, 3), groups=channels).round_()
    inner = pixels[..., 1:-1, 1:-1]
    inner.add_(smooth.sub_(inner).mul_(1 - _each(factors)))
    return _to_bytes(pixels)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keep only the highest bits of every pixel.

    `bits` is the number of bits to keep in each image, (N,) from 0 to 8.
    """
    masks = 256 - 2 ** (8 - bits.long())
    return images.bitwise_and(_each(masks.to(torch.uint8)))


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Invert pixels at or above their image's threshold, 0 to 255."""
    return torch.where(images >= _each(thresholds), 255 - images, images)


def stretch(images: Tensor) -> Tensor:
    """Stretch the pixels of each channel to 0 to 255.

    A channel of one value stays as it is.
    """
    pixels = images.float()
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    is_flat = low == high
    scale = ((high - low) * (1 / 255)).masked_fill_(is_flat, 1.0)
    return _to_bytes(pixels.sub_(low.masked_fill_(is_flat, 0.0)).div_(scale))


def equalize(images: Tensor) -> Tensor:
    """Spread the pixels of each channel evenly over 0 to 255.

    It is torchvision's function, which takes whole batches.
    """
    from torchvision.transforms.v2.functional import equalize_image  # because it takes a second

    result: Tensor = equalize_image(images)
    return result


def jitter(images: Tensor, brightness: Tensor, contrasts: Tensor, saturation: Tensor) -> Tensor:
    """Change brightness, contrast and saturation, in this order, by factors."""
    return saturate(contrast(brighten(images, brightness), contrasts), saturation)


def _each(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _gray(images: Tensor) -> Tensor:
    """Return (N, 1, H, W) float32, rounded down as torchvision does."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.unbind(1)
    return red.mul(_LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2]).floor_()[:, None]


def _blend(pixels: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """Blend two batches of images by one factor per image.

    Factor 0 gives `other` and factor 1 gives `pixels`. Factors above 1 extrapolate.
    """
    return _to_bytes(pixels.mul_(_each(factors)).add_(other * (1 - _each(factors))))


def _to_bytes(pixels: Tensor) -> Tensor:
    return pixels.clamp_(0, 255).to(torch.uint8)
