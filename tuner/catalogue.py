"""Names that a study file may use, and what is known of them without importing torch.

The spec checks against this page in milliseconds; `tuner.models` and `tuner.data` hold what the names stand for,
and a test keeps the two in step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of an architecture: its default, and the closed interval of allowed values (None: not bounded)."""

    default: Scalar
    low: float | None = None
    high: float | None = None
    doc: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network by name: the smallest image side it accepts (pixels) and the hyperparameters that it declares."""

    doc: str
    min_size: int
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownDataset:
    """A data set by name: image shape (channels, side, side) and number of classes."""

    channels: int
    size: int
    classes: int
    train: int
    test: int


@dataclass(frozen=True)
class Metric:
    """Something an epoch reports that an objective may name, and its natural direction."""

    direction: Literal["maximize", "minimize"]
    doc: str


def _dropout(default: float) -> Hyperparameter:
    return Hyperparameter(default, 0.0, 0.95, "probability that a unit is dropped")


def _width(default: int, doc: str) -> Hyperparameter:
    return Hyperparameter(default, 1, 8192, doc)


ARCHITECTURES: Mapping[str, Architecture] = {
    "lenet5": Architecture(
        "two 5x5 convolutions (6, 16 filters), dense 120, 84; ReLU and max-pooling (report 003)",
        16,
        {"dropout": _dropout(0.0)},
    ),
    "lenet5_tinoco": Architecture(
        "conv 6, 16, 120 of 5x5 on images padded to 32x32, dense 84; ReLU and max-pooling (report 000)", 1
    ),
    "lenet5_classic": Architecture(
        "LeNet-5 with tanh and average pooling on images padded to 32x32 (slides of report 002)", 1
    ),
    "lenet5_cesar": Architecture(
        "LeNet-5 for 28x28 with tanh, average pooling and dense 82 (code of report 002)",
        28,
        {"output_relu": Hyperparameter(True, doc="a ReLU on the logits too, as the report's code has it")},
    ),
    "vazquez_base": Architecture(
        "conv 32 3x3, max-pool, dense 128 (report 001, experiments 1 and 3)",
        4,
        {
            "filters": _width(32, "filters of the convolution"),
            "dense": _width(128, "units of the dense layer"),
            "dropout": _dropout(0.0),
        },
    ),
    "vazquez_deep": Architecture(
        "conv 32 3x3, max-pool, dropout, conv 128 3x3, max-pool, dense 128, dropout (report 001, experiment 2)",
        10,
        {
            "filters": _width(32, "filters of the first convolution"),
            "filters_2": _width(128, "filters of the second convolution"),
            "dense": _width(128, "units of the dense layer"),
            "dropout": _dropout(0.25),
            "dropout_dense": _dropout(0.5),
        },
    ),
    "vazquez_bn": Architecture(
        "vazquez_base with Keras's batch norm after each ReLU (report 001, experiment 4)",
        4,
        {
            "filters": _width(32, "filters of the convolution"),
            "dense": _width(128, "units of the dense layer"),
        },
    ),
    "alexnet": Architecture(
        "AlexNet cut for 32x32: five convolutions, two dense layers of 4096 (report 003)",
        15,
        {"dense": _width(4096, "units of both dense layers"), "dropout": _dropout(0.5)},
    ),
    "rubio_small": Architecture(
        "four blocks conv 3x3, ReLU, batch norm, max-pool with 64 to 512 filters, dense 128 (report 004)",
        1,
        {
            "filters": _width(64, "filters of the first block; each block doubles them"),
            "dense": _width(128, "units of the dense layer"),
        },
    ),
    "rubio_large": Architecture(
        "four blocks of two convolutions, each with a batch norm of its own, dense 128 to 1024 (report 004, Table 1)",
        1,
        {"filters": _width(64, "filters of the first block; each block doubles them")},
    ),
    "rubio_large_shared": Architecture(
        "rubio_large with one batch norm for both convolutions of a block (report 004, code)",
        1,
        {"filters": _width(64, "filters of the first block; each block doubles them")},
    ),
}

DATASETS: Mapping[str, KnownDataset] = {
    "digits": KnownDataset(1, 8, 10, 1437, 360),
    "mnist": KnownDataset(1, 28, 10, 60_000, 10_000),
    "fashion_mnist": KnownDataset(1, 28, 10, 60_000, 10_000),
    "cifar10": KnownDataset(3, 32, 10, 50_000, 10_000),
}

METRICS: Mapping[str, Metric] = {
    "val_accuracy": Metric("maximize", "share of the validation images classified correctly, 0 to 1"),
    "val_loss": Metric("minimize", "mean cross-entropy over the validation images, in nats"),
    "train_accuracy": Metric("maximize", "share of the training images classified correctly during the epoch, 0 to 1"),
    "train_loss": Metric("minimize", "mean training loss over the epoch, in nats"),
    "train_seconds": Metric("minimize", "seconds spent training so far, evaluation left out"),
    "parameters_count": Metric("minimize", "trainable parameters of the network"),
}

TEST_METRICS = ("test_accuracy", "test_loss")
