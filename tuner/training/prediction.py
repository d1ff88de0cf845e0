"""Predictions of image files in batches, with bounded memory."""

import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.data import progress
from tuner.data.decoding import decode
from tuner.data.formats.image_folder import find_images
from tuner.errors import DataError, printable
from tuner.training.image_model import About, ImageModel

BATCH = 125
"""Images that are decoded and predicted together."""

Pixels = NDArray[np.uint8]


class Prediction(NamedTuple):
    """Likeliest classes of an image file, with their probabilities.

    `pixels` is (C, H, W).
    """

    file: Path
    classes: tuple[tuple[str, float], ...]
    pixels: Pixels


class Unreadable(NamedTuple):
    """An image file that cannot be predicted, and the reason."""

    file: Path
    reason: str


def list_images(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files, and the images below folders.

    Raises:
        DataError: A path does not exist, or a folder holds no image.
    """
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        count = 0
        for file in find_images(path):
            count += 1
            yield file
        if not count:
            raise DataError(f"{path}: holds no image; allowed: images, and folders of them")


def check_paths(paths: Iterable[Path]) -> None:
    """Raise DataError if a path does not exist."""
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; allowed: images, and folders of them")


def predict_files(model: ImageModel, files: Iterable[Path], top: int) -> Iterator[Prediction | Unreadable]:
    """Predict image files in their order, batch by batch.

    Args:
        model: The model.
        files: Image files.
        top: Number of the likeliest classes to return.
    """
    remaining = iter(files)
    while batch := list(islice(remaining, BATCH)):
        yield from _predict_batch(model, batch, top)


def _predict_batch(model: ImageModel, files: list[Path], top: int) -> Iterator[Prediction | Unreadable]:
    read = [_read(file, model.about) for file in files]
    pixels = [found for found in read if not isinstance(found, Unreadable)]
    if pixels:
        likeliest = model.predict(np.stack(pixels)).topk(min(top, len(model.classes)), dim=1)
        rows = zip(likeliest.indices.tolist(), likeliest.values.tolist(), strict=True)
    for file, found in zip(files, read, strict=True):
        if isinstance(found, Unreadable):
            yield found
            continue
        labels, values = next(rows)
        classes = tuple((model.classes[label], value) for label, value in zip(labels, values, strict=True))
        yield Prediction(file, classes, found)


def _read(file: Path, about: About) -> Pixels | Unreadable:
    """Decode a file for the channels and size of a model."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # because they name no file
            picture = decode(file, str(file), about.image_size if about.resized else None)
        pixels = _fit(picture.pixels, about, str(file))
    except DataError as error:
        return Unreadable(file, str(error))
    if picture.first_of_several:
        progress.warn_once(printable(f"{file}: the first of several frames or pages is used"))
    return pixels


def _fit(pixels: Pixels, about: About, origin: str) -> Pixels:
    """Return pixels (C, H, W) of a model's channels, or raise DataError."""
    height, width = pixels.shape[:2]
    if (height, width) != (about.image_size, about.image_size):
        size = about.image_size
        raise DataError(f"{origin}: {width}x{height} pixels; the model was trained on {size}x{size}, not resized")
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if len(planes) == about.channels:
        return planes
    if about.channels == 1:
        if not (planes == planes[:1]).all():
            raise DataError(f"{origin}: an image of colors; the model was trained on gray images")
        return planes[:1]
    return planes.repeat(3, axis=0)
