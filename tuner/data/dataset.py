"""Decoded data sets on disk: four memory-mapped arrays and a page of JSON."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tuner.data import progress
from tuner.data.collecting import chunks
from tuner.errors import DataError, first_line

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
GROUPS_FILE = "train_groups.npy"
NAMES_FILE = "names.json"


class Part(NamedTuple):
    """Images (N, C, H, W) uint8 of one part, and their labels.

    Labels are (N,) int64.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


Names = tuple[Sequence[str], Sequence[str]]
"""Names of training and test images, empty if they have none."""


class Groups(NamedTuple):
    """Groups of the training images: patients, sites or videos.

    Image i is of the group `names[of_train[i]]`.
    """

    names: tuple[str, ...]
    of_train: NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """A data set in memory.

    `test` is None if the source has no test images. The last `own_validation` images of `train` are
    those that the source sets apart for validation. `names` are those of `train` and `test`, where
    they have any.
    """

    classes: tuple[str, ...]
    train: Part
    test: Part | None
    names: Names = ((), ())
    own_validation: int = 0


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set whose arrays are read-only memory maps.

    It is pickled as its folder's path.

    Attributes:
        name: Name of the data set, or the last part of its path.
        classes: Class names. Label i is `classes[i]`.
        train_images: (N, C, H, W) uint8. C is 1 (gray) or 3 (RGB), and H equals W.
        train_labels: (N,) int64, 0 to len(classes) - 1.
        test_images: (N, C, H, W) uint8, of the same C, H and W.
        test_labels: (N,) int64, 0 to len(classes) - 1.
        fingerprint: Hash of the source's contents and decoding, 32 hexadecimal digits.
        folder: The cache entry.
        groups: Groups of the training images, if the configuration names them.
        own_validation: Number of the last training images that the data set itself sets apart for
            validation.
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    fingerprint: str
    folder: Path
    groups: Groups | None = None
    own_validation: int = 0

    @property
    def in_channels(self) -> int:
        """Number of channels: 1 for gray images, 3 for RGB."""
        return int(self.train_images.shape[1])

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.train_images.shape[2])

    @cached_property
    def names(self) -> Names:
        """Names of the images, as far as their source has them.

        Entries of earlier versions have none.
        """
        try:
            train, test = json.loads((self.folder / NAMES_FILE).read_text())
        except (OSError, ValueError):
            return (), ()
        return train, test

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the cache entry `folder` into memory, in milliseconds for any size.

        Raises:
            DataError: `folder` is not a cache entry, or is damaged.
        """
        try:
            about = json.loads((folder / "dataset.json").read_text())
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            groups = Groups(tuple(about["groups"]), np.load(folder / GROUPS_FILE)) if "groups" in about else None
            named = {"fingerprint": about["fingerprint"], "folder": folder, "groups": groups}
            own_validation = about.get("own_validation", 0)
            return cls(about["name"], tuple(about["classes"]), **arrays, **named, own_validation=own_validation)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder}: no intact cache entry ({reason(error)}); delete it to decode again") from error

    def __reduce__(self) -> tuple[Callable[[Path], "Dataset"], tuple[Path]]:
        return type(self).open, (self.folder,)


def write(
    folder: Path,
    name: str,
    fingerprint: str,
    classes: tuple[str, ...],
    train: Part,
    test: Part,
    groups: Groups | None = None,
    names: Names = ((), ()),
    own_validation: int = 0,
) -> None:
    """Write the new cache entry `folder` and wait for the disk."""
    folder.mkdir(parents=True)
    contents: tuple[NDArray[Any], ...] = (*train, *test)
    arrays = {f"{file}.npy": array for file, array in zip(ARRAYS, contents, strict=True)}
    about: dict[str, Any] = {"name": name, "classes": classes, "fingerprint": fingerprint}
    if groups is not None:
        arrays[GROUPS_FILE] = groups.of_train
        about["groups"] = groups.names
    if own_validation:
        about["own_validation"] = own_validation
    for file, array in arrays.items():
        progress.report()
        with (folder / file).open("wb") as stream:
            _save(stream, array)
            _sync(stream)
    for file, content in (("dataset.json", about), (NAMES_FILE, names)):
        with (folder / file).open("w") as stream:
            json.dump(content, stream)
            _sync(stream)


def _save(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array as `np.save` does, without a copy of the whole."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in chunks(array):
        stream.write(np.ascontiguousarray(array[part]).data)


def reason(error: Exception) -> str:
    """Return the first line of a library's error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error).rstrip(":. ")


def _sync(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())
