"""How a network is computed on a device."""

import pytest
import torch

from tuner import models
from tuner.training.precision import Precision, choose, on_cpu

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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_choose_leaves_the_network_unchanged() -> None:
    model = models.build("rubio_small", in_channels=3, classes=10, image_size=32).cuda()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = torch.rand(64, 3, 32, 32, device="cuda"), torch.arange(64, device="cuda") % 10
    chosen = choose(model, images, labels)
    assert chosen in [Precision(bfloat16=a, channels_last=b) for a in (False, True) for b in (False, True)]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
