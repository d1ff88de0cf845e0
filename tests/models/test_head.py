"""Heads and stages of networks of several families."""

import pytest
from torch import nn

from tuner import models
from tuner.errors import SpecError
from tuner.models.head import find_head, list_stages


@pytest.mark.parametrize(
    ("name", "head", "stages"),
    [
        ("lenet5", "13", ["0", "3", "7", "10"]),
        ("resnet9", "19", ["0", "3", "7", "8", "12", "16"]),
        ("torchvision:resnet18", "fc", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
        ("torchvision:squeezenet1_1", "classifier.1", [f"features.{n}" for n in (0, 3, 4, 6, 7, 9, 10, 11, 12)]),
        (
            "torchvision:vit_b_16",
            "heads.head",
            ["class_token", *(f"encoder.layers.encoder_layer_{n}" for n in range(12))],
        ),
        ("torchvision:efficientnet_b0", "classifier.1", [f"features.{n}" for n in range(9)]),
        (
            "torchvision:densenet121",
            "classifier",
            [
                *("features.conv0", "features.denseblock1", "features.transition1", "features.denseblock2"),
                *("features.transition2", "features.denseblock3", "features.transition3", "features.denseblock4"),
            ],
        ),
        ("torchvision:swin_t", "head", [f"features.{n}" for n in range(8)]),
    ],
)
@pytest.mark.slow
def test_network_has_a_head_and_stages(name: str, head: str, stages: list[str]) -> None:
    model = models.build_on_meta(name, in_channels=3, classes=10, image_size=32)
    assert find_head(model, 10) == head
    found = list_stages(model, head)
    names = {parameter: path for path, parameter in model.named_parameters()}
    first = [names[parameters[0]] for parameters in found]
    assert [path[: len(stage)] for path, stage in zip(first, stages, strict=True)] == stages
    of_head = list(model.get_submodule(head).parameters())
    assert {*names} == {parameter for parameters in [*found, of_head] for parameter in parameters}
    assert len(names) == sum(map(len, [*found, of_head]))


def test_stages_hold_shared_parameters_once() -> None:
    model = models.build("rubio_large_shared", in_channels=1, classes=10, image_size=8, filters=2)
    stages = list_stages(model, find_head(model, 10))
    assert len({id(each) for stage in stages for each in stage}) == sum(map(len, stages))


def test_stage_holds_the_norm_that_follows_it() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 4), nn.Linear(4, 10))
    assert [[each.ndim for each in stage] for stage in list_stages(model, "4")] == [[4, 1, 1, 1], [2, 1]]


def test_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^architecture: no layer of Linear has 9 outputs, one for each class$"):
        find_head(nn.Linear(2, 10), 9)
    assert list_stages(nn.Linear(2, 10), "") == []
