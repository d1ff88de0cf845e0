"""Digits of scikit-learn: 1,797 images of 8x8 pixels, which need no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tuner.data.dataset import Decoded, Part
from tuner.data.decoding import resized
from tuner.errors import DataError


def file() -> Path:
    """Return the file inside scikit-learn, without importing it, which takes seconds.

    Raises:
        DataError: scikit-learn is not installed, or has moved the digits.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits: scikit-learn, which carries these images, is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"digits: this version of scikit-learn has no {path}")
    return path


def read(image_size: int | None) -> Decoded:
    """Read all images as training images, scaled from 0..16 to 0..255."""
    table = np.loadtxt(file(), delimiter=",")
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    train = Part(images, table[:, 64].astype(np.int64))
    return resized(Decoded(tuple("0123456789"), train, None), image_size)
