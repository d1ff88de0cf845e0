"""The average of weights agrees with PyTorch's own, and with a plain sum."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tuner.training.averaging import WeightAverage


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.LazyLinear(2))


def steps(model: nn.Module) -> None:
    """Move the weights, and the running statistics too."""
    model(torch.randn(4, 1, 6, 6))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def test_average_agrees_with_pytorchs() -> None:
    torch.manual_seed(0)
    model = network()
    steps(model)
    average = WeightAverage(model, 0.95)

    def expected_step(averaged: list[torch.Tensor], current: list[torch.Tensor], copies: torch.Tensor) -> None:
        decay = min(0.95, copies.item() / (9 + copies.item()))
        for one, other in zip(averaged, current, strict=True):
            one.copy_(one * decay + other * (1 - decay) if one.is_floating_point() else other)

    expected = AveragedModel(model, multi_avg_fn=expected_step, use_buffers=True)
    expected.update_parameters(model)  # copies, the first time
    for _ in range(300):
        steps(model)
        average.update(model)
        expected.update_parameters(model)
    for name, value in average.model.state_dict().items():
        torch.testing.assert_close(value, expected.module.state_dict()[name])
    assert not torch.allclose(average.model[0].weight, model[0].weight)  # type: ignore[index]


def test_average_of_still_weights_stays() -> None:
    model = network()
    model(torch.randn(4, 1, 6, 6))
    average = WeightAverage(model, 0.9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(5):
        average.update(model)
    for name, value in average.model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    assert all(not parameter.requires_grad for parameter in average.model.parameters())
