"""Names that a study file may use, described without torch.

A study file is checked against this page in milliseconds. `tuner.models` and `tuner.data` hold what the
names stand for, and a test compares them. Of torchvision only the names are known. timm and a user's
own class are imported.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tuner.config.timm_models import check_timm
from tuner.config.user_models import is_own, own_network
from tuner.config.validation_messages import shown
from tuner.errors import SpecError, suggest

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Hyperparameter:
    """Setting of an architecture, with its default and closed interval.

    A bound of None is no bound.
    """

    default: Scalar
    low: float | None = None
    high: float | None = None
    doc: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network, with its smallest image size (pixels) and its hyperparameters."""

    doc: str
    min_size: int
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    positional: tuple[str, ...] = ()
    """Parameters of a user's network that would be hyperparameters if they stood after a `*`."""


@dataclass(frozen=True)
class KnownDataset:
    """A data set's image shape and its numbers of classes and images.

    An image is (channels, size, size).
    """

    channels: int
    size: int
    classes: int
    train: int
    test: int


@dataclass(frozen=True)
class Metric:
    """A number that an epoch reports, with its direction.

    An objective may name it.
    """

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
    "resnet9": Architecture(
        "compact residual network for 32x32, four convolutions and two residual blocks of two (David Page, DAWNBench)",
        8,
        {"filters": _width(64, "filters of the first convolution; the next three double them")},
    ),
}

TORCHVISION = tuple(  # a list of eighty quoted names would be eighty lines
    """
    alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169
    densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5
    efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3
    maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small
    regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf
    regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf
    regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d
    resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0
    squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16
    vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2
    """.split()  # noqa: SIM905
)
"""Classification networks of torchvision. A study file names them `torchvision:resnet18`."""

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
    "seconds_per_image_1": Metric("minimize", "seconds of a forward pass per image, one image at a time"),
    "seconds_per_image_64": Metric("minimize", "seconds of a forward pass per image, 64 images at a time"),
    "val_auroc": Metric("maximize", "area under the ROC curve, 0 to 1: mean over the classes, each against the rest"),
    "val_f1": Metric("maximize", "F1, 0 to 1: mean over the classes that have images or predictions"),
    "val_balanced_accuracy": Metric("maximize", "recall, 0 to 1: mean over the classes"),
    "val_top5_accuracy": Metric("maximize", "share of the validation images whose class is among the five likeliest"),
    "val_ece": Metric("minimize", "expected calibration error, 0 to 1, of 15 bins of equal width"),
}

ExtraMetric = Literal["val_auroc", "val_f1", "val_balanced_accuracy", "val_top5_accuracy", "val_ece"]
"""Metrics that are measured only where a study names them."""
EXTRA_METRICS: tuple[ExtraMetric, ...] = get_args(ExtraMetric)

SPEED_METRICS: Mapping[str, int] = {"seconds_per_image_1": 1, "seconds_per_image_64": 64}
"""Metrics that are measured once in a trial where an objective names them, with their batch sizes."""

TEST_METRICS = ("test_accuracy", "test_loss")
"""Metrics that no objective may name."""

ARCHITECTURE_NAMES = (*ARCHITECTURES, "torchvision:NAME", "timm:NAME", "package.module:Class")
"""Names of architectures, as errors list them."""


def architecture(name: Any) -> Architecture:
    """Return what is known of a network.

    Only timm and a user's own module are imported, and they import torch.

    Args:
        name: A network of `ARCHITECTURES`, `torchvision:NAME`, `timm:NAME`, or `package.module:Class`.

    Raises:
        SpecError: There is no such network, or a class of the user's own cannot be called as `own_network` says.
    """
    if isinstance(name, str) and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if not isinstance(name, str) or ":" not in name:
        raise SpecError(f"architecture: found {shown(name)}; {suggest(str(name), ARCHITECTURE_NAMES)}")
    if is_own(name):
        return _describe(name, own_network(name))
    library, _, member = name.partition(":")
    if library == "timm":
        check_timm(member)
        return Architecture(f"{member} of timm", 1)
    if member not in TORCHVISION:
        raise SpecError(f"architecture: torchvision has no '{member}'; {suggest(member, TORCHVISION)}")
    return Architecture(f"{member} of torchvision, untrained", 1)


def _describe(name: str, network: Callable[..., Any]) -> Architecture:
    settings = [p for p in inspect.signature(network).parameters.values() if isinstance(p.default, Scalar)]
    declared = {p.name: Hyperparameter(_default(p)) for p in settings if p.kind is p.KEYWORD_ONLY}
    positional = tuple(p.name for p in settings if p.kind is p.POSITIONAL_OR_KEYWORD)
    return Architecture(f"your own {name}", 1, declared, positional)


def _default(parameter: inspect.Parameter) -> Scalar:
    """Return a parameter's default, as a float if its annotation is float.

    The conversion is needed because people write 0 there.
    """
    default: Scalar = parameter.default
    return float(default) if type(default) is int and parameter.annotation in (float, "float") else default
