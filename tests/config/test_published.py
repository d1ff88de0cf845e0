"""Published weights as a study file asks for them, and the images that follow from them."""

from typing import Any

import pytest

from tests.support.published import TINY
from tuner.config.published import describe_published
from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import SpecError

RESNET, INCEPTION = "torchvision:resnet18", "torchvision:inception_v3"


def study(architecture: Any, dataset: Any = None, **keys: Any) -> StudyConfig:
    several = isinstance(architecture, list)
    space = {"architecture": {"choice": architecture}} if several else {"architecture": architecture}
    space |= {key: keys.pop(key) for key in [*keys] if isinstance(keys[key], dict)}
    return parse_spec({"study": "s", "dataset": dataset or {"name": "mnist"}, "training": keys, "space": space})


@pytest.mark.slow
def test_published_weights_have_name_size_and_pixels() -> None:
    resnet, tiny = describe_published(RESNET), describe_published(TINY)
    assert (resnet.name, resnet.image_size) == ("ResNet18_Weights.IMAGENET1K_V1", 224)
    assert resnet.size == pytest.approx(46_830_571, rel=1e-3)
    assert (resnet.mean, resnet.deviation) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (tiny.name, tiny.hub, tiny.image_size) == ("test_resnet.r160_in1k", "timm/test_resnet.r160_in1k", 160)
    assert (tiny.size, tiny.files[0]) == (None, "model.safetensors")
    assert describe_published(f"{TINY}.r160_in1k") == tiny


def test_moments_of_gray_images_are_averages() -> None:
    mean, deviation = describe_published(RESNET).moments(1)
    assert mean == pytest.approx((0.449,))
    assert deviation == pytest.approx((0.226,))


def test_inception_sees_the_pixels_that_torchvision_gives_it() -> None:
    resnet, inception = describe_published(RESNET), describe_published(INCEPTION)
    pixel = 0.7
    for channel in range(3):  # as torchvision's `transform_input` converts them
        standard = (pixel - resnet.mean[channel]) / resnet.deviation[channel]
        converted = standard * (resnet.deviation[channel] / 0.5) + (resnet.mean[channel] - 0.5) / 0.5
        assert converted == pytest.approx((pixel - inception.mean[channel]) / inception.deviation[channel])


def test_images_follow_published_weights() -> None:
    found = study(RESNET, pretrained=True).dataset
    assert (found.image_size, found.pixels) == (224, "auto")
    assert study([RESNET, TINY], {"name": "mnist", "image_size": 32}, pretrained=True).dataset.pixels == "auto"
    assert study(RESNET, pretrained={"choice": [False, True]}).dataset.image_size is None


def test_images_that_the_file_describes_stay() -> None:
    given = {"name": "mnist", "image_size": 48, "pixels": "symmetric"}
    found = study(RESNET, given, pretrained=True).dataset
    assert (found.image_size, found.pixels) == (48, "symmetric")
    assert study(RESNET).dataset == study("lenet5").dataset
    assert study(RESNET, pretrained="a.pt").dataset == study("lenet5").dataset
    assert study(RESNET, {"name": "mnist", "image_size": "auto"}, pretrained="a.pt").dataset.image_size == 224


def test_stored_study_keeps_size_and_pixels() -> None:
    begun = study(RESNET, pretrained=True)
    stored = parse_spec(begun.to_dict(), stored=True)
    assert stored.dataset.model_dump() == begun.dataset.model_dump()
    assert study(RESNET, pretrained=True).differences(stored) == []


@pytest.mark.parametrize(
    ("architecture", "keys", "line"),
    [
        ("lenet5", {"pretrained": True}, "pretrained: found true for lenet5; allowed: false, or a path to a state dict; true: with torchvision:NAME or timm:NAME"),  # noqa: E501
        ("timm:vovnet57a", {"pretrained": True}, "pretrained: found true, but no weights are published for timm:vovnet57a; allowed: false, or a path to a state dict"),  # noqa: E501
        ([RESNET, INCEPTION], {"pretrained": True}, "dataset.image_size: found none with `pretrained: true`, and the networks differ (224 for torchvision:resnet18, 299 for torchvision:inception_v3); allowed: one number"),  # noqa: E501
        ("lenet5", {"image_size": "auto"}, "dataset.image_size: found auto with lenet5; allowed: a number; auto: with torchvision:NAME and timm:NAME only"),  # noqa: E501
    ],
)  # fmt: skip
def test_published_weights_are_refused_where_there_are_none(architecture: Any, keys: Any, line: str) -> None:
    dataset = {"name": "mnist", **({"image_size": keys.pop("image_size")} if "image_size" in keys else {})}
    with pytest.raises(SpecError) as caught:
        study(architecture, dataset, **keys)
    assert str(caught.value).endswith(line)
    assert "\n" not in str(caught.value)
