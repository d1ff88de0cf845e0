"""Groups of images that stay together in a split: patients, sites or videos."""

import csv
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.data import progress
from tuner.data.dataset import Groups, reason
from tuner.errors import DataError, shorten, suggest

COLUMNS = ("image", "group")
PLACE = "dataset.validation.groups"
STARTS = 16
"""Random orders of groups to try, fewer if there are many groups."""
MOST_VISITS = 5_000
"""Groups to order in all starts together, because large numbers need no second start."""
MOST_SWEEPS = 5
MISSING = 1e6
"""Cost of a class that one half lacks."""


def read_csv(path: Path, images: Collection[str]) -> dict[str, str]:
    """Read the group of each image from a CSV file.

    Args:
        path: A file with the columns `image` and `group`. It may have further columns.
        images: Names of all images, relative to their folder: `train/cat/1.png`.

    Raises:
        DataError: The file is unreadable, misses images or names others.
    """
    known = {unicodedata.normalize("NFC", name): name for name in images}
    groups: dict[str, str] = {}
    for line, image, group in _rows(path):
        if (name := known.get(unicodedata.normalize("NFC", image))) is None:
            more = suggest(image, known) if len(known) < 1000 else f"allowed: {_example(known)}"
            raise DataError(f"{path}: line {line}: no image '{shorten(image)}'; {shorten(more, 200)}")
        if groups.setdefault(name, group) != group:
            found = f"'{shorten(groups[name])}' and '{shorten(group)}'"
            raise DataError(f"{path}: line {line}: {image} is of the groups {found}; allowed: one group")
    if missing := [name for name in images if name not in groups]:
        raise DataError(
            f"{path}: no group of {len(missing):,} of {len(images):,} images (such as {missing[0]});"
            " allowed: a line for each image"
        )
    return groups


def _example(known: Mapping[str, str]) -> str:
    return f"paths below the folder of images, as {next(iter(known))}"


def _rows(path: Path) -> Iterable[tuple[int, str, str]]:
    """Yield line number, image and group of each row."""
    progress.report(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            if absent := [column for column in COLUMNS if column not in header]:
                found = shorten(", ".join(header)) or "an empty file"
                raise DataError(f"{path}: no column '{absent[0]}' (found: {found}); allowed: a header image,group")
            for row in reader:
                image, group = row["image"], (row["group"] or "").strip()
                if not image or not group:
                    raise DataError(f"{path}: line {reader.line_num}: no {'group' if image else 'image'}")
                yield reader.line_num, image, group
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no text in UTF-8; save the file as CSV in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: no readable CSV file ({reason(error)})") from error


def number(train: Sequence[str], test: Sequence[str]) -> Groups:
    """Number the groups of the training images by name.

    Raises:
        DataError: There is one group only, or a group has training and test images.
    """
    names, of_train = np.unique(np.asarray(train, dtype=object).astype(str), return_inverse=True)
    if both := sorted({*train} & {*test}):
        noun = "group stands" if len(both) == 1 else "groups stand"
        raise DataError(
            f"{PLACE}: {len(both):,} {noun} among training and test images ('{shorten(both[0])}'); allowed: each group"
            " among one of them"
        )
    if len(names) == 1:
        raise DataError(f"{PLACE}: one group ('{shorten(str(names[0]))}'); allowed: two or more")
    return Groups(tuple(map(str, names)), of_train.astype(np.int64))


def grouped_sample(
    labels: NDArray[np.int64], classes: int, groups: NDArray[np.int64], share: float, seed: int
) -> NDArray[np.int64]:
    """Choose sorted positions of whole groups, near a share of each class.

    From several random orders, groups are moved while that brings the shares nearer. A class
    that stands in one group only is on one side.
    """
    return np.flatnonzero(
        deal_groups(groups, seed, lambda numbered, order: _improved(labels, classes, numbered, share, order))
    )


def deal_groups(groups: NDArray[np.int64], seed: int, deal: Callable[..., tuple[float, NDArray[Any]]]) -> NDArray[Any]:
    """Deal whole groups from several random orders.

    Args:
        groups: (N,) the group of each image.
        seed: Seed of the orders.
        deal: Given each image's group, numbered from 0, and an order of the groups. Returns cost and
            the place of each group.

    Returns:
        (N,) the place of each image, for the least cost.
    """
    _, groups = np.unique(groups, return_inverse=True)
    draw = np.random.RandomState(seed % 2**32)  # because only RandomState is guaranteed never to change
    count = int(groups.max()) + 1
    starts = max(1, min(STARTS, MOST_VISITS // count))
    tries = [deal(groups, draw.permutation(count)) for _ in range(starts)]
    _, places = min(tries, key=lambda found: found[0])
    return places[groups]


def _improved(
    labels: NDArray[np.int64], classes: int, groups: NDArray[np.int64], share: float, order: NDArray[np.int64]
) -> tuple[float, NDArray[np.bool_]]:
    """Hold out groups or take them back while the cost falls.

    Returns:
        The cost, and True for each group that is held out.
    """
    sizes = np.bincount(labels, minlength=classes)
    cells, counts = np.unique(groups * classes + labels, return_counts=True)
    label, ends = cells % classes, np.searchsorted(cells, np.arange(len(order) + 1) * classes)
    taken, held = np.zeros(classes, np.int64), np.zeros(len(order), bool)

    def cost(amount: NDArray[np.int64], of: NDArray[np.int64]) -> float:
        lacks = (amount == 0) | (amount == sizes[of])
        return float((np.square(amount / sizes[of] - share) + MISSING * lacks).sum())

    for _ in range(MOST_SWEEPS):
        before = held.copy()
        for group in order:
            cell = slice(ends[group], ends[group + 1])
            changed = taken[label[cell]] + (-counts[cell] if held[group] else counts[cell])
            if cost(changed, label[cell]) < cost(taken[label[cell]], label[cell]) - 1e-12:
                taken[label[cell]], held[group] = changed, not held[group]
        if np.array_equal(before, held):
            break
    present = np.flatnonzero(sizes)
    return cost(taken[present], present), held
