"""From a configuration to epoch results: one training loop that knows neither Ray nor files.

    >>> data = DeviceDataset.open(dataset, dataset_config, "cpu")          # doctest: +SKIP
    >>> for result in tuner.training.loop.train(TrainingConfig(), data):     # doctest: +SKIP
    ...     print(result.epoch, result.val_accuracy)

Nothing here depends on random state left behind by others: initial weights, the order of an epoch, and augmentation and
dropout of a step each draw from a seed made of (seed, what for, epoch, step). So a training that goes on from a
checkpoint, even from the middle of an epoch, computes bit for bit what it would have computed uninterrupted (on a CPU).
The number of threads is the caller's affair (`torch.set_num_threads`).
"""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import Tensor, nn

from tuner import models
from tuner.config.training import TrainingConfig
from tuner.data.augment import augment
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.errors import NotFiniteError, OutOfMemoryError, SpecError
from tuner.models.init import keras_
from tuner.results.schema import EpochResult, StepResult
from tuner.training import precision
from tuner.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate, take_step
from tuner.training.precision import Precision
from tuner.training.seeds import batches, derive_step_seed, seed_global_generator, shuffled

CHECK_EVERY = 50
"""Steps between two looks at the loss; each look waits for the device."""

EVALUATION_BATCH = {"cpu": 125, "cuda": 1000}
"""Images evaluated at once; on a CPU more than fit into its cache are up to three times slower."""

OUT_OF_MEMORY = re.compile(r"can't allocate memory|out of memory|ALLOC_FAILED|not enough memory", re.IGNORECASE)


class Trainer:
    """One training: an iterator that trains an epoch, evaluates, and yields an `EpochResult`.

    Attributes:
        config: the recipe.
        model: the network, on its device.
        epoch: completed epochs.
        parameters_count: trainable parameters of the network.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: DeviceDataset,
        *,
        seed: int = 0,
        log_every: int | None = None,
        on_step: Callable[[], None] | None = None,
    ) -> None:
        """Build network and optimizer on the device of `data`.

        Args:
            config: the recipe.
            data: images on the device to train on.
            seed: decides initial weights, order, augmentation and dropout.
            log_every: steps between two lines of the step log, each of which looks at all validation images.
            on_step: called after every step; it may call `state_dict`, or end the training by raising.

        Raises:
            SpecError: the images are too small for the network, or too few for its batch normalization.
            OutOfMemoryError: the network does not fit into the memory of the device.
        """
        self.config, self.data, self.seed = config, data, seed
        self.device = data.device
        self._log_every, self._on_step = log_every, on_step
        self.epoch = 0
        self._step = 0  # completed steps of the current epoch
        self._earlier_seconds = 0.0  # spent on the current epoch before a checkpoint
        self._started = 0.0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._lines: list[StepResult] = []  # of the current epoch
        self._line_loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._augment_generator = torch.Generator(self.device)
        with self._out_of_memory_in_one_line():
            self.model = self._build_model()
            self.parameters_count = models.parameters_count(self.model)
            self._precision = self._choose_precision()
            self._optimizer = build_optimizer(self.model.parameters(), config)

    @property
    def device_description(self) -> str:
        """Device and how the network is computed on it: 'cpu', 'cuda:0 bf16 channels_last'."""
        return self._precision.describe(self.device)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochResult:
        """Train one epoch, or what is left of it, and evaluate.

        Raises:
            NotFiniteError: a loss is NaN or infinite; found within CHECK_EVERY steps.
            OutOfMemoryError: a batch does not fit into the memory of the device.
        """
        if self.epoch >= self.config.epochs:
            raise StopIteration
        with self._out_of_memory_in_one_line():
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self._train_epoch()
            return self._finish_epoch()

    def evaluate(self, images: ImageSubset) -> tuple[float, float]:
        """Loss (nats) and accuracy (0 to 1) on `images` as in validation; the network stays as it is."""
        with self._looking_only():
            return self._evaluate(images)

    def predict(self, images: ImageSubset) -> Tensor:
        """Probabilities (N, classes), float32 on the device, of `images` in their order; the network stays as it is.

        Of the validation images they are those that the last epoch's accuracy was computed from.
        """
        with self._looking_only():
            return self._logits(images).softmax(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs, also in the middle of an epoch (from `on_step`).

        Only tensors, numbers, text, dicts and lists, so that `torch.load(weights_only=True)` reads it. The tensors are
        those being trained: save them before the next step.
        """
        return {
            "recipe": self._recipe(),
            "epoch": self.epoch,
            "step": self._step,
            "loss_sum": self._loss_sum.item(),
            "correct": self._correct.item(),
            "lines": [asdict(line) for line in self._lines],
            "line_loss_sum": self._line_loss_sum.item(),
            "train_seconds": self._train_seconds(),
            "precision": asdict(self._precision),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict` of the same recipe, data set and seed.

        Raises:
            SpecError: the state is of another recipe.
        """
        theirs, ours = json.loads(state["recipe"]), json.loads(self._recipe())
        for key in sorted(theirs.keys() | ours.keys()):
            if theirs.get(key) != ours.get(key):
                raise SpecError(f"checkpoint: of a training with {key} {theirs.get(key)!r}, not {ours.get(key)!r}")
        self._precision = Precision(**state["precision"])
        self.model.load_state_dict(state["model"])
        self.model.to(memory_format=self._precision.memory_format)
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch, self._step = state["epoch"], state["step"]
        self._loss_sum.fill_(state["loss_sum"])
        self._correct.fill_(state["correct"])
        self._lines = [StepResult(**line) for line in state["lines"]]
        self._line_loss_sum.fill_(state["line_loss_sum"])
        self._earlier_seconds, self._started = state["train_seconds"], 0.0

    def _train_epoch(self) -> None:
        """Train what is left of the current epoch."""
        config, train = self.config, self.data.train
        order = shuffled(len(train), derive_step_seed(self.seed, "order", self.epoch))
        steps = batches(order.to(self.device), config.batch_size)
        done, planned = self.epoch * len(steps), config.epochs * len(steps)
        self.model.train()
        self._started = time.perf_counter()
        for indices in steps[self._step :]:
            images, labels = train.batch(indices)
            self._seed_step("training", self._step)
            images = self._prepare(images, augmented=True)
            with self._precision.autocast(self.device):
                logits = self.model(images)
                loss = F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            set_learning_rate(self._optimizer, learning_rate_at(config, done + self._step, planned))
            take_step(self._optimizer)
            self._loss_sum += loss.detach() * len(labels)
            self._correct += (logits.argmax(dim=1) == labels).sum()
            self._step += 1
            if self._log_every:
                self._line_loss_sum += loss.detach()
                if (done + self._step) % self._log_every == 0:
                    self._log_line(done + self._step, self._log_every)
            if self._step % CHECK_EVERY == 0:
                self._check_finite(self._loss_sum.item())
            if self._on_step:
                self._on_step()

    def _log_line(self, step: int, steps: int) -> None:
        """Add a line to the step log; the time that it takes is not time of training."""
        paused = time.perf_counter()
        train_loss = self._line_loss_sum.item() / steps
        self._check_finite(train_loss)
        val_loss, val_accuracy = self.evaluate(self.data.validation)
        self._lines.append(StepResult(step, train_loss, val_loss, val_accuracy))
        self._line_loss_sum.zero_()
        self.model.train()
        self._started += time.perf_counter() - paused

    def _finish_epoch(self) -> EpochResult:
        """Measure the epoch just trained, and stand before the next."""
        count, steps = len(self.data.train), self._step
        train_loss, train_accuracy = self._loss_sum.item() / count, self._correct.item() / count
        self._check_finite(train_loss)
        train_seconds = self._train_seconds()
        trained = time.perf_counter()
        self.epoch += 1
        val_loss, val_accuracy = self._evaluate(self.data.validation)
        if not math.isfinite(val_loss):
            raise NotFiniteError(f"validation loss is {val_loss} after epoch {self.epoch}")
        self._step, self._earlier_seconds, self._started = 0, 0.0, 0.0
        self._loss_sum.zero_()
        self._correct.zero_()
        lines, self._lines = tuple(self._lines), []
        return EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=learning_rate_at(self.config, self.epoch * steps - 1, self.config.epochs * steps),
            seconds=train_seconds + time.perf_counter() - trained,
            train_seconds=train_seconds,
            images_per_second=count / train_seconds,
            peak_memory_bytes=torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None,
            steps=lines,
        )

    @contextmanager
    def _looking_only(self) -> Iterator[None]:
        """Leave the network's running statistics as they are, whatever an evaluation in training mode does to them."""
        before = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with self._out_of_memory_in_one_line():
            yield
        for name, buffer in self.model.named_buffers():
            buffer.copy_(before[name])

    def _evaluate(self, images: ImageSubset) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy (0 to 1)."""
        logits = self._logits(images)
        loss = F.cross_entropy(logits.double(), images.labels)
        accuracy = (logits.argmax(dim=1) == images.labels).double().mean()
        return loss.item(), accuracy.item()

    def _logits(self, images: ImageSubset) -> Tensor:
        """Logits (N, classes) float32 in the order of `images`, looked at as `config.evaluate` says.

        `batch_norm: train` does what a report did that never called `net.eval()`: the network stays in training mode,
        so that batches of `batch_size` in random order are normalized by their own statistics, the running statistics
        go on moving, and dropout stays on. `augment: true` changes these images as it does the training images.
        """
        as_training = self.config.evaluate.batch_norm == "train"
        self.model.train(as_training)
        order, size = torch.arange(len(images)), EVALUATION_BATCH[self.device.type]
        if as_training:
            order = shuffled(len(images), derive_step_seed(self.seed, "evaluation order", self.epoch))
            size = self.config.batch_size
        logits = torch.empty(len(images), len(self.data.classes), device=self.device)
        with torch.inference_mode():
            for step, indices in enumerate(batches(order.to(self.device), size)):
                self._seed_step("evaluation", step)
                batch = self._prepare(images.batch(indices)[0], augmented=self.config.evaluate.augment)
                with self._precision.autocast(self.device):
                    logits[indices] = self.model(batch).float()
        return logits

    def _prepare(self, images: Tensor, *, augmented: bool) -> Tensor:
        """(N, C, H, W) uint8 → float32 as the network sees them."""
        if augmented:
            images = augment(images, self.data.config.augment, self._augment_generator)
        return self.data.normalize(images).to(memory_format=self._precision.memory_format)

    def _seed_step(self, purpose: str, step: int) -> None:
        """Seed all that this step draws: dropout and augmentation."""
        seed = derive_step_seed(self.seed, purpose, self.epoch, step)
        self._augment_generator.manual_seed(seed)
        seed_global_generator(self.device, seed)

    def _build_model(self) -> nn.Module:
        """Build the network with the weights that the seed decides, the same on every device."""
        config, data = self.config, self.data
        torch.default_generator.manual_seed(derive_step_seed(self.seed, "weights"))
        model = models.build(
            config.architecture,
            in_channels=data.in_channels,
            classes=len(data.classes),
            image_size=data.image_size,
            **config.hyperparameters,
        )
        if config.init == "keras":
            keras_(model)
        normalized = any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in model.modules())
        if normalized and min(config.batch_size, len(data.train)) == 1:
            raise SpecError(
                f"batch_size: {config.architecture} has batch normalization and cannot train on 1 image; 2 or more"
            )
        return model.to(self.device)

    def _choose_precision(self) -> Precision:
        """Choose how to compute, by trying it on a CUDA device, and bring the network into that memory order."""
        wanted = self.config.precision
        chosen = precision.on_cpu(wanted)
        if self.device.type == "cuda":
            images, labels = self.data.train.batch(slice(0, self.config.batch_size))
            chosen = precision.choose(self.model, self.data.normalize(images), labels, wanted)
        self.model.to(memory_format=chosen.memory_format)
        return chosen

    def _train_seconds(self) -> float:
        """Seconds spent training in the current epoch so far."""
        return self._earlier_seconds + (time.perf_counter() - self._started if self._started else 0.0)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise NotFiniteError(f"training loss is {loss} in epoch {self.epoch + 1}, at or before step {self._step}")

    def _recipe(self) -> str:
        """JSON of all that decides the numbers, apart from the code."""
        config = self.config.model_dump(mode="json") | self.config.hyperparameters
        dataset = {f"dataset.{key}": value for key, value in self.data.config.model_dump(mode="json").items()}
        return json.dumps(config | dataset | {"seed": self.seed, "training images": len(self.data.train)})

    @contextmanager
    def _out_of_memory_in_one_line(self) -> Iterator[None]:
        """Turn the many ways of running out of memory into one error."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if isinstance(error, RuntimeError) and not OUT_OF_MEMORY.search(str(error)):
                raise
            what = f"{self.config.architecture} with batch_size {self.config.batch_size}"
            raise OutOfMemoryError(f"{what} does not fit into the memory of {self.device}") from error


def train(
    config: TrainingConfig, data: DeviceDataset, *, seed: int = 0, on_step: Callable[[], None] | None = None
) -> Trainer:
    """Train `config` on `data`: iterate over what this returns, one `EpochResult` an epoch."""
    return Trainer(config, data, seed=seed, on_step=on_step)
