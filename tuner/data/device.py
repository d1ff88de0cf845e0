"""Images of one split as tensors on one device, cut into batches and normalized."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tuner.config.dataset import DatasetConfig, Normalization
from tuner.config.published import describe_published
from tuner.config.user_models import library_of
from tuner.data import progress
from tuner.data.dataset import Dataset
from tuner.data.splits import Indices, Split, split, split_folds
from tuner.data.streaming import MappedImages, is_larger, read_ahead


@dataclass(frozen=True, eq=False)
class ImageSubset:
    """Some images of a pool, in their own order.

    Cutting a batch copies only that batch.

    Attributes:
        pool: (P, C, H, W) uint8. On a CPU it is the memory-mapped file itself.
        index: (N,) int64, positions in `pool`; None: all of them, in order.
        labels: (N,) int64, on the device that trains.
        mapped: The pool's pages, if it is larger than memory. The pool is on the CPU then.
    """

    pool: Tensor
    index: Tensor | None
    labels: Tensor
    mapped: MappedImages | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All N images, (N, C, H, W) uint8, copied if indexed."""
        return self.pool if self.index is None else self.pool.index_select(0, self.index)

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return images, (B, C, H, W) uint8, and labels, (B,) int64.

        A slice of a pool without an index is a view of it, which must not be written to.

        Args:
            indices: (B,) int64 on any device, or a slice.
        """
        if self.mapped is not None:
            return self._read(indices, self.mapped)
        if isinstance(indices, slice):
            images = self.pool[indices] if self.index is None else self.pool.index_select(0, self.index[indices])
            return images, self.labels[indices]
        indices = indices.to(self.labels.device, non_blocking=True)
        chosen = indices if self.index is None else self.index.index_select(0, indices)
        return self.pool.index_select(0, chosen), self.labels.index_select(0, indices)

    def _read(self, indices: Tensor | slice, mapped: MappedImages) -> tuple[Tensor, Tensor]:
        """Read a batch from the disk to the device of the labels."""
        positions = torch.arange(len(self))[indices] if isinstance(indices, slice) else indices.cpu()
        chosen = positions if self.index is None else self.index.index_select(0, positions)
        mapped.announce(chosen)
        images, device = self.pool.index_select(0, chosen), self.labels.device
        if device.type == "cuda":
            images = images.pin_memory()  # because only pinned memory is moved without waiting
        return images.to(device, non_blocking=True), self.labels.index_select(0, positions.to(device))

    def batches(self, steps: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batch of each step.

        A thread reads ahead if the images are larger than memory.

        Args:
            steps: (B,) int64 each, best on the device of the pool.
        """
        return map(self.batch, steps) if self.mapped is None else read_ahead(self.batch, steps)


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """A split data set on one device, with its pixels' scale.

    Attributes:
        train: Training images, before augmentation.
        validation: Validation images: `test` itself if `validation_is_test`.
        test: Test images.
        config: Split, augmentation and normalization.
        classes: Class names. Label i is `classes[i]`.
        validation_is_test: True for published protocols that validate on the test images.
        scale: (1, C, 1, 1) float32. A pixel reaches the network as `pixel * scale + offset`.
        offset: (1, C, 1, 1) float32.
        validation_positions: (V,) int64, positions of the validation images among the training images.
    """

    train: ImageSubset
    validation: ImageSubset
    test: ImageSubset
    config: DatasetConfig
    classes: tuple[str, ...]
    validation_is_test: bool
    scale: Tensor
    offset: Tensor
    validation_positions: Indices = field(default_factory=lambda: np.arange(0))

    @classmethod
    def open(
        cls, dataset: Dataset, config: DatasetConfig, device: str | torch.device = "cpu", *, joined: bool = False
    ) -> Self:
        """Split `dataset` as `config` says and put it on `device`.

        On a CPU all processes share its memory-mapped pages.

        Args:
            dataset: The images.
            config: Their split and the scale of their pixels.
            device: The device to put them on.
            joined: Train on the validation images too, unless they are the test images.

        Raises:
            DataError: The split is not possible.
        """
        parts = split(dataset, config)
        if joined:
            parts = replace(parts, train=np.union1d(parts.train, parts.validation))
        return cls._open(dataset, config, device, [parts])[0]

    @classmethod
    def open_folds(cls, dataset: Dataset, config: DatasetConfig, device: str | torch.device = "cpu") -> list[Self]:
        """Put `dataset` on `device` once, with a split for each fold.

        Raises:
            DataError: The split is not possible.
        """
        return cls._open(dataset, config, device, split_folds(dataset, config))

    @classmethod
    def _open(
        cls, dataset: Dataset, config: DatasetConfig, device: str | torch.device, splits: Sequence[Split]
    ) -> list[Self]:
        """Open several splits of the same images."""
        first = splits[0]
        own = _mapped(dataset, "train", device, stop=_end(first.train, first.validation))
        test = _mapped(dataset, "test", device, stop=len(dataset.test_labels))
        opened = []
        for parts in splits:
            train = _pick(own, parts.train)
            validation = test if parts.validation_is_test else _pick(own, parts.validation)
            scale, offset = (values.to(device) for values in _normalization(config, train))
            is_test, held_out = parts.validation_is_test, parts.validation
            opened.append(cls(train, validation, test, config, dataset.classes, is_test, scale, offset, held_out))
        return opened

    @property
    def in_channels(self) -> int:
        """Number of channels: 1 for gray images, 3 for RGB."""
        return self.train.pool.shape[1]

    @property
    def image_size(self) -> int:
        """Side of the square images, in pixels."""
        return self.train.pool.shape[2]

    @property
    def device(self) -> torch.device:
        """Device that trains."""
        return self.scale.device

    def scaled_for(self, architecture: str) -> Self:
        """Return these images with pixels scaled for a network.

        The scale changes only if `config.pixels` is `auto`. Networks without published weights
        keep pixels in [0, 1].
        """
        if self.config.pixels != "auto" or library_of(architecture) is None:
            return self
        mean, deviation = describe_published(architecture).moments(self.in_channels)
        scale, offset = (values.to(self.device) for values in _standardization(mean, deviation))
        return replace(self, scale=scale, offset=offset)

    def normalize(self, images: Tensor) -> Tensor:
        """Return new float32 images, scaled as `config.pixels` says.

        Args:
            images: (B, C, H, W) uint8 or float, pixels 0 to 255.
        """
        return normalize(images, self.scale, self.offset)


def normalize(images: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return new float32 images, each pixel as `pixel * scale + offset`.

    Args:
        images: (B, C, H, W) uint8 or float, pixels 0 to 255.
        scale: (1, C, 1, 1) float32.
        offset: (1, C, 1, 1) float32.
    """
    return images.to(torch.float32, copy=True).mul_(scale).add_(offset)


def device_data(folder: Path, config: DatasetConfig, device: str) -> DeviceDataset:
    """Open a cache entry with the split of the first fold.

    The latest entry stays open, as in `device_folds`.

    Raises:
        DataError: As `device_folds`.
    """
    return device_folds(folder, config, device)[0]


@lru_cache(maxsize=1)
def device_folds(folder: Path, config: DatasetConfig, device: str) -> list[DeviceDataset]:
    """Open a cache entry with a split for each fold.

    Only the latest entry stays open for further calls.

    Raises:
        DataError: `folder` is not a cache entry, or the split is not possible.
    """
    return DeviceDataset.open_folds(Dataset.open(folder), config, device)


def _mapped(dataset: Dataset, part: str, device: str | torch.device, stop: int) -> ImageSubset:
    """Map the first `stop` images and labels of a part.

    The labels are put on the device. The images are too, unless the data set is too large. The maps
    are copy-on-write, because tensors need writable memory.
    """
    images, labels = (np.load(dataset.folder / f"{part}_{kind}.npy", mmap_mode="c") for kind in ("images", "labels"))
    size = dataset.train_images.nbytes + dataset.test_images.nbytes
    mapped = MappedImages(images) if is_larger(size, torch.device(device)) else None
    pool = torch.from_numpy(images[:stop])
    return ImageSubset(pool if mapped else pool.to(device), None, torch.from_numpy(labels[:stop]).to(device), mapped)


def _end(*indices: Indices) -> int:
    return max(int(part.max()) + 1 for part in indices if len(part))


def _pick(own: ImageSubset, indices: Indices) -> ImageSubset:
    """Return the images at `indices`.

    The result has no index if the images are consecutive and in memory.
    """
    first, stop = int(indices[0]), int(indices[-1]) + 1
    if stop - first == len(indices) and own.mapped is None:
        return ImageSubset(own.pool[first:stop], None, own.labels[first:stop])
    index = torch.from_numpy(indices).to(own.pool.device)
    return ImageSubset(own.pool, index, own.labels.index_select(0, index.to(own.labels.device)), own.mapped)


def _normalization(config: DatasetConfig, train: ImageSubset) -> tuple[Tensor, Tensor]:
    """Return scale and offset of pixels, (1, C, 1, 1) float32 each."""
    ones = torch.ones(1, train.pool.shape[1], 1, 1)
    match config.pixels:
        case "raw":
            return ones, 0 * ones
        case "unit" | "auto":  # because `scaled_for` knows the network
            return ones / 255, 0 * ones
        case "symmetric":
            return ones / 127.5, -ones
        case "standard":
            mean, deviation = (values.view_as(ones).cpu() for values in _moments(train))
            deviation = torch.where(deviation > 0, deviation, 1.0)  # because a channel may be constant
            return (1 / (255 * deviation)).float(), (-mean / deviation).float()
        case Normalization(mean=means, deviation=deviations):
            return _standardization(means, deviations)


def _standardization(means: tuple[float, ...], deviations: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Return the scale and offset that standardize pixels.

    Means and deviations are those of pixels in [0, 1].

    Returns:
        (1, C, 1, 1) float32 each.
    """
    mean, deviation = (torch.tensor(each, dtype=torch.float64).view(1, -1, 1, 1) for each in (means, deviations))
    return (1 / (255 * deviation)).float(), (-mean / deviation).float()


def _moments(train: ImageSubset) -> tuple[Tensor, Tensor]:
    """Return mean and deviation per channel, (C,) float64 each.

    Pixels are scaled to [0, 1].
    """
    sums = torch.zeros(2, train.pool.shape[1], dtype=torch.float64, device=train.labels.device)
    for start in range(0, len(train), 256):  # because they fit into a processor's cache
        progress.report()
        planes = train.batch(slice(start, start + 256))[0].flatten(2).float()
        sums += torch.stack([planes.sum(2), planes.square_().sum(2)]).double().sum(1)
    mean, square = sums / (len(train) * train.pool[0, 0].numel())
    return mean / 255, (square - mean.square()).clamp_(min=0).sqrt() / 255
