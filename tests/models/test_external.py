"""Networks from outside: torchvision's and a user's own, from their name to a study."""

import os
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import nn

from tests.support.networks import Tiny
from tuner import models
from tuner.config.registry import TORCHVISION
from tuner.config.study import parse_spec
from tuner.data import load
from tuner.errors import SpecError
from tuner.models.external import forward_black, weightless
from tuner.models.head import find_head
from tuner.study.run import StudyRun
from tuner.training.run_trial import run_trial

SUITABLE = {"alexnet": 64, "inception_v3": 96, "maxvit_t": 224, "vit_h_14": 28}
DIGITS = {"in_channels": 1, "classes": 10, "image_size": 8}
FAMILIES = {re.findall(r"[a-z]+(?:_v\d)?", name)[0]: name for name in TORCHVISION}
NETWORKS = TORCHVISION if os.environ.get("TUNER_NETWORKS") == "all" else [*FAMILIES.values()]
"""One network of each family, because all of them take half a minute. `make fuzz` takes all."""


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.slow
def test_torchvision_network_takes_gray(name: str) -> None:
    gray = models.build_on_meta(f"torchvision:{name}", in_channels=1, classes=7, image_size=SUITABLE.get(name, 32))
    assert {parameter.device.type for parameter in gray.parameters()} == {"meta"}


@pytest.mark.parametrize("name", ["alexnet", "convnext_tiny", "efficientnet_b0", "resnet18", "swin_t", "vit_b_32"])
@pytest.mark.slow
def test_torchvision_network_takes_rgb(name: str) -> None:
    rgb = models.build_on_meta(f"torchvision:{name}", in_channels=3, classes=7, image_size=64)
    assert forward_black(rgb, 2, 3, 64).shape == (2, 7)


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "vit_tiny_patch16_224", "mixer_s32_224"])
@pytest.mark.slow
def test_timm_network_takes_gray_and_rgb(name: str) -> None:
    for channels in (1, 3):
        settings = {"in_channels": channels, "classes": 7, "image_size": 64}
        outline = models.build_on_meta(f"timm:{name}", **settings)
        assert {parameter.device.type for parameter in outline.parameters()} == {"meta"}
        assert find_head(outline, 7) in ("fc", "head", "head.fc")
        model = models.build(f"timm:{name}", **settings)
        F.cross_entropy(model(torch.rand(4, channels, 64, 64)), torch.arange(4)).backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_timm_network_refuses_unsuitable_images() -> None:
    with pytest.raises(SpecError, match=r"^architecture: timm:vit_\w+ does not work with images of 1x8x8: [^\n]+$"):
        models.build("timm:vit_tiny_patch16_224", **DIGITS)


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
@pytest.mark.slow
def test_torchvision_network_gets_gradients_everywhere(name: str) -> None:
    torch.manual_seed(0)
    model = models.build(f"torchvision:{name}", in_channels=1, classes=10, image_size=32)
    assert model.training
    logits = model(torch.rand(8, 1, 32, 32))
    F.cross_entropy(logits, torch.arange(8)).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.slow
def test_torchvision_network_keeps_first_layer_for_rgb() -> None:
    def built(channels: int) -> nn.Module:
        torch.manual_seed(3)
        return models.build("torchvision:squeezenet1_1", in_channels=channels, classes=4, image_size=32)

    rgb, gray = built(3).state_dict(), built(1).state_dict()
    assert all(
        torch.equal(value, other) for value, other in zip(rgb.values(), built(3).state_dict().values(), strict=True)
    )
    assert {name for name in rgb if rgb[name].shape != gray[name].shape} == {"features.0.weight"}
    assert gray["features.0.weight"].shape == (64, 1, 3, 3)


@pytest.mark.parametrize("name", ["alexnet", "vit_b_16", "maxvit_t"])
@pytest.mark.slow
def test_torchvision_network_refuses_unsuitable_images(name: str) -> None:
    expected = rf"^architecture: torchvision:{name} does not work with images of 3x30x30: \w+Error: [^\n]+$"
    for how in (models.build, models.build_on_meta):
        with pytest.raises(SpecError, match=expected):
            how(f"torchvision:{name}", in_channels=3, classes=10, image_size=30)


def test_weightless_keeps_shapes_and_other_tensors() -> None:
    with weightless():
        model = Tiny(1, 10, 8, dropout=0.5)
    assert model.rate == 0.5
    assert model.hidden.weight.is_meta
    assert models.parameters_count(model) == models.parameters_count(Tiny(1, 10, 8))
    assert not nn.Linear(1, 1).weight.is_meta


def test_user_network_is_built_with_hyperparameters() -> None:
    model = models.build("tests.support.networks:Tiny", **DIGITS, units=5, activation="tanh", normalized=True)
    assert isinstance(model, Tiny)
    assert model.training
    assert models.parameters_count(model) == 5 * (64 + 1) + 10 * (5 + 1)
    assert isinstance(model.activation, nn.Tanh)
    with pytest.raises(SpecError, match=r"^unit: unknown for tests.support.networks:Tiny; did you mean 'units'\?"):
        models.build("tests.support.networks:Tiny", **DIGITS, unit=5)


def test_user_network_initializes_lazy_layers() -> None:
    assert models.parameters_count(models.build("tests.support.networks:lazy", **DIGITS)) == 10 * (64 + 1)


@pytest.mark.parametrize(
    ("member", "line"),
    [
        ("Picky", "does not work with images of 1x8x8: ValueError: images of 16 pixels or more"),
        ("Flat", "gives (20,) for 2 images of 1x8x8; expected: logits (2, 10)"),
        ("nothing", "does not work with images of 1x8x8: TypeError: it gives NoneType, not a torch.nn.Module"),
    ],
)
def test_user_network_without_logits_is_refused(member: str, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        models.build_on_meta(f"tests.support.networks:{member}", **DIGITS)
    assert str(caught.value) == f"architecture: tests.support.networks:{member} {line}"


def test_study_varies_a_user_networks_hyperparameters(tmp_path: Path) -> None:
    spec = parse_spec(
        {
            "study": "own",
            "training": {
                "architecture": "tests.support.networks:Tiny",
                "epochs": 3,
                "batch_size": 32,
                "activation": "tanh",
            },
            "space": {"units": {"choice": [8, 32]}},
            "search": {"sampler": "grid"},
        }
    )
    images = load(spec.dataset).folder
    for number, parameters in enumerate(spec.space.grid()):
        units = parameters["units"]
        *_, last = run_trial(spec, str(tmp_path), images, number, parameters, seed=1)
        assert last["parameters_count"] == int(units) * 65 + 10 * (int(units) + 1)
        assert last["val_accuracy"] > 0.5
    assert number == 1


@pytest.mark.parametrize("name", ["torchvision:alexnet", "tests.support.networks:Picky"])
def test_study_with_unsuitable_images_is_refused(name: str, tmp_path: Path) -> None:
    spec = parse_spec({"study": "refused", "training": {"architecture": name}, "space": {}})
    with pytest.raises(SpecError, match=rf"^architecture: {name} does not work with images of 1x8x8: "):
        StudyRun(spec, tmp_path).run()
    assert list(tmp_path.iterdir()) == []
