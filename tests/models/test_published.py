"""Published weights under the names and shapes of the networks that are built here."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.efficientnet_lite import WEIGHTS, EfficientNetLite0, SameConv2d
from tests.support.published import TINY, publish, use_caches
from tuner import models
from tuner.errors import DataError
from tuner.models.published import published_state
from tuner.models.weights import load_weights, read_weights, start_from

FILE = Path("weights.pth")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_caches(tmp_path, monkeypatch)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_network_starts_from_published_weights(in_channels: int) -> None:
    images = {"in_channels": in_channels, "classes": 7, "image_size": 64}
    network = models.build(TINY, **images)  # type: ignore[arg-type]
    read = read_weights(publish(TINY))
    fit = start_from(network, TINY, True, None, **images)
    assert fit.head == "fc"
    for name, value in network.state_dict().items():
        summed = read[name].sum(1, keepdim=True) if value.shape[1:2] != read[name].shape[1:2] else read[name]
        assert name.startswith("fc.") or torch.allclose(value, summed), name


def test_damaged_published_weights_are_refused() -> None:
    file = publish(TINY)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"not the weights of timm:test_resnet: [^\n]+$"):
        published_state(TINY, file, read_weights, 3, 64)


@pytest.mark.slow
def test_early_names_of_densenet_are_converted() -> None:
    network = models.build_on_meta("torchvision:densenet121", in_channels=3, classes=1000, image_size=64)
    own = network.state_dict()
    early = {name.replace("norm1", "norm.1").replace("conv2", "conv.2"): value for name, value in own.items()}
    assert early.keys() != own.keys()
    found = published_state("torchvision:densenet121", FILE, lambda _: early, 3, 64)
    assert [*found] == [*own]


def test_auxiliary_parts_of_googlenet_are_left_out() -> None:
    state = {"conv1.conv.weight": torch.ones(1), "aux1.fc1.bias": torch.ones(1), "aux2.fc1.bias": torch.ones(1)}
    assert [*published_state("torchvision:googlenet", FILE, lambda _: state, 3, 224)] == ["conv1.conv.weight"]


def test_positions_of_vision_transformers_are_interpolated() -> None:
    state = {"encoder.pos_embedding": torch.ones(1, 1 + 14 * 14, 4)}
    found = published_state("torchvision:vit_b_16", FILE, lambda _: dict(state), 3, 64)
    assert found["encoder.pos_embedding"].shape == (1, 1 + 4 * 4, 4)


@pytest.mark.slow
def test_weights_for_colors_see_gray_images_alike() -> None:
    gray = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    state, logits = read_weights(Path(WEIGHTS)), []
    for channels in (1, 3):
        network = EfficientNetLite0(channels, 1000, 64)
        network._conv_stem = SameConv2d(channels, 32, 3, 2, bias=False)
        network._conv_stem.register_forward_pre_hook(lambda stem, inputs: inputs[0][:, : stem.in_channels])
        assert load_weights(network, state, 1000, "w.pth").summed == (None if channels == 3 else "_conv_stem.weight")
        with torch.inference_mode():
            logits.append(network.eval()(gray))  # which the network itself repeats for three channels
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)


def test_weights_for_colors_fit_no_other_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3, groups=3), nn.Flatten(), nn.LazyLinear(2))
    model(torch.zeros(1, 3, 8, 8))
    state = {**model.state_dict(), "1.weight": torch.zeros(3, 3, 3, 3)}
    with pytest.raises(Exception, match=r"1 of another shape \(1\.weight \(3, 3, 3, 3\) for \(3, 1, 3, 3\)\)"):
        load_weights(model, state, 2, "w.pt")
