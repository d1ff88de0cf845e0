"""Batches as a network sees them, and its evaluation on images."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tuner.config.training import TrainingConfig
from tuner.data import recipe
from tuner.data.augment import augment
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.training.memory import release_memory
from tuner.training.metrics import loss_and_accuracy
from tuner.training.precision import Precision
from tuner.training.seeds import batches, derive_step_seed, seed_global_generator, shuffled
from tuner.training.speed import forward_seconds
from tuner.training.torch_internals import is_out_of_memory
from tuner.training.watchdog import beat

EVALUATION_BATCH = {"cpu": 125, "cuda": 1000}
"""Images per evaluation batch.

On a CPU, batches larger than its cache are up to three times slower.
"""


class BatchPreparer:
    """Preparation of batches: seeded augmentation, normalization and memory order.

    Attributes:
        precision: Number format and memory order of the network.
    """

    def __init__(self, config: TrainingConfig, data: DeviceDataset, seed: int) -> None:
        self.precision = Precision(bfloat16=False, channels_last=False)
        self._config, self._data, self._seed = config, data, seed
        self._generator = torch.Generator(data.device)

    def prepare(self, images: Tensor, *, augmented: bool, purpose: str, epoch: int, step: int) -> Tensor:
        """Seed all draws of a step, dropout's too, and prepare its images.

        Args:
            images: (N, C, H, W) uint8.
            augmented: Change the images at random, as data set and recipe say.
            purpose: Purpose of the step, one part of its seed: training | evaluation.
            epoch: Completed epochs.
            step: Number of the step within its epoch or evaluation.

        Returns:
            (N, C, H, W) float32.
        """
        seed = derive_step_seed(self._seed, purpose, epoch, step)
        self._generator.manual_seed(seed)
        seed_global_generator(self._data.device, seed)
        if augmented:
            images = augment(images, self._data.config.augment, self._generator)
            images = recipe.change(images, self._config, self._generator)
        images = self._data.normalize(images)
        if augmented:
            images = recipe.finish(images, self._config, self._generator)
        return images.to(memory_format=self.precision.memory_format)


class Evaluator:
    """Evaluation of one network, as `config.evaluate` asks.

    `batch_norm: train` reproduces reports that never called `net.eval()`. The network stays in
    training mode: batches of `batch_size` in random order are normalized by their own statistics,
    the running statistics move on, and dropout stays on. `augment: true` changes the images as it
    does the training images.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: DeviceDataset,
        model: nn.Module,
        preparer: BatchPreparer,
        seed: int,
    ) -> None:
        self._config, self._data, self._model = config, data, model
        self._preparer, self._seed = preparer, seed
        self._size = EVALUATION_BATCH[data.device.type]

    def loss_and_accuracy(self, images: ImageSubset, epoch: int) -> tuple[float, float]:
        """Return the mean cross-entropy (nats) and the accuracy (0 to 1)."""
        return loss_and_accuracy(self.logits(images, epoch), images.labels)

    def logits(self, images: ImageSubset, epoch: int) -> Tensor:
        """Return logits (N, classes), float32, in the order of `images`.

        They are on the device. Batches that do not fit into memory are halved, unless their size
        decides the numbers.
        """
        while True:
            try:
                return self._logits(images, epoch)
            except (RuntimeError, MemoryError) as error:
                if self._size == 1 or self._size_decides_numbers or not is_out_of_memory(error):
                    raise
            self._size = (self._size + 1) // 2
            release_memory(self._data.device)

    def seconds_per_image(self, images: ImageSubset, size: int) -> float:
        """Return the seconds of a forward pass of `size` images, per image."""
        indices = torch.arange(size, device=self._data.device) % len(images)
        chosen = images.batch(indices)[0]
        batch = self._preparer.prepare(chosen, augmented=False, purpose="evaluation", epoch=0, step=0)
        return forward_seconds(self._model, batch, self._preparer.precision) / size

    @property
    def _size_decides_numbers(self) -> bool:
        """Return True if the numbers depend on the size of batches.

        They do if batches draw numbers or are normalized by their own statistics.
        """
        return self._config.evaluate.batch_norm == "train" or self._config.evaluate.augment

    def _logits(self, images: ImageSubset, epoch: int) -> Tensor:
        """Return logits, from batches of the current size."""
        self._model.train(self._config.evaluate.batch_norm == "train")
        logits = torch.empty(len(images), len(self._data.classes), device=self._data.device)
        precision = self._preparer.precision
        with torch.inference_mode():
            steps = self._batches(images, epoch)
            for step, (indices, (pixels, _)) in enumerate(zip(steps, images.batches(steps), strict=True)):
                beat()
                batch = self._preparer.prepare(
                    pixels,
                    augmented=self._config.evaluate.augment,
                    purpose="evaluation",
                    epoch=epoch,
                    step=step,
                )
                with precision.autocast(self._data.device):
                    logits[indices] = self._model(batch).float()
        return logits

    def _batches(self, images: ImageSubset, epoch: int) -> list[Tensor]:
        """Return the positions of images, cut into evaluation batches."""
        count, device = len(images), images.pool.device
        if self._config.evaluate.batch_norm == "train":
            order = shuffled(count, derive_step_seed(self._seed, "evaluation order", epoch))
            return batches(order.to(device), self._config.batch_size)
        return batches(torch.arange(count).to(device), self._size)


@contextmanager
def unchanged_buffers(model: nn.Module) -> Iterator[None]:
    """Restore a network's running statistics after an evaluation in training mode."""
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    yield
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
