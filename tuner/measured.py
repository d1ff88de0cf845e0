"""What a training measures: a result an epoch, lines of a step log, and the memory that it needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StepResult:
    """A line of the step log: what was measured between two epochs' ends."""

    step: int
    """Steps since the start of the training."""
    train_loss: float
    """Mean over the steps since the line before."""
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class EpochResult:
    """What one epoch measured. Losses are means over images in nats, accuracies are 0 to 1."""

    epoch: int
    """Counts from 1."""
    train_loss: float
    """Mean over the epoch's steps as they were trained: with dropout, augmentation and label smoothing."""
    train_accuracy: float
    val_loss: float
    """Plain cross-entropy."""
    val_accuracy: float
    learning_rate: float
    """Used at the epoch's last step."""
    seconds: float
    """The whole epoch, evaluation included."""
    train_seconds: float
    """The training part of this epoch."""
    images_per_second: float
    """Training images per second of `train_seconds`."""
    peak_memory_bytes: int | None
    """Most memory that tensors took on a CUDA device during the epoch; None on a CPU."""
    steps: tuple[StepResult, ...] = ()
    """The epoch's lines of the step log, where one is kept."""


@dataclass(frozen=True)
class MemoryNeed:
    """What the largest trial of a study takes of a GPU's memory."""

    what: str
    """The trial, in words: `alexnet, batch size 256`."""
    bytes: int | None
    """Memory of its process; None where it does not fit into the whole GPU."""
    of: int
    """The GPU's memory, in bytes."""
