"""Image files → uint8 arrays, one size and one number of channels for a whole data set."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.data.dataset import Decoded, Part, reason
from tuner.errors import DataError

Pixels = NDArray[np.uint8]

GRAY = {"1", "L", "LA"}
COLOR = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}


def decode(image: bytes | Path, place: str, side: int | None) -> Pixels:
    """Decode one image file to (H, W), gray, or (H, W, 3), RGB; transparency is dropped.

    Args:
        image: an encoded image, or the file that holds it.
        place: what an error calls it.
        side: resize to this side, in pixels (bilinear); None keeps the size.

    Raises:
        DataError: the image is truncated, of no known format, or deeper than 8 bits.
    """
    try:
        with Image.open(image if isinstance(image, Path) else io.BytesIO(image)) as opened:
            if opened.mode not in GRAY | COLOR:
                raise DataError(f"{place}: pixels of mode '{opened.mode}'; allowed: 8-bit gray or color")
            mode = "L" if opened.mode in GRAY else "RGB"
            picture = opened if opened.mode == mode else opened.convert(mode)
            if side is not None and picture.size != (side, side):
                picture = picture.resize((side, side), Image.Resampling.BILINEAR)
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DataError(f"{place}: no readable image ({reason(error)})") from error


def stack(pictures: list[Pixels], places: Sequence[str]) -> Pixels:
    """Stack decoded images to (N, C, H, W), emptying `pictures` on the way; C is 1 where all are gray, else 3.

    Raises:
        DataError: two images differ in size, naming both.
    """
    height, width = pictures[0].shape[:2]
    channels = 3 if any(picture.ndim == 3 for picture in pictures) else 1
    stacked = np.empty((len(pictures), channels, height, width), np.uint8)
    for i, place in enumerate(places):
        picture, pictures[i] = pictures[i], pictures[0][:0]  # so that no image is held twice
        if picture.shape[:2] != (height, width):
            found, first = f"{picture.shape[1]}x{picture.shape[0]}", f"{width}x{height}"
            raise DataError(
                f"{place}: {found} pixels, but {places[0]} has {first}; dataset.image_size resizes all to one size"
            )
        stacked[i] = picture if picture.ndim == 2 else picture.transpose(2, 0, 1)
    return stacked


def resized(decoded: Decoded, side: int | None) -> Decoded:
    """Resize every image to `side` pixels (bilinear); None keeps the size."""
    if side is None or decoded.train.images.shape[2:] == (side, side):
        return decoded
    return Decoded(
        decoded.classes,
        _resized(decoded.train, side),
        None if decoded.test is None else _resized(decoded.test, side),
    )


def _resized(part: Part, side: int) -> Part:
    planes = part.images.reshape(-1, *part.images.shape[2:])
    small = [np.asarray(Image.fromarray(p).resize((side, side), Image.Resampling.BILINEAR)) for p in planes]
    return Part(np.stack(small).reshape(*part.images.shape[:2], side, side), part.labels)
