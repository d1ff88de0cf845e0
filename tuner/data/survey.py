"""Survey of a data set: sizes, modes, broken files, split and copies."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tuner.config.dataset import DatasetConfig
from tuner.data.cache import find_source, load
from tuner.data.dataset import Dataset
from tuner.data.decoding import decode, header
from tuner.data.duplicates import Copies, exact_copies, near_copies
from tuner.data.splits import Split, split
from tuner.errors import DataError

COMPARED_SIDE = 64
"""Side in pixels at which images of several sizes are compared."""


@dataclass
class Files:
    """Image files as they are stored.

    Attributes:
        sizes: Files by width and height.
        modes: Files by mode: RGB, L.
        formats: Files by format: PNG, JPEG.
        broken: A line for each file that is refused.
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    formats: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Survey:
    """Contents of a data set.

    Attributes:
        path: Path or name.
        files: Image files as they are stored, empty for arrays.
        dataset: The decoded images, unless a file is broken.
        parts: Their split, unless a file is broken.
        exact: Equal images, within and across parts.
        near: Images that look alike, within and across parts.
        notes: Lines on what a study would refuse, and on how images were compared.
    """

    path: str
    files: Files
    dataset: Dataset | None
    parts: Split | None
    exact: list[Copies]
    near: list[Copies]
    notes: list[str]


def survey(config: DatasetConfig, root: Path | None = None) -> Survey:
    """Look through a data set.

    Images are decoded into the cache, as a study does.

    Args:
        config: The data set and its split.
        root: Folder in which data sets are searched first, as in `tuner.data.load`.

    Raises:
        DataError: The data set is missing, or its layout is refused.
    """
    source = find_source(config, root)
    files = read_headers(source.images() if source.images else ())
    if files.broken:
        return Survey(source.path, files, None, None, [], [], [])
    notes: list[str] = []
    is_one_square = len(files.sizes) == 1 and all(width == height for width, height in files.sizes)
    if files.sizes and config.size is None and not is_one_square:
        config = config.model_copy(update={"image_size": COMPARED_SIDE})
        notes.append(f"compared at {COMPARED_SIDE}x{COMPARED_SIDE} pixels; a study needs dataset.image_size")
    try:
        dataset = load(config, root)
    except DataError:
        files.broken = list_broken(source.images() if source.images else ())
        if not files.broken:
            raise
        return Survey(source.path, files, None, None, [], [], [])
    if dataset.own_validation:
        notes.append("the validation images are those that the data set sets apart")
    parts = _parts(dataset, config, notes)
    if config.folds > 1 and len(parts.validation):
        notes.append(f"the validation images are the first of {config.folds} folds")
    return Survey(source.path, files, dataset, parts, exact_copies(dataset, parts), near_copies(dataset, parts), notes)


def read_headers(images: Iterable[tuple[str, bytes | Path]]) -> Files:
    """Count sizes, modes and formats without decoding pixels."""
    files = Files()

    def count(image: bytes | Path, name: str) -> None:
        size, mode, kind = header(image, name)
        files.sizes[size] += 1
        files.modes[mode] += 1
        files.formats[kind] += 1

    files.broken = _refusals(images, count)
    return files


def list_broken(images: Iterable[tuple[str, bytes | Path]]) -> list[str]:
    """Decode each image, and return a line for each that is refused."""
    return _refusals(images, lambda image, name: decode(image, name, None))


def _refusals(images: Iterable[tuple[str, bytes | Path]], read: Callable[[bytes | Path, str], object]) -> list[str]:
    refused = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # because they name no file
        for name, image in images:
            try:
                read(image, name)
            except DataError as error:
                refused.append(str(error))
    return refused


def _parts(dataset: Dataset, config: DatasetConfig, notes: list[str]) -> Split:
    """Return the split, or all training images where it is refused."""
    try:
        return split(dataset, config)
    except DataError as error:
        notes.append(f"no validation images drawn: {error}")
        return Split(np.arange(len(dataset.train_labels)), np.arange(0))
