"""The images of one split on one device, as tensors; cutting and normalizing batches."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tuner.config.dataset import DatasetConfig
from tuner.data.dataset import Dataset
from tuner.data.splits import Indices, split


@dataclass(frozen=True, eq=False)
class ImageSubset:
    """Some images of a pool, in an order of their own; cutting a batch copies only that batch.

    Attributes:
        pool: (P, C, H, W) uint8; on a CPU the memory-mapped file itself.
        index: (N,) int64, positions in `pool`; None: all of them, in order.
        labels: (N,) int64.
    """

    pool: Tensor
    index: Tensor | None
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All N images, (N, C, H, W) uint8: `pool` itself, or a copy of those that count."""
        return self.pool if self.index is None else self.pool.index_select(0, self.index)

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """The images, (B, C, H, W) uint8, and labels, (B,) int64, at `indices` (int64, of any device) or a slice.

        A slice of a pool without an index is a view of it: not to be written to.
        """
        if isinstance(indices, slice):
            images = self.pool[indices] if self.index is None else self.pool.index_select(0, self.index[indices])
            return images, self.labels[indices]
        indices = indices.to(self.labels.device, non_blocking=True)
        chosen = indices if self.index is None else self.index.index_select(0, indices)
        return self.pool.index_select(0, chosen), self.labels.index_select(0, indices)


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """A data set, split, on one device, and how its pixels reach the network.

    Attributes:
        train: images to train on, before augmentation.
        validation: images to choose by; `test` itself where `validation_is_test`.
        test: images that nothing chooses by.
        config: how the images are split, augmented and normalized.
        classes: class names; label i is `classes[i]`.
        validation_is_test: a published protocol that chooses by the test images is copied.
        scale: (1, C, 1, 1) float32; a pixel reaches the network as `pixel * scale + offset`.
        offset: (1, C, 1, 1) float32.
    """

    train: ImageSubset
    validation: ImageSubset
    test: ImageSubset
    config: DatasetConfig
    classes: tuple[str, ...]
    validation_is_test: bool
    scale: Tensor
    offset: Tensor

    @classmethod
    def open(cls, dataset: Dataset, config: DatasetConfig, device: str | torch.device = "cpu") -> Self:
        """Split `dataset` as `config` says and put it on `device`; on a CPU its memory-mapped pages are shared.

        Raises:
            DataError: the split that `config` asks for is not possible.
        """
        parts = split(dataset, config)
        train_pool, train_labels = _mapped(dataset, "train", device, stop=_end(parts.train, parts.validation))
        test_pool, test_labels = _mapped(dataset, "test", device, stop=len(dataset.test_labels))
        train = _pick(train_pool, train_labels, parts.train)
        test = ImageSubset(test_pool, None, test_labels)
        validation = test if parts.validation_is_test else _pick(train_pool, train_labels, parts.validation)
        scale, offset = (values.to(device) for values in _normalization(config, train))
        return cls(train, validation, test, config, dataset.classes, parts.validation_is_test, scale, offset)

    @property
    def in_channels(self) -> int:
        """1 for gray images, 3 for RGB."""
        return self.train.pool.shape[1]

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return self.train.pool.shape[2]

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.train.pool.device

    def normalize(self, images: Tensor) -> Tensor:
        """Bring pixels 0 to 255, (B, C, H, W) uint8 or float, to what `config.pixels` says: a new float32 tensor."""
        return images.to(torch.float32, copy=True).mul_(self.scale).add_(self.offset)


@lru_cache(maxsize=1)
def device_data(folder: Path, config: DatasetConfig, device: str) -> DeviceDataset:
    """`DeviceDataset.open` for the cache entry `folder`, kept until another is asked for: a worker opens it once.

    Raises:
        DataError: `folder` is no cache entry, or the split that `config` asks for is not possible.
    """
    return DeviceDataset.open(Dataset.open(folder), config, device)


def _mapped(dataset: Dataset, part: str, device: str | torch.device, stop: int) -> tuple[Tensor, Tensor]:
    """The first `stop` images and labels of a part. Mapped copy-on-write, for tensors must be of writable memory."""
    images, labels = (
        torch.from_numpy(np.load(dataset.folder / f"{part}_{kind}.npy", mmap_mode="c")[:stop]).to(device)
        for kind in ("images", "labels")
    )
    return images, labels


def _end(*indices: Indices) -> int:
    return max(int(part.max()) + 1 for part in indices if len(part))


def _pick(pool: Tensor, labels: Tensor, indices: Indices) -> ImageSubset:
    """The images at `indices`, as a view of the pool where they stand in one row."""
    first, stop = int(indices[0]), int(indices[-1]) + 1
    if stop - first == len(indices):
        return ImageSubset(pool[first:stop], None, labels[first:stop])
    index = torch.from_numpy(indices).to(pool.device)
    return ImageSubset(pool, index, labels.index_select(0, index))


def _normalization(config: DatasetConfig, train: ImageSubset) -> tuple[Tensor, Tensor]:
    """Scale and offset, (1, C, 1, 1) float32 each, that make of a pixel (0 to 255) what `config.pixels` says."""
    ones = torch.ones(1, train.pool.shape[1], 1, 1)
    match config.pixels:
        case "raw":
            return ones, 0 * ones
        case "unit":
            return ones / 255, 0 * ones
        case "symmetric":
            return ones / 127.5, -ones
        case "standard":
            mean, deviation = (values.view_as(ones).cpu() for values in _moments(train))
            deviation = torch.where(deviation > 0, deviation, 1.0)  # a channel that is the same everywhere
            return (1 / (255 * deviation)).float(), (-mean / deviation).float()


def _moments(train: ImageSubset) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over all images, (C,) float64, of pixels scaled to [0, 1]."""
    sums = torch.zeros(2, train.pool.shape[1], dtype=torch.float64, device=train.pool.device)
    for start in range(0, len(train), 256):  # few enough to stay in a processor's cache
        planes = train.batch(slice(start, start + 256))[0].flatten(2).float()
        sums += torch.stack([planes.sum(2), planes.square_().sum(2)]).double().sum(1)
    mean, square = sums / (len(train) * train.pool[0, 0].numel())
    return mean / 255, (square - mean.square()).clamp_(min=0).sqrt() / 255
