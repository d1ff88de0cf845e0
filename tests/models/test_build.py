"""Architectures: parameter counts by hand, shapes, gradients, and what is refused."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import nn

from tuner import models
from tuner.config.registry import ARCHITECTURES, DATASETS
from tuner.errors import SpecError
from tuner.models.init import keras_

GRAY_28 = {"in_channels": 1, "classes": 10, "image_size": 28}
RGB_32 = {"in_channels": 3, "classes": 10, "image_size": 32}

COUNTED_BY_HAND = [
    # convolutions: filters * (inputs * kernel² + 1); dense layers: units * (inputs + 1); batch norm: 2 * channels
    (
        "lenet5",
        GRAY_28,  # 28 → 24 → 12 → 8 → 4
        6 * (1 * 25 + 1) + 16 * (6 * 25 + 1) + 120 * (16 * 4 * 4 + 1) + 84 * (120 + 1) + 10 * (84 + 1),
        44_426,
    ),
    *[
        (
            name,
            GRAY_28,  # padded to 32 → 28 → 14 → 10 → 5 → 1
            6 * (1 * 25 + 1) + 16 * (6 * 25 + 1) + 120 * (16 * 25 + 1) + 84 * (120 + 1) + 10 * (84 + 1),
            61_706,
        )
        for name in ("lenet5_tinoco", "lenet5_classic")
    ],
    (
        "lenet5_cesar",
        GRAY_28,  # 28 → 24 → 12 → 8 → 4 → 1
        6 * (1 * 25 + 1) + 16 * (6 * 25 + 1) + 120 * (16 * 16 + 1) + 82 * (120 + 1) + 10 * (82 + 1),
        44_164,
    ),
    (
        "vazquez_bn",
        RGB_32,  # 32 → 30 → 15
        32 * (3 * 9 + 1) + 2 * 32 + 128 * (32 * 15 * 15 + 1) + 2 * 128 + 10 * (128 + 1),
        924_234,
    ),
    *[
        (
            name,
            RGB_32,  # 32 → 16 → 8 → 4 → 2
            64 * (3 * 9 + 1)
            + 64 * (64 * 9 + 1)
            + 128 * (64 * 9 + 1)
            + 128 * (128 * 9 + 1)
            + 256 * (128 * 9 + 1)
            + 256 * (256 * 9 + 1)
            + 512 * (256 * 9 + 1)
            + 512 * (512 * 9 + 1)
            + norms * 2 * (64 + 128 + 256 + 512)
            + 128 * (512 * 2 * 2 + 1)
            + 256 * (128 + 1)
            + 512 * (256 + 1)
            + 1024 * (512 + 1)
            + 2 * (128 + 256 + 512 + 1024)
            + 10 * (1024 + 1),
            count,
        )
        for name, norms, count in (("rubio_large", 2, 5_655_498), ("rubio_large_shared", 1, 5_653_578))
    ],
    (
        "vazquez_base",
        RGB_32,  # 32 → 30 → 15
        32 * (3 * 9 + 1) + 128 * (32 * 15 * 15 + 1) + 10 * (128 + 1),
        923_914,
    ),
    (
        "vazquez_deep",
        RGB_32,  # 32 → 30 → 15 → 13 → 6
        32 * (3 * 9 + 1) + 128 * (32 * 9 + 1) + 128 * (128 * 6 * 6 + 1) + 10 * (128 + 1),
        629_130,
    ),
    (
        "alexnet",
        RGB_32,  # 32 → 15 → 7 → 3, enlarged to 6
        64 * (3 * 9 + 1)
        + 192 * (64 * 25 + 1)
        + 384 * (192 * 9 + 1)
        + 256 * (384 * 9 + 1)
        + 256 * (256 * 9 + 1)
        + 4096 * (256 * 6 * 6 + 1)
        + 4096 * (4096 + 1)
        + 10 * (4096 + 1),
        57_023_306,
    ),
    (
        "rubio_small",
        RGB_32,  # 32 → 16 → 8 → 4 → 2
        64 * (3 * 9 + 1)
        + 128 * (64 * 9 + 1)
        + 256 * (128 * 9 + 1)
        + 512 * (256 * 9 + 1)
        + 2 * (64 + 128 + 256 + 512)
        + 128 * (512 * 2 * 2 + 1)
        + 2 * 128
        + 10 * (128 + 1),
        1_816_714,  # as the report prints it
    ),
    (
        "resnet9",
        RGB_32,  # 32 → 16 → 8 → 4 → 1; no convolution has a bias, nor has the dense layer
        9 * (3 * 64 + 64 * 128 + 2 * 128 * 128 + 128 * 256 + 256 * 512 + 2 * 512 * 512)
        + 2 * (64 + 3 * 128 + 256 + 3 * 512)
        + 10 * 512,
        6_573_120,
    ),
]

FITTING = [
    (name, dataset)
    for name, architecture in ARCHITECTURES.items()
    for dataset, known in DATASETS.items()
    if known.size >= architecture.min_size and dataset != "fashion_mnist"  # to a network, images like those of mnist
]


def small(name: str) -> dict[str, int]:
    """Hyperparameters that make AlexNet quick to build, where nothing depends on its width."""
    return {"dense": 64} if name == "alexnet" else {}


@pytest.mark.parametrize(("name", "images", "arithmetic", "count"), COUNTED_BY_HAND, ids=lambda value: str(value)[:12])
def test_parameters_count_agrees_with_hand_count(
    name: str, images: dict[str, int], arithmetic: int, count: int
) -> None:
    assert arithmetic == count
    with torch.device("meta"):
        assert models.parameters_count(models.build(name, **images)) == count


def test_hand_counts_cover_every_architecture() -> None:
    assert sorted(name for name, *_ in COUNTED_BY_HAND) == models.names()


def test_parameters_count_skips_shared_and_frozen() -> None:
    shared = nn.Linear(3, 3)
    assert models.parameters_count(nn.Sequential(shared, nn.ReLU(), shared)) == 3 * (3 + 1)
    shared.bias.requires_grad_(False)
    assert models.parameters_count(shared) == 9


@pytest.mark.parametrize(("name", "dataset"), FITTING)
@pytest.mark.slow
def test_gradient_reaches_every_parameter(name: str, dataset: str) -> None:
    known = DATASETS[dataset]
    torch.manual_seed(0)
    model = models.build(
        name, in_channels=known.channels, classes=known.classes, image_size=known.size, **small(name)
    ).train()
    logits = model(torch.rand(32, known.channels, known.size, known.size))
    assert logits.shape == (32, known.classes)
    F.cross_entropy(logits, torch.arange(32) % known.classes).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


def test_builders_agree_with_the_registry() -> None:
    assert models.names() == sorted(ARCHITECTURES)
    for name, architecture in ARCHITECTURES.items():
        parameters = inspect.signature(models.BUILDERS[name]).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        assert defaults == {key: declared.default for key, declared in architecture.hyperparameters.items()}, name


@pytest.mark.parametrize("name", models.names())
def test_every_hyperparameter_changes_the_network(name: str) -> None:
    with torch.device("meta"):
        plain = models.build(name, **RGB_32)
        for key, declared in ARCHITECTURES[name].hyperparameters.items():
            other = {bool: not declared.default, int: 17, float: 0.125}[type(declared.default)]
            changed = models.build(name, **RGB_32, **{key: other})
            assert repr(changed) != repr(plain), key


@pytest.mark.parametrize("name", models.names())
@pytest.mark.slow
def test_registry_min_size_is_the_smallest_possible(name: str) -> None:
    smallest = ARCHITECTURES[name].min_size
    model = models.build(name, in_channels=3, classes=4, image_size=smallest, **small(name))
    assert model(torch.rand(2, 3, smallest, smallest)).shape == (2, 4)
    with pytest.raises(SpecError, match=rf"^architecture: {name} needs images of {smallest} pixels or more, not"):
        models.build(name, in_channels=3, classes=4, image_size=smallest - 1, **small(name))
    if smallest > 1:  # the networks themselves do not go further either
        with pytest.raises((RuntimeError, UserWarning)):  # a dense layer without inputs is a warning of PyTorch
            models.BUILDERS[name](3, 4, smallest - 1, **small(name))(torch.rand(2, 3, smallest - 1, smallest - 1))


def test_build_refuses_unknown_architectures_with_nearest() -> None:
    with pytest.raises(
        SpecError, match=r"^architecture: found 'lenet'; did you mean 'lenet5'\? allowed: alexnet, [^\n]*$"
    ):
        models.build("lenet", **RGB_32)


def test_build_refuses_unknown_hyperparameters_with_nearest() -> None:
    with pytest.raises(SpecError, match=r"^drop_out: unknown for lenet5; did you mean 'dropout'\? allowed: dropout$"):
        models.build("lenet5", **RGB_32, drop_out=0.1)


@pytest.mark.parametrize("value", [1.5, -0.1, math.nan, "half"])
def test_build_refuses_hyperparameters_out_of_bounds(value: float | str) -> None:
    with pytest.raises(SpecError, match=r"^dropout: .* for alexnet is outside \[0\.0, 0\.95\]$"):
        models.build("alexnet", **RGB_32, dropout=value)


def test_keras_init_is_glorot_with_zero_biases() -> None:
    torch.manual_seed(0)
    model = models.build("vazquez_deep", **RGB_32)
    keras_(model)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    fans = [(9 * 3, 9 * 32), (9 * 32, 9 * 128), (128 * 6 * 6, 128), (128, 10)]
    for layer, (fan_in, fan_out) in zip(layers, fans, strict=True):
        bound = math.sqrt(6 / (fan_in + fan_out))
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.97 * bound  # they fill the interval
        assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
        assert not layer.bias.any()


def test_pooling_before_relu_changes_nothing() -> None:
    torch.manual_seed(0)
    images, convolution = torch.randn(8, 3, 12, 12), nn.Conv2d(3, 4, 3)
    outcomes = []
    for tail in ([nn.ReLU(), nn.MaxPool2d(2)], [nn.MaxPool2d(2), nn.ReLU()]):
        convolution.zero_grad()
        output = nn.Sequential(convolution, *tail)(images)
        output.square().sum().backward()
        outcomes.append((output.detach(), convolution.weight.grad.clone()))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert torch.equal(outcomes[0][1], outcomes[1][1])
