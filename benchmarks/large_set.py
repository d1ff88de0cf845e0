"""Training on a set larger than memory: mapped as any set, and read ahead by a thread, in turn.

10,000 images of 224x224 pixels (1.5 GB), batches of 32 in random order, and a network that costs little. Each training
is a process of its own. Limit the memory, or the set fits into it:

    systemd-run --scope -p MemoryMax=700M python benchmarks/large_set.py [--folder DIR] [--images N] [--rounds N]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BATCH, CLASSES = 224, 32, 10
WAYS = {"mapped": float("inf"), "read ahead": 0.0}
"""Shares of the memory from which a set is read ahead."""


def make(folder: Path, images: int) -> None:
    """Write a cache entry of noise, block by block."""
    from tuner.data.dataset import Part, write

    rng, shape = np.random.default_rng(0), (images, 3, SIDE, SIDE)
    labels = np.resize(np.arange(CLASSES), images)
    with tempfile.TemporaryFile(dir=folder) as file:
        pixels = np.memmap(file, np.uint8, "w+", shape=shape)
        for start in range(0, images, 500):
            block = pixels[start : start + 500]
            block[:] = rng.integers(0, 256, block.shape, np.uint8)
        few = Part(pixels[:CLASSES], labels[:CLASSES])
        write(folder / "entry", "noise", "0", tuple(map(str, range(CLASSES))), Part(pixels, labels), few)


def train(folder: Path, way: str, steps: int) -> str:
    """Train for some steps, and return speed, processor time and bytes from the disk."""
    import torch

    from tuner.config.dataset import DatasetConfig
    from tuner.config.training import TrainingConfig
    from tuner.data import Dataset, streaming
    from tuner.data.device import DeviceDataset
    from tuner.training.loop import Trainer

    torch.set_num_threads(1)
    streaming.LARGEST_SHARE = WAYS[way]
    config = DatasetConfig.model_validate({"validation": {"last": 0.01}})
    images = DeviceDataset.open(Dataset.open(folder / "entry"), config)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done == steps:
            raise KeyboardInterrupt

    recipe: Any = {"architecture": "benchmarks.large_set:network", "batch_size": BATCH, "epochs": 100}
    trainer = Trainer(TrainingConfig(**recipe), images, on_step=count)
    began, used, read = time.perf_counter(), time.process_time(), _bytes_read()
    with contextlib.suppress(KeyboardInterrupt):
        next(trainer)
    seconds, used, read = time.perf_counter() - began, time.process_time() - used, _bytes_read() - read
    count_of = done * BATCH
    needed = count_of * 3 * SIDE**2
    return (
        f"{way:<10} {count_of / seconds:5.0f} images/s, {used / count_of * 1e3:.2f} ms of processor time an image,"
        f" {read / needed:5.1f} bytes read for each used"
    )


def network(in_channels: int, classes: int, image_size: int) -> Any:
    """A network of one convolution."""
    from torch import nn

    outputs = 8 * (image_size // 8) ** 2
    return nn.Sequential(nn.Conv2d(in_channels, 8, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(outputs, classes))


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def _forget(folder: Path) -> None:
    """Let the system forget the pages of the images, so that each training begins alike."""
    with (folder / "entry" / "train_images.npy").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Make a set, and train on it in both ways in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure, default the current one")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(train(options.folder, options.way, options.steps), flush=True)
        return
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd()) as name:
        make(Path(name), options.images)
        for _ in range(options.rounds):
            for way in WAYS:
                _forget(Path(name))
                again = ["--folder", name, "--way", way, "--steps", str(options.steps)]
                subprocess.run([sys.executable, "-m", "benchmarks.large_set", *again], check=True)


if __name__ == "__main__":
    main()
