"""MNIST, Fashion-MNIST and CIFAR-10 in torchvision's files, and their download."""

import contextlib
import io
import pickle
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data import progress
from tuner.data.dataset import Decoded, Part, reason
from tuner.data.decoding import resized
from tuner.errors import DataError

CLASSES: Mapping[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}
FOLDERS = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-py"}
IDX_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
CIFAR_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
DOWNLOAD_TIMEOUT = 30.0
"""Seconds to wait for a byte of a download, because torchvision sets no limit."""


def layout(name: str, base: Path) -> dict[str, Path]:
    """Return the files of a data set, if `base` has its folder.

    Raises:
        DataError: Some of the files are missing.
    """
    folder = base / FOLDERS[name]
    if not folder.is_dir():
        return {}
    files = {file: folder / file for file in (CIFAR_FILES if name == "cifar10" else IDX_FILES)}
    for path in files.values():
        if not path.is_file():
            raise DataError(f"{path}: missing; {folder} must hold {', '.join(files)}")
    return files


def read(name: str, files: Mapping[str, Path], image_size: int | None) -> Decoded:
    """Read the files of `layout`.

    Raises:
        DataError: A file is truncated or of another kind than its name.
    """
    if name == "cifar10":
        *train, test = (_read_batch(files[file]) for file in CIFAR_FILES)
        joined = Part(np.concatenate([part.images for part in train]), np.concatenate([part.labels for part in train]))
        return resized(Decoded(CLASSES[name], joined, test), image_size)
    train_images, train_labels, test_images, test_labels = (files[file] for file in IDX_FILES)
    return resized(
        Decoded(
            CLASSES[name],
            _read_idx_pair(name, train_images, train_labels),
            _read_idx_pair(name, test_images, test_labels),
        ),
        image_size,
    )


def download(name: str, downloads: Path, searched: list[Path]) -> None:
    """Download a data set with torchvision, in one process at a time.

    Raises:
        DataError: The download failed. The error tells where the files may be put instead.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    folder = Path(FOLDERS[name]).parts[0]
    with progress.locked(downloads / f".{folder}.lock"):
        if (downloads / folder).exists():
            return
        unfinished = downloads / f".{folder}.download"
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a killed download
        try:
            _download(name, unfinished)
            (unfinished / folder).rename(downloads / folder)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{name}: not in {' or '.join(map(str, searched))}, and no download ({reason(error)}); put"
                f" {name}/train.parquet and {name}/test.parquet, or {FOLDERS[name]}/, there (or in --data, TUNER_DATA);"
                " search_spaces/digits.yaml runs without any download"
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _download(name: str, folder: Path) -> None:
    """Download a data set to `folder`, silently, with a timeout."""
    import torchvision.datasets

    timeout_before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        # silently, because it prints each mirror that fails
        with progress.reporting(), contextlib.redirect_stdout(io.StringIO()):
            getattr(torchvision.datasets, TORCHVISION[name])(folder, download=True)
    finally:
        socket.setdefaulttimeout(timeout_before)


def _read_idx_pair(name: str, images: Path, labels: Path) -> Part:
    """Read a file of images and its file of labels."""
    return _checked(name, labels, _read_idx(images, 3)[:, None], _read_idx(labels, 1).astype(np.int64))


def _checked(name: str, path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Part:
    """Check that images and labels belong together. `path` holds the labels."""
    if not len(images) or len(images) != len(labels):
        raise DataError(f"{path}: {len(labels)} labels for {len(images)} images")
    known = len(CLASSES[name])
    for i in np.flatnonzero((labels < 0) | (labels >= known)):
        raise DataError(f"{path}: label {labels[i]} of image {i}; allowed: 0 to {known - 1}")
    return Part(images, labels)


def _read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of uint8 values.

    Its header is two zeros, the type 8 (uint8), the number of dimensions, and each dimension as a
    big-endian int32.
    """
    raw = path.read_bytes()
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: no idx file of bytes in {dimensions} dimensions (it begins with '{raw[:4].hex()}')")
    shape = np.frombuffer(raw, ">i4", dimensions, 4).astype(int)
    if len(raw) != header + shape.prod():
        raise DataError(f"{path}: truncated or too long: {len(raw)} bytes, its header asks for {header + shape.prod()}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _read_batch(path: Path) -> Part:
    """Read one of CIFAR-10's batches, pickled by Python 2.

    It has rows of 3,072 bytes (red, green, blue) and a list of labels.
    """
    try:
        with path.open("rb") as stream:
            batch = _ArraysOnly(stream, encoding="latin1").load()
        images = np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32)
        labels = np.asarray(batch["labels"], np.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(f"{path}: truncated, or no batch of CIFAR-10 ({reason(error)})") from error
    return _checked("cifar10", path, images, labels)


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of NumPy arrays and plain values.

    It refuses everything else, such as code.
    """

    def find_class(self, module: str, name: str) -> Any:
        # Python 2 wrote module names that NumPy has since moved
        allowed = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
        if module.partition(".")[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[name]
