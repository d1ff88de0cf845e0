"""Copies of images, exact and near, within and across the parts of a split."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.data import progress
from tuner.data.dataset import Dataset
from tuner.data.splits import Split
from tuner.errors import shorten

PARTS = ("training", "validation", "test")
NEAR_BITS = 3
"""Most bits of 64 in which the hashes of near copies differ."""
NEAR_CORRELATION = 0.98
"""Least correlation of the gray levels of near copies at 18x16 pixels."""
FLAT_LEVELS = 8.0
"""Deviation of gray levels below which an image is too flat to be compared."""
CHUNK = 1024


@dataclass(frozen=True)
class Copies:
    """Images with copies in one pair of parts.

    Attributes:
        first: A part, such as training.
        second: The same part, or a later one.
        count: Images of the second part that have a copy in the first.
        example: Names of an image of the second part and of its copy, if there is one.
    """

    first: str
    second: str
    count: int
    example: tuple[str, str] | None


@dataclass(frozen=True, eq=False)
class _Pool:
    """All images of a split in a row, with their parts."""

    part: NDArray[np.int64]
    position: NDArray[np.int64]
    dataset: Dataset

    def take(self, train: NDArray[Any], test: NDArray[Any]) -> NDArray[Any]:
        """Select the values of the pool's images, in the pool's order."""
        inside = self.part < PARTS.index("test")
        return np.concatenate([train[self.position[inside]], test[self.position[~inside]]])

    def name(self, index: int) -> str:
        """Name an image by its file, or by its number."""
        is_test, position = self.part[index] == PARTS.index("test"), int(self.position[index])
        names = self.dataset.names[int(is_test)]
        return shorten(names[position]) if names else f"{'test' if is_test else 'training'} image {position}"


def exact_copies(dataset: Dataset, parts: Split) -> list[Copies]:
    """Count images of equal pixels, within and across parts."""
    pool = _pool(dataset, parts)
    hashes = pool.take(*digest_images(dataset))
    _, group = np.unique(hashes, return_inverse=True)
    members = np.zeros((int(group.max()) + 1, len(PARTS)), np.int64)
    np.add.at(members, (group, pool.part), 1)
    flags = members[group]
    flags[np.arange(len(group)), pool.part] -= 1

    def partner(index: int, part: int) -> int:
        same = np.flatnonzero((group == group[index]) & (pool.part == part))
        return int(same[same != index][0])

    found = []
    for first, second in _pairs():
        hits = np.flatnonzero((pool.part == second) & (flags[:, first] > 0))
        pair = (int(hits[0]), partner(int(hits[0]), first)) if len(hits) else None
        found.append(_copies(pool, first, second, len(hits), pair))
    return found


def near_copies(dataset: Dataset, parts: Split) -> list[Copies]:
    """Count unequal images that look alike, within and across parts.

    Hashes of brightness differences (dHash) differ in NEAR_BITS of 64 bits at most, and gray levels
    of small pictures correlate by NEAR_CORRELATION at least. Flat images are left out.
    """
    pool = _pool(dataset, parts)
    exact = pool.take(*digest_images(dataset))
    small = pool.take(_thumbnails(dataset.train_images), _thumbnails(dataset.test_images))
    coarse = small.reshape(-1, 8, 2, 9, 2).sum((2, 4), dtype=np.uint16)
    bits = np.packbits((coarse[:, :, 1:] > coarse[:, :, :-1]).reshape(-1, 64), axis=1).view(np.uint64)[:, 0]
    flags = np.zeros((len(bits), len(PARTS)), bool)
    pairs: dict[tuple[int, int], tuple[int, int]] = {}
    for rows, columns in _alike(bits, small):
        differs = exact[rows] != exact[columns]
        for one, other in ((rows[differs], columns[differs]), (columns[differs], rows[differs])):
            flags[one, pool.part[other]] = True
            for index, copy in zip(one[:CHUNK].tolist(), other[:CHUNK].tolist(), strict=True):
                pairs.setdefault((int(pool.part[copy]), int(pool.part[index])), (index, copy))
    counts = {pair: int(flags[pool.part == pair[1], pair[0]].sum()) for pair in _pairs()}
    return [_copies(pool, *pair, counts[pair], pairs.get(pair)) for pair in _pairs()]


def warn_of_copies(dataset: Dataset, folds: Sequence[Split]) -> None:
    """Warn of equal images across training, validation and test, in one line.

    With folds every image is a validation image once, so that copies in other folds are summed.
    """
    across = [copies for copies in exact_copies(dataset, folds[0]) if copies.first != copies.second]
    for parts in folds[1:]:
        inside = next(each for each in exact_copies(dataset, parts) if _is_of_folds(each))
        across = [_sum(each, inside) if _is_of_folds(each) else each for each in across]
    across = [copies for copies in across if copies.count]
    if across:
        counts = ", ".join(f"{each.count:,} of {each.second} in {each.first}" for each in across)
        assert across[0].example is not None
        image, copy = across[0].example
        progress.warn_once(
            f"{dataset.name}: images with a copy in another part: {counts} ({image} is {copy});"
            " their figures are too good; remove copies, or keep them in one group by dataset.validation.groups"
        )


def _is_of_folds(copies: Copies) -> bool:
    return (copies.first, copies.second) == PARTS[:2]


def _sum(first: Copies, second: Copies) -> Copies:
    return replace(first, count=first.count + second.count, example=first.example or second.example)


def digest_images(dataset: Dataset) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hash the pixels of each training and test image.

    The cache entry keeps the hashes.
    """
    return _digests(dataset, "train", dataset.train_images), _digests(dataset, "test", dataset.test_images)


def _digests(dataset: Dataset, part: str, images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the kept hashes of one part, or make them."""
    file = dataset.folder / f"{part}_hashes.npy"
    with suppress(OSError, ValueError):  # because they are made again
        kept = np.load(file)
        if kept.dtype == np.uint64 and kept.shape == (len(images),):
            return cast("NDArray[np.uint64]", kept)
    digests = np.empty(len(images), np.uint64)
    for i, image in enumerate(images):
        progress.report()
        digests[i] = int.from_bytes(hashlib.blake2b(image.tobytes(), digest_size=8).digest())
    with suppress(OSError):  # because a cache that may not be written is used all the same
        unfinished = file.with_name(f"{file.stem}.{os.getpid()}.npy")
        np.save(unfinished, digests)
        unfinished.replace(file)
    return digests


def _pairs() -> list[tuple[int, int]]:
    """Return the parts within and across which copies are counted."""
    return [*((i, i) for i in range(len(PARTS))), *combinations(range(len(PARTS)), 2)]


def _copies(pool: _Pool, first: int, second: int, count: int, pair: tuple[int, int] | None) -> Copies:
    example = None if pair is None else (pool.name(pair[0]), pool.name(pair[1]))
    return Copies(PARTS[first], PARTS[second], count, example)


def _pool(dataset: Dataset, parts: Split) -> _Pool:
    chosen = (parts.train, parts.validation, np.arange(len(dataset.test_labels)))
    part = np.repeat(np.arange(len(PARTS)), [len(each) for each in chosen])
    return _Pool(part, np.concatenate(chosen), dataset)


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink images to gray thumbnails, (N, 16, 18) uint8."""
    small = np.empty((len(images), 16, 18), np.uint8)
    for i, image in enumerate(images):
        progress.report()
        picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
        small[i] = np.asarray(picture.convert("L").resize((18, 16), Image.Resampling.BILINEAR))
    return small


def _alike(bits: NDArray[np.uint64], small: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Yield positions of images and of their near copies.

    Hashes that differ in NEAR_BITS bits agree in one of NEAR_BITS + 1 bands of 16 bits, so only
    images with an equal band are compared.
    """
    varied = np.flatnonzero([image.std() >= FLAT_LEVELS for image in small])
    for band in range(NEAR_BITS + 1):
        values = bits[varied].view(np.uint16).reshape(-1, 4)[:, band]
        order = varied[np.argsort(values, kind="stable")]
        ends = np.flatnonzero(np.diff(np.sort(values))) + 1
        for bucket in np.split(order, ends):
            progress.report()
            if len(bucket) > 1:
                yield from _compare(bucket, bits, small)


def _compare(
    bucket: NDArray[np.int64], bits: NDArray[np.uint64], small: NDArray[np.uint8]
) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """Yield the near pairs of a bucket.

    Each chunk of images is compared with itself and with all later images.
    """
    for start in range(0, len(bucket), CHUNK):
        rows, columns = bucket[start : start + CHUNK], bucket[start:]
        distance = np.bitwise_count(bits[rows, None] ^ bits[None, columns])
        one, other = np.nonzero(np.triu(distance <= NEAR_BITS, 1))
        for begin in range(0, len(one), 8 * CHUNK):
            first, second = rows[one[begin : begin + 8 * CHUNK]], columns[other[begin : begin + 8 * CHUNK]]
            close = _correlations(small[first], small[second]) >= NEAR_CORRELATION
            yield first[close], second[close]


def _correlations(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the correlation of gray levels of each pair of pictures."""
    one, other = (each.reshape(len(each), -1).astype(np.float32) for each in (first, second))
    one, other = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return cast("NDArray[np.float32]", (one * other).sum(1) / norms)
