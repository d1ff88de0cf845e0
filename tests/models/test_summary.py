"""Tables of layer shapes, against those that report 002 prints and implies."""

import pytest
import torch

from tuner import models
from tuner.models import Layer

SHOWN = ("Conv2d", "AvgPool2d", "Linear")
"""The layers that the slides count: without activations and flattening."""


def shown(name: str, image_size: int) -> list[tuple[int, ...]]:
    layers = models.shapes(name, in_channels=1, classes=10, image_size=image_size)
    return [layer.shape for layer in layers if layer.kind in SHOWN]


def test_lenet5_has_the_shapes_of_the_slides() -> None:
    slides = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,)]
    assert shown("lenet5_classic", 32) == slides
    assert shown("lenet5_classic", 28) == slides  # padded


def test_lenet5_cesar_has_other_shapes() -> None:
    expected = [(6, 24, 24), (6, 12, 12), (16, 8, 8), (16, 4, 4), (120, 1, 1), (82,), (10,)]
    assert shown("lenet5_cesar", 28) == expected


def test_layer_has_name_kind_and_parameters() -> None:
    assert models.shapes("lenet5_classic", in_channels=1, classes=10, image_size=32)[:3] == [
        Layer("0", "Conv2d", (6, 28, 28), 6 * (25 + 1)),
        Layer("1", "Tanh", (6, 28, 28), 0),
        Layer("2", "AvgPool2d", (6, 14, 14), 0),
    ]


@pytest.mark.parametrize("name", [*models.names(), "torchvision:resnet18", "tests.support.networks:Tiny"])
def test_layer_table_covers_all_parameters(name: str) -> None:
    images = {"in_channels": 3, "classes": 10, "image_size": 32}
    layers = models.shapes(name, **images)
    assert sum(layer.parameters for layer in layers) == models.parameters_count(models.build_on_meta(name, **images))


def test_layer_table_counts_repeated_layers_once() -> None:
    images = {"in_channels": 3, "classes": 10, "image_size": 32}
    first, again = (
        layer
        for layer in models.shapes("rubio_large_shared", **images)
        if layer.shape == (64, 32, 32) and "Norm" in layer.kind
    )
    assert (first.name, first.parameters, again.parameters) == (again.name, 2 * 64, 0)


def test_layer_table_draws_nothing() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    models.shapes("alexnet", in_channels=3, classes=10, image_size=32)
    models.build_on_meta("torchvision:resnet18", in_channels=1, classes=10, image_size=32)
    assert torch.equal(torch.get_rng_state(), before)
