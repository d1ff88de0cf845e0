"""Measure training images per second with each random change on, beside PIL through a DataLoader.

Both sides train rubio_small by Adam on the same images, in turn, in one process with one thread.
Seconds are those of the processor, so that other work on the machine changes little. The other side
decodes nothing: its images are PIL images in memory, changed by torchvision one by one, in a
DataLoader without worker processes. It has no mixup, cutmix, ema and clip_norm.

    python benchmarks/augmentation.py [--size N] [--rounds N]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from tuner.config.dataset import Augment, DatasetConfig
from tuner.config.training import TrainingConfig
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.models import build
from tuner.training.loop import Trainer

COUNT, BATCH = 2048, 64
ARCHITECTURE = {"architecture": "rubio_small", "filters": 8}
CHANGES: Mapping[str, tuple[dict[str, Any], dict[str, Any], list[Callable[..., Any]], list[Callable[..., Any]]]] = {
    # name: keys of dataset.augment, keys of the recipe, torchvision's on PIL images, and on tensors
    "none": ({}, {}, [], []),
    "flip, crop": (
        {"flip": True, "crop": 4},
        {},
        [v2.RandomHorizontalFlip(), v2.Lambda(lambda image: v2.RandomCrop(image.size[0], 4)(image))],
        [],
    ),
    "random_resized_crop": (
        {},
        {"random_resized_crop": 0.3},
        [v2.Lambda(lambda image: v2.RandomResizedCrop(image.size[0], (0.3, 1.0))(image))],
        [],
    ),
    "color_jitter": ({}, {"color_jitter": 0.4}, [v2.ColorJitter(0.4, 0.4, 0.4)], []),
    "rand_augment": ({}, {"rand_augment": 9.0}, [v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)], []),
    "trivial_augment": (
        {},
        {"trivial_augment": True},
        [v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)],
        [],
    ),
    "erasing": ({}, {"erasing": 0.5}, [], [v2.RandomErasing(0.5)]),
    "mixup": ({}, {"mixup": 0.2}, [], []),
    "cutmix": ({}, {"cutmix": 1.0}, [], []),
    "ema": ({}, {"ema": 0.999}, [], []),
    "clip_norm": ({}, {"clip_norm": 1.0}, [], []),
}


class PilImages(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images in memory that are changed one by one."""

    def __init__(self, images: list[Image.Image], labels: list[int], changes: list[Any], last: list[Any]) -> None:
        tensor = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
        self._images, self._labels = images, labels
        self._transform = v2.Compose([*changes, *tensor, *last])

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self._transform(self._images[index]), self._labels[index]


def images(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth random images, (COUNT, 3, size, size) uint8, and labels."""
    draw = np.random.default_rng(0)
    coarse = torch.from_numpy(draw.integers(0, 256, (COUNT, 3, 8, 8)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(size, size), mode="bilinear")
    return smooth.to(torch.uint8).numpy(), draw.integers(0, 10, COUNT)


def ours(pixels: np.ndarray, labels: np.ndarray, augment: dict[str, Any], recipe: dict[str, Any]) -> float:
    """Return training images per second of this project's loop."""
    part = ImageSubset(torch.from_numpy(pixels), None, torch.from_numpy(labels))
    few = ImageSubset(part.pool[:64], None, part.labels[:64])
    scale = torch.full((1, 3, 1, 1), 1 / 255)
    config = DatasetConfig(augment=Augment(**augment))
    names = tuple(map(str, range(10)))
    data = DeviceDataset(part, few, few, config, names, validation_is_test=False, scale=scale, offset=0 * scale)
    training = TrainingConfig(**ARCHITECTURE, **recipe, batch_size=BATCH, epochs=2, precision="float32")
    return max(COUNT / seconds for seconds in seconds_of(iter(Trainer(training, data))))


def seconds_of(epochs: Iterator[object]) -> Iterator[float]:
    """Yield the processor's seconds of each epoch."""
    began = time.process_time()
    for _ in epochs:
        yield time.process_time() - began
        began = time.process_time()


def by_hand(size: int, pil: list[Image.Image], labels: np.ndarray, changes: list[Any], last: list[Any]) -> float:
    """Return training images per second of a DataLoader over PIL images."""

    def train_epoch() -> None:
        for batch, targets in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(batch), targets).backward()
            optimizer.step()

    loader = DataLoader(PilImages(pil, labels.tolist(), changes, last), batch_size=BATCH, shuffle=True)
    model: nn.Module = build(ARCHITECTURE["architecture"], in_channels=3, classes=10, image_size=size, filters=8)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    return max(COUNT / seconds for seconds in seconds_of(iter(train_epoch() for _ in range(2))))


def main() -> None:
    """Print one line per change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)
    pixels, labels = images(arguments.size)
    pil = [Image.fromarray(image) for image in pixels.transpose(0, 2, 3, 1)]
    print(
        f"images per second of the processor, {arguments.size} pixels, one thread, medians of {arguments.rounds} rounds"
    )
    for name, (augment, recipe, changes, last) in CHANGES.items():
        rounds = [
            (ours(pixels, labels, augment, recipe), by_hand(arguments.size, pil, labels, changes, last))
            for _ in range(arguments.rounds)
        ]
        own, other = (statistics.median(values) for values in zip(*rounds, strict=True))
        ratio = statistics.median(ours / theirs for ours, theirs in rounds)
        print(f"  {name:20} {own:8.0f}   PIL and DataLoader {other:8.0f}   ratio {ratio:5.2f}", flush=True)


if __name__ == "__main__":
    main()
