"""Number format and memory order of a network on a device."""

import pytest
import torch
from torch import nn

from tests.support.cuda import needs_cuda
from tuner import models
from tuner.training.precision import Precision, Wanted, choose

CPU = torch.device("cpu")


def on_cpu(wanted: Wanted = "auto") -> Precision:
    return choose(wanted, CPU, nn.Conv2d(1, 1, 1), capability=(9, 0))


ON_CPU = on_cpu()


def test_precision_describes_device_and_format() -> None:
    gpu = torch.device("cuda:0")
    assert Precision(bfloat16=True, channels_last=True).describe(gpu) == "cuda:0 bf16 channels_last"
    assert Precision(bfloat16=False, channels_last=True).describe(gpu) == "cuda:0 channels_last"
    assert Precision(bfloat16=False, channels_last=False).describe(gpu) == "cuda:0"
    assert ON_CPU.describe(torch.device("cpu")) == "cpu"
    assert on_cpu("bfloat16").describe(torch.device("cpu")) == "cpu bf16"


def test_cpu_computes_in_bfloat16_if_asked() -> None:
    with on_cpu("bfloat16").autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_cpu_computes_in_float32() -> None:
    with ON_CPU.autocast(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.parametrize("name", models.names())
def test_channels_last_gives_the_same_logits(name: str) -> None:
    torch.manual_seed(0)
    width = {"dense": 64} if name == "alexnet" else {}
    model = models.build(name, in_channels=3, classes=10, image_size=32, **width).eval()
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)
        model = model.to(memory_format=ON_CPU.memory_format)
        logits = model(images.to(memory_format=ON_CPU.memory_format))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("wanted", "capability", "convolutional", "bfloat16", "channels_last"),
    [
        ("auto", (9, 0), True, True, True),
        ("auto", (8, 0), True, True, True),
        ("auto", (8, 0), False, True, False),
        ("auto", (7, 5), True, False, False),
        ("float32", (9, 0), True, False, False),
        ("bfloat16", (7, 0), True, True, True),
    ],
)
def test_precision_on_cuda_follows_the_rule(
    wanted: Wanted, capability: tuple[int, int], convolutional: bool, bfloat16: bool, channels_last: bool
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1)) if convolutional else nn.Sequential(nn.Linear(1, 1))
    chosen = choose(wanted, torch.device("cuda"), model, capability)
    assert chosen == Precision(bfloat16=bfloat16, channels_last=channels_last)


@needs_cuda
def test_precision_takes_the_devices_own_capability() -> None:
    gpu, model = torch.device("cuda", 0), nn.Conv2d(1, 1, 1)
    assert choose("auto", gpu, model) == choose("auto", gpu, model, torch.cuda.get_device_capability(gpu))
