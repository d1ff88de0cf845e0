"""Training loop from a recipe to epoch results, without Ray or files.

    >>> data = DeviceDataset.open(dataset, dataset_config, "cpu")          # doctest: +SKIP
    >>> for result in tuner.training.loop.train(TrainingConfig(), data):     # doctest: +SKIP
    ...     print(result.epoch, result.val_accuracy)

No random state is carried from step to step: initial weights, the order of an epoch, and each
step's augmentation and dropout draw from seeds made of (seed, purpose, epoch, step). A training
resumed from a checkpoint, also within an epoch, therefore computes bit for bit the same on a CPU.
The caller sets the number of threads (`torch.set_num_threads`).
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from tuner import models
from tuner.config.registry import ExtraMetric
from tuner.config.training import TrainingConfig
from tuner.data.device import DeviceDataset, ImageSubset
from tuner.errors import NotFiniteError, SpecError
from tuner.results.schema import EpochResult, StepResult
from tuner.training.averaging import WeightAverage
from tuner.training.current_epoch import CurrentEpoch
from tuner.training.evaluation import BatchPreparer, Evaluator, unchanged_buffers
from tuner.training.fine_tuning import Freezer, group_parameters
from tuner.training.loss import Loss
from tuner.training.memory import memory_errors_as
from tuner.training.metrics import extra_metrics, loss_and_accuracy
from tuner.training.mixing import mix, mixed_loss
from tuner.training.network import build_network
from tuner.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate
from tuner.training.precision import Capability, Precision, choose
from tuner.training.seeds import batches, derive_step_seed, order_of_epoch
from tuner.training.torch_internals import step_uncompiled
from tuner.training.watchdog import beat

CHECK_EVERY = 50
"""Steps between two checks of the loss, each of which waits for the device."""


class Trainer:
    """An iterator that trains one epoch, evaluates, and yields an `EpochResult`.

    Attributes:
        config, data, seed: As given.
        device: The device that trains.
        model: The network, on that device.
        epoch: Completed epochs.
        parameters_count: Trainable parameters of the network.
    """

    def __init__(
        self,
        config: TrainingConfig,
        data: DeviceDataset,
        *,
        seed: int = 0,
        log_every: int | None = None,
        on_step: Callable[[], None] | None = None,
        capability: Capability | None = None,
        metrics: Sequence[ExtraMetric] = (),
        root: Path | None = None,
    ) -> None:
        """Build network and optimizer on the device of `data`.

        Args:
            config: The recipe.
            data: The images, on the device that trains.
            seed: The seed of weights, order, augmentation and dropout.
            log_every: Steps between two lines of the step log. Each line costs an evaluation.
            on_step: A function called after every step. It may call `state_dict`, or end the
                training by raising.
            capability: CUDA compute capability that decides `precision: auto`; None: the device's.
            metrics: Metrics of the validation images that every epoch measures besides.
            root: Folder in which pretrained weights are searched after the working directory.

        Raises:
            SpecError: The images are too small for the network, or too few for its batch norm. Or the
                pretrained weights are of another network.
            DataError: The file of pretrained weights is missing or damaged.
            OutOfMemoryError: The network does not fit into the memory of the device.
        """
        data = data.scaled_for(config.architecture)
        self.config, self.data, self.seed = config, data, seed
        self.device = data.device
        self._log_every, self._on_step = log_every, on_step
        self._metrics = metrics
        self.epoch = 0
        self._current = CurrentEpoch(self.device)
        self._preparer = BatchPreparer(config, data, seed)
        self._what = f"{config.architecture} with batch_size {config.batch_size}"
        with memory_errors_as(self._what, self.device):
            self.model = build_network(config, data, seed, root)
            self.parameters_count = models.parameters_count(self.model)
            self._average = WeightAverage(self.model, config.ema) if config.ema else None
            self._set_precision(choose(config.precision, self.device, self.model, capability))
            classes = len(data.classes)
            self._freezer = Freezer(self.model, classes, config.freeze) if config.freeze else None
            groups = group_parameters(self.model, classes, config) if config.has_groups else self.model.parameters()
            self._optimizer = build_optimizer(groups, config)
        self._loss = Loss(config, data.train.labels, len(data.classes))
        self._evaluator = Evaluator(config, data, self.evaluated_model, self._preparer, seed)

    @property
    def evaluated_model(self) -> nn.Module:
        """Network that is evaluated, with averaged weights if there are any."""
        return self._average.model if self._average else self.model

    @property
    def trainers(self) -> Sequence[Self]:
        """This training alone. A cross-validation has several."""
        return (self,)

    @property
    def precision(self) -> Precision:
        """Number format and memory order of the training."""
        return self._preparer.precision

    @property
    def device_description(self) -> str:
        """Device and number format of the training: 'cpu', 'cuda:0 bf16 channels_last'."""
        return self._preparer.precision.describe(self.device)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochResult:
        """Train the rest of the current epoch and evaluate.

        Raises:
            NotFiniteError: A loss is NaN or infinite. It is found within CHECK_EVERY steps.
            OutOfMemoryError: A batch does not fit into the memory of the device.
        """
        if self.epoch >= self.config.epochs:
            raise StopIteration
        with memory_errors_as(self._what, self.device):
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            self._train_epoch()
            return self._finish_epoch()

    def evaluate(self, images: ImageSubset) -> tuple[float, float]:
        """Return loss (nats) and accuracy (0 to 1) on `images`.

        The network stays unchanged.
        """
        with unchanged_buffers(self.evaluated_model), memory_errors_as(self._what, self.device):
            return self._evaluator.loss_and_accuracy(images, self.epoch)

    def predict(self, images: ImageSubset) -> Tensor:
        """Return probabilities (N, classes) of `images`, leaving the network unchanged.

        They are float32 on the device, in the order of `images`. For the validation images they
        are those that the last epoch's accuracy was computed from.
        """
        return self.logits(images).softmax(dim=1)

    def logits(self, images: ImageSubset) -> Tensor:
        """Return logits (N, classes) of `images`, leaving the network unchanged."""
        with unchanged_buffers(self.evaluated_model), memory_errors_as(self._what, self.device):
            return self._evaluator.logits(images, self.epoch)

    def seconds_per_image(self, size: int) -> float:
        """Measure the seconds per image of a forward pass.

        The pass takes `size` validation images.
        """
        with unchanged_buffers(self.evaluated_model), memory_errors_as(self._what, self.device):
            return self._evaluator.seconds_per_image(self.data.validation, size)

    def measure(self) -> dict[str, Any]:
        """Return an epoch's metrics of the validation images, leaving the network unchanged."""
        with unchanged_buffers(self.evaluated_model), memory_errors_as(self._what, self.device):
            return self._measure()

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs, also within an epoch (from `on_step`).

        It holds only tensors, numbers, text, dicts and lists, so that
        `torch.load(weights_only=True)` reads it. The tensors are those being trained: save them
        before the next step.
        """
        return {
            "recipe": self._recipe(),
            "epoch": self.epoch,
            **self._current.state_dict(),
            "precision": asdict(self._preparer.precision),
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state_dict() if self._average else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict` of the same recipe, data set and seed.

        Raises:
            SpecError: The state is of another recipe.
        """
        saved, current = json.loads(state["recipe"]), json.loads(self._recipe())
        for key in sorted(saved.keys() | current.keys()):
            if saved.get(key) != current.get(key):
                raise SpecError(f"checkpoint: of a training with {key} {saved.get(key)!r}, not {current.get(key)!r}")
        self.model.load_state_dict(state["model"])
        self._set_precision(Precision(**state["precision"]))
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self.epoch = state["epoch"]
        self._current.load_state_dict(state)

    def _train_epoch(self) -> None:
        """Train the rest of the current epoch."""
        order = order_of_epoch(self.data.train.labels, self.config.sampling, self.seed, self.epoch)
        steps = batches(order.to(self.data.train.pool.device), self.config.batch_size)
        done, planned = self.epoch * len(steps), self.config.epochs * len(steps)
        self._set_training_mode()
        current = self._current
        current.start_clock()
        for images, labels in self.data.train.batches(steps[current.step :]):
            set_learning_rate(self._optimizer, learning_rate_at(self.config, done + current.step, planned))
            loss = self._train_batch(images, labels)
            if self._log_every:
                current.add_to_line(loss)
                if (done + current.step) % self._log_every == 0:
                    self._log_line(done + current.step, self._log_every)
            if current.step % CHECK_EVERY == 0:
                self._check_finite(current.loss_sum)
            if self._on_step:
                self._on_step()

    def _set_training_mode(self) -> None:
        """Put the network into training mode, but for its frozen parts."""
        self.model.train()
        if self._freezer:
            self._freezer.apply(self.epoch)

    def _train_batch(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one optimizer step, count it, and return its loss.

        The device is not waited for.
        """
        beat()
        step = self._current.step
        images = self._preparer.prepare(images, augmented=True, purpose="training", epoch=self.epoch, step=step)
        images, targets = mix(images, labels, self.config, derive_step_seed(self.seed, "mixing", self.epoch, step))
        with self._preparer.precision.autocast(self.device):
            logits = self.model(images)
            loss = mixed_loss(partial(self._loss, logits), targets)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._update_weights()
        self._current.add(loss.detach(), (logits.argmax(dim=1) == targets.main).sum(), len(labels))
        return loss.detach()

    def _update_weights(self) -> None:
        """Take one optimizer step and update the average of the weights."""
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        step_uncompiled(self._optimizer)
        if self._average:
            self._average.update(self.model)

    def _log_line(self, step: int, steps: int) -> None:
        """Add a line to the step log.

        Its time is not counted as training.
        """
        paused = time.perf_counter()
        train_loss = self._current.line_loss_sum / steps
        self._check_finite(train_loss)
        val_loss, val_accuracy = self.evaluate(self.data.validation)
        self._current.log(StepResult(step, train_loss, val_loss, val_accuracy))
        self._set_training_mode()
        self.leave_out(time.perf_counter() - paused)
        self._current.log_seconds += time.perf_counter() - paused

    def _finish_epoch(self) -> EpochResult:
        """Evaluate after an epoch's last step and return the epoch's result."""
        count, current, steps = len(self.data.train), self._current, self._current.step
        train_loss, train_accuracy = current.loss_sum / count, current.correct / count
        self._check_finite(train_loss)
        train_seconds = current.seconds
        trained = time.perf_counter()
        self.epoch += 1
        measured = self._measure()
        if not math.isfinite(measured["val_loss"]):
            raise NotFiniteError(f"validation loss is {measured['val_loss']} after epoch {self.epoch}")
        evaluation_seconds = time.perf_counter() - trained + current.log_seconds
        lines = tuple(current.lines)
        current.begin_next()
        return EpochResult(
            epoch=self.epoch,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            learning_rate=learning_rate_at(self.config, self.epoch * steps - 1, self.config.epochs * steps),
            seconds=train_seconds + time.perf_counter() - trained,
            train_seconds=train_seconds,
            images_per_second=count / train_seconds,
            evaluation_seconds=evaluation_seconds,
            peak_memory_bytes=torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else None,
            steps=lines,
            **measured,
        )

    def _measure(self) -> dict[str, Any]:
        """Return the metrics of the validation images."""
        labels = self.data.validation.labels
        logits = self._evaluator.logits(self.data.validation, self.epoch)
        loss, accuracy = loss_and_accuracy(logits, labels)
        return {"val_loss": loss, "val_accuracy": accuracy, **extra_metrics(self._metrics, logits, labels)}

    def _set_precision(self, chosen: Precision) -> None:
        self._preparer.precision = chosen
        self.model.to(memory_format=chosen.memory_format)
        self.evaluated_model.to(memory_format=chosen.memory_format)

    def leave_out(self, seconds: float) -> None:
        """Leave seconds out of the training time of the current epoch."""
        self._current.leave_out(seconds)

    @property
    def epoch_seconds(self) -> float:
        """Seconds spent training in the current epoch."""
        return self._current.seconds

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            where = f"epoch {self.epoch + 1}, at or before step {self._current.step}"
            raise NotFiniteError(f"training loss is {loss} in {where}")

    def _recipe(self) -> str:
        """Return JSON of all that decides the numbers, apart from the code."""
        config = self.config.decisive | self.config.hyperparameters
        dataset = {f"dataset.{key}": value for key, value in self.data.config.decisive.items()}
        return json.dumps(config | dataset | {"seed": self.seed, "training images": len(self.data.train)})


def train(
    config: TrainingConfig, data: DeviceDataset, *, seed: int = 0, on_step: Callable[[], None] | None = None
) -> Trainer:
    """Train `config` on `data` while the result is iterated over.

    It yields one `EpochResult` per epoch.
    """
    return Trainer(config, data, seed=seed, on_step=on_step)
