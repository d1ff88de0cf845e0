"""Decoding of image files to uint8 arrays of one size and number of channels."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tuner.data import progress
from tuner.data.collecting import Collector, Pixels, new_array
from tuner.data.dataset import Decoded, Part, reason
from tuner.errors import DataError, printable

FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000"),
    *("TGA", "ICO", "ICNS", "PCX", "QOI", "SGI", "DDS", "XBM"),
)
"""Pillow's formats that are read. Others hold no pixels or need another program."""
SUFFIXES = frozenset(
    [
        *(".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".icns", ".ico", ".j2k", ".jfif"),
        *(".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm"),
        *(".ppm", ".qoi", ".sgi", ".tga", ".tif", ".tiff", ".webp", ".xbm"),
    ]
)
"""Endings of the names of image files, in lower case."""
ANIMATED = {"GIF", "PNG", "WEBP", "AVIF", "TIFF"}
"""Formats whose further frames or pages are images too."""
GRAY = {"1", "L", "LA", "La"}
COLOR = {"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"}
ORIENTED = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
"""Keys of Pillow's `info` that may hold an orientation."""
DEEP = re.compile(r";16[BLNS]\b")
"""Raw mode of Pillow with 16 bits per channel, as in `RGB;16B`."""
LEAST_DEEP = 64
"""Brightest level of 255 below which an image of 16 bits is refused."""


class Picture(NamedTuple):
    """Decoded pixels, (H, W) or (H, W, 3), of the first frame.

    `first_of_several` is True if the file holds further frames.
    """

    pixels: Pixels
    first_of_several: bool


def decode_all(files: Iterable[tuple[bytes | Path, str]], image_size: int | None) -> Pixels:
    """Decode image files and stack them to (N, C, H, W).

    C is 1 if all images are gray, else 3. A warning counts files of several frames.

    Args:
        files: Encoded images, or the files that hold them, each with its name in an error.
        image_size: Pixels to resize both sides to (bilinear); None keeps the size.

    Raises:
        DataError: An image is refused by `decode`, or two images differ in size.
    """
    several: list[str] = []

    def decoded() -> Iterator[tuple[Pixels, str]]:
        for image, origin in files:
            picture = decode(image, origin, image_size)
            if picture.first_of_several:
                several.append(origin)
            yield picture.pixels, origin

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # because they name no file
        stacked = stack(decoded())
    if several:
        count = f"number of such files: {len(several):,}"
        progress.warn_once(printable(f"{several[0]}: the first of several frames or pages is used; {count}"))
    return stacked


def decode(image: bytes | Path, origin: str, image_size: int | None) -> Picture:
    """Decode an image file to gray or RGB, as viewers show it.

    An orientation in its metadata is applied. Transparent pixels are laid on white.

    Args:
        image: An encoded image, or the file that holds it.
        origin: The image's name in an error.
        image_size: Pixels to resize both sides to (bilinear); None keeps the size.

    Raises:
        DataError: The image is broken, of no known format, or not to be shown in 8 bits.
    """
    progress.report(origin)
    try:
        file = image if isinstance(image, Path) else io.BytesIO(image)
        with Image.open(file, formats=_formats()) as opened:
            pixels = to_pixels(opened, origin, image_size)
            several = opened.format in ANIMATED and getattr(opened, "is_animated", False)
            return Picture(pixels, several)
    except DataError:
        raise
    except Exception as error:  # because a broken file leads decoders to errors of any type
        raise DataError(f"{origin}: no readable image ({_reason(image, error)})") from error


def to_pixels(image: Image.Image, origin: str, image_size: int | None) -> Pixels:
    """Return the pixels of an opened image, upright and on white.

    Returns:
        (H, W) if gray, (H, W, 3) if RGB.

    Raises:
        DataError: The image is not to be shown in 8 bits.
    """
    shown = _shown(image, origin)
    if image_size is not None and shown.size != (image_size, image_size):
        shown = shown.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(shown)


def header(image: bytes | Path, origin: str) -> tuple[tuple[int, int], str, str]:
    """Return the stored size, mode and format of an image file.

    Raises:
        DataError: The file is no image of a known format.
    """
    progress.report(origin)
    try:
        with Image.open(image if isinstance(image, Path) else io.BytesIO(image), formats=_formats()) as opened:
            return opened.size, opened.mode, opened.format or ""
    except Exception as error:  # because a broken file leads decoders to errors of any type
        raise DataError(f"{origin}: no readable image ({_reason(image, error)})") from error


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _shown(opened: Image.Image, origin: str) -> Image.Image:
    """Return an opened image upright, opaque, and of mode L or RGB."""
    tile = getattr(opened, "tile", None)
    raw_mode = str(tile[0][3]) if tile else ""
    opened.load()
    if not ORIENTED.isdisjoint(opened.info):
        ImageOps.exif_transpose(opened, in_place=True)
    if opened.mode.startswith("I;16") or (opened.mode == "I" and opened.format == "PPM"):
        return _from_16_bits(opened, origin)
    if opened.mode not in GRAY | COLOR:
        raise DataError(f"{origin}: pixels of mode '{opened.mode}'; allowed: gray or color of 8 or 16 bits")
    mode = "L" if opened.mode in GRAY else "RGB"
    if DEEP.search(raw_mode):
        _check_levels(_highest(opened) * 257, origin)
    lacks_palette = opened.mode == "P" and opened.palette is None  # as Pillow leaves icons of ICNS
    if lacks_palette or opened.has_transparency_data:
        _scale_key(opened, raw_mode, origin)
        return _on_white(opened, mode, origin)
    return opened if opened.mode == mode else opened.convert(mode)


def _highest(opened: Image.Image) -> int:
    """Return the brightest 8-bit level of any channel but alpha."""
    bands = opened.split()[:-1] if opened.mode in ("LA", "RGBA") else opened.split()
    return max(int(band.getextrema()[1]) for band in bands)  # type: ignore[arg-type]


def _from_16_bits(opened: Image.Image, origin: str) -> Image.Image:
    """Return the upper 8 of the 16 bits of a gray image."""
    levels = np.asarray(opened).astype(np.int64)
    tags = getattr(opened, "tag_v2", {})
    if tags.get(262) == 0:  # because Pillow leaves TIFF's 'white is zero' as it is
        levels = 65535 - levels
    if "transparency" in opened.info:
        levels[levels == opened.info["transparency"]] = 65535
    if levels.any():
        _check_levels(int(levels.max()), origin)
    return Image.fromarray((levels >> 8).astype(np.uint8))


def _check_levels(highest: int, origin: str) -> None:
    """Refuse an image of 16 bits that 8 bits cannot hold.

    Its values end so low that too few levels would remain.
    """
    if highest >> 8 < LEAST_DEEP:
        raise DataError(
            f"{origin}: values of 16 bits that end at about {highest}, of which {(highest >> 8) + 1} levels of 256"
            " would remain; allowed: values that reach 16384 of 65535; rescale the images"
        )


def _on_white(opened: Image.Image, mode: str, origin: str) -> Image.Image:
    """Lay an image with transparency on white, as viewers do."""
    picture = opened.convert("RGBA")
    alpha = picture.getchannel("A").getextrema()
    if alpha == (255, 255):
        return opened.convert(mode)
    shown = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    levels = shown.getextrema()
    if alpha[0] != alpha[1] and all(low == high for low, high in levels):  # type: ignore[misc]
        raise DataError(
            f"{origin}: white on transparent, which does not show on white; lay the images on a background first"
        )
    return shown.convert(mode)


def _scale_key(opened: Image.Image, raw_mode: str, origin: str) -> None:
    """Scale the transparent level of a PNG to 8 bits.

    This is necessary because Pillow scales only the pixels.
    """
    key = opened.info.get("transparency")
    if isinstance(key, int) and raw_mode in ("L;2", "L;4"):
        opened.info["transparency"] = key * (85 if raw_mode == "L;2" else 17)
    if isinstance(key, tuple) and DEEP.search(raw_mode):
        raise DataError(f"{origin}: a transparent color of 16 bits; allowed: an alpha channel, or 8 bits")


def _reason(image: bytes | Path, error: Exception) -> str:
    """Return why an image cannot be read.

    Pillow's own text is not used, because it has a memory address.
    """
    if not isinstance(error, UnidentifiedImageError):
        return reason(error)
    content = image.read_bytes() if isinstance(image, Path) else image
    if content.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; `git lfs pull` fetches the image"
    return "broken, or of no known format" if content else "it is empty"


def stack(named: Iterable[tuple[Pixels, str]]) -> Pixels:
    """Stack decoded images with their names to (N, C, H, W).

    C is 1 if all images are gray, else 3.

    Raises:
        DataError: Two images differ in size. Both are named.
    """
    size: tuple[int, ...] = ()
    first = ""
    with Collector() as collector:
        for picture, origin in named:
            size, first = size or picture.shape[:2], first or origin
            if picture.shape[:2] != size:
                found, expected = (f"{width}x{height}" for height, width in (picture.shape[:2], size))
                raise DataError(
                    f"{origin}: {found} pixels, but {first} has {expected}; dataset.image_size resizes all to one size"
                )
            collector.add(picture)
        return collector.stacked()


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
    small = new_array((len(planes), *size))
    for i, plane in enumerate(planes):
        progress.report()
        small[i] = np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR))
    return Part(small.reshape(*part.images.shape[:2], *size), part.labels)
