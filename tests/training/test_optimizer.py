"""Optimizers and schedules agree with PyTorch's, step by step."""

import pytest
import torch
from torch import nn, optim

from tuner.config.training import TrainingConfig
from tuner.training.optimizer import build_optimizer, learning_rate_at, set_learning_rate


@pytest.mark.parametrize(
    ("config", "plain"),
    [
        (
            TrainingConfig(optimizer="adam", learning_rate=0.01, weight_decay=0.1, epsilon=1e-2),
            lambda parameters: optim.Adam(parameters, lr=0.01, weight_decay=0.1, eps=1e-2, foreach=False),
        ),
        (
            TrainingConfig(optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
            lambda parameters: optim.AdamW(parameters, lr=0.01, weight_decay=0.1, foreach=False),
        ),
        (
            TrainingConfig(optimizer="sgd", learning_rate=0.01, weight_decay=0.1, momentum=0.8),
            lambda parameters: optim.SGD(
                parameters, lr=0.01, weight_decay=0.1, momentum=0.8, nesterov=True, foreach=False
            ),
        ),
        (
            TrainingConfig(optimizer="sgd", learning_rate=0.01, momentum=0.0),
            lambda parameters: optim.SGD(parameters, lr=0.01, foreach=False),
        ),
    ],
    ids=["adam", "adamw", "sgd-nesterov", "sgd-plain"],
)
def test_optimizer_steps_as_pytorchs_plain_one(config: TrainingConfig, plain: type[optim.Optimizer]) -> None:
    gradients = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for build in (lambda parameters: build_optimizer(parameters, config), plain):
        parameter = nn.Parameter(torch.ones(50))
        optimizer = build([parameter])
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        outcomes.append(parameter.detach())
    assert (outcomes[0] - 1).abs().min() > 1e-4  # it went somewhere
    torch.testing.assert_close(outcomes[0], outcomes[1], rtol=1e-5, atol=1e-6)


def test_set_learning_rate_takes_effect() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = build_optimizer([parameter], TrainingConfig(optimizer="sgd", learning_rate=1.0, momentum=0.0))
    set_learning_rate(optimizer, 0.25)
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.tolist() == [-0.25] * 3


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 137])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_schedule_equals_pytorchs_at_every_step(schedule: str, steps: int) -> None:
    config = TrainingConfig(schedule=schedule, learning_rate=0.05)
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    pytorchs = {
        "constant": lambda: optim.lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "cosine": lambda: optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps),
        "one_cycle": lambda: optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=0.05, total_steps=steps, cycle_momentum=False
        ),
    }[schedule]()
    for step in range(steps):
        assert learning_rate_at(config, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if step < steps - 1:
            pytorchs.step()


def test_schedule_at_known_steps() -> None:
    cosine = TrainingConfig(schedule="cosine", learning_rate=0.1)
    assert learning_rate_at(cosine, 0, 100) == 0.1
    assert learning_rate_at(cosine, 50, 100) == pytest.approx(0.05)
    assert learning_rate_at(cosine, 100, 100) == pytest.approx(0.0)
    one_cycle = TrainingConfig(schedule="one_cycle", learning_rate=0.1)
    assert learning_rate_at(one_cycle, 0, 100) == pytest.approx(0.1 / 25)
    assert learning_rate_at(one_cycle, 29, 100) == pytest.approx(0.1)  # 30 of 100 steps rise
    assert learning_rate_at(one_cycle, 99, 100) == pytest.approx(0.1 / 250_000)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 4, 100])
@pytest.mark.parametrize("warm_up", [0.01, 0.25, 0.5, 0.99])
def test_warm_up_rises_once_to_the_top(schedule: str, steps: int, warm_up: float) -> None:
    config = TrainingConfig(schedule=schedule, learning_rate=0.1, warm_up=warm_up)
    rates = [learning_rate_at(config, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert 0 < max(rates) <= 0.1 * (1 + 1e-9)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 100:
        assert abs(top - 100 * warm_up) <= 1
        assert rates[top] > 0.098


def test_warm_up_is_linear() -> None:
    rates = [learning_rate_at(TrainingConfig(learning_rate=0.1, warm_up=0.4), step, 10) for step in range(10)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 6])
