"""The 1,797 handwritten digits, 8x8 pixels, that scikit-learn carries: the data set that needs no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tuner.data.dataset import Decoded, Part
from tuner.data.decoding import resized
from tuner.errors import DataError


def file() -> Path:
    """The file inside scikit-learn, found without the seconds that importing scikit-learn takes.

    Raises:
        DataError: scikit-learn is not installed, or no longer keeps the digits there.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits: scikit-learn, which carries these images, is not installed")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError(f"digits: this version of scikit-learn has no {path}")
    return path


def read(side: int | None) -> Decoded:
    """Read all images, scaled from 0..16 to 0..255; there are no test images among them."""
    table = np.loadtxt(file(), delimiter=",")
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    train = Part(images, table[:, 64].astype(np.int64))
    return resized(Decoded(tuple("0123456789"), train, None), side)
