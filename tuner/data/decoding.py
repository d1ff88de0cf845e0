"""Decoding of image files to uint8 arrays of one size and number of channels."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.data import progress
from tuner.data.dataset import Decoded, Part, reason
from tuner.errors import DataError

Pixels = NDArray[np.uint8]

GRAY = {"1", "L", "LA"}
COLOR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}


def decode(image: bytes | Path, origin: str, image_size: int | None) -> Pixels:
    """Decode an image file to (H, W), gray, or (H, W, 3), RGB.

    Transparency is dropped.

    Args:
        image: An encoded image, or the file that holds it.
        origin: The image's name in an error.
        image_size: Pixels to resize both sides to (bilinear); None keeps the size.

    Raises:
        DataError: The image is truncated, of no known format, or deeper than 8 bits.
    """
    progress.report()
    try:
        with Image.open(image if isinstance(image, Path) else io.BytesIO(image)) as opened:
            if opened.mode not in GRAY | COLOR:
                raise DataError(f"{origin}: pixels of mode '{opened.mode}'; allowed: 8-bit gray or color")
            mode = "L" if opened.mode in GRAY else "RGB"
            picture = opened if opened.mode == mode else opened.convert(mode)
            if image_size is not None and picture.size != (image_size, image_size):
                picture = picture.resize((image_size, image_size), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{origin}: no readable image ({reason(error)})") from error


def stack(pictures: list[Pixels], origins: Sequence[str]) -> Pixels:
    """Stack decoded images to (N, C, H, W) and empty `pictures`.

    C is 1 if all images are gray, else 3.

    Raises:
        DataError: Two images differ in size. Both are named.
    """
    height, width = pictures[0].shape[:2]
    channels = 3 if any(picture.ndim == 3 for picture in pictures) else 1
    stacked = np.empty((len(pictures), channels, height, width), np.uint8)
    for i, origin in enumerate(origins):
        picture, pictures[i] = pictures[i], pictures[0][:0]  # because no image should be held twice
        if picture.shape[:2] != (height, width):
            found, first = f"{picture.shape[1]}x{picture.shape[0]}", f"{width}x{height}"
            raise DataError(
                f"{origin}: {found} pixels, but {origins[0]} has {first}; dataset.image_size resizes all to one size"
            )
        stacked[i] = picture if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return stacked


def resized(decoded: Decoded, image_size: int | None) -> Decoded:
    """Resize every image to `image_size` pixels, bilinearly.

    None keeps the size.
    """
    if image_size is None or decoded.train.images.shape[2:] == (image_size, image_size):
        return decoded
    return Decoded(
        decoded.classes,
        _resized(decoded.train, image_size),
        None if decoded.test is None else _resized(decoded.test, image_size),
    )


def _resized(part: Part, image_size: int) -> Part:
    planes = part.images.reshape(-1, *part.images.shape[2:])
    size = (image_size, image_size)
    small = np.empty((len(planes), *size), np.uint8)
    for i, plane in enumerate(planes):
        progress.report()
        small[i] = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    return Part(small.reshape(*part.images.shape[:2], *size), part.labels)
