"""Layers that are frozen at first, and learning rates that differ between layers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.test_loop import assert_same_weights, interrupt_at, numbers, weights
from tuner import models
from tuner.config.dataset import Augment, DatasetConfig
from tuner.config.training import TrainingConfig
from tuner.data import load
from tuner.data.device import DeviceDataset
from tuner.training.fine_tuning import Freezer, group_parameters
from tuner.training.loop import Trainer
from tuner.training.optimizer import build_optimizer, set_learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL: dict[str, Any] = {"architecture": "rubio_small", "filters": 4, "dense": 16, "batch_size": 32, "epochs": 3}
"""A network with batch norms, trained for ten steps in each of three epochs."""
HEAD = "20."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DeviceDataset:
    config = DatasetConfig(train=300, validation=100, augment=Augment(flip=True, crop=1))
    return DeviceDataset.open(load(config, cache=tmp_path_factory.mktemp("cache")), config)


def state(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_head_alone_is_trained_in_frozen_epochs(data: DeviceDataset) -> None:
    run = Trainer(TrainingConfig(**SMALL, freeze=2), data, seed=1, log_every=4)
    states = [state(run)]
    for _ in run:
        states.append(state(run))
    head = {name for name in states[0] if name.startswith(HEAD)}
    assert head
    assert changed(states[0], states[1]) == changed(states[1], states[2]) == head
    assert changed(states[2], states[3]) == {*states[0]}  # with the statistics of the batch norms


def test_freezing_all_never_trains_other_layers(data: DeviceDataset) -> None:
    run = Trainer(TrainingConfig(**SMALL, freeze="all", optimizer="sgd", weight_decay=1e-3), data, seed=1)
    before, count = state(run), run.parameters_count
    losses = [result.train_loss for result in run]
    assert losses[-1] < losses[0]
    assert {name[: len(HEAD)] for name in changed(before, state(run))} == {HEAD}
    assert count == models.parameters_count(Trainer(TrainingConfig(**SMALL), data).model)


def test_frozen_parts_are_in_evaluation_mode() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Flatten(),
        nn.Sequential(nn.Dropout(0.5), nn.Linear(144, 10)),
    )
    model[0][0].bias.requires_grad_(False)  # as its user wants it
    freezer = Freezer(model, 10, 1)
    freezer.apply(0)
    assert [name for name, each in model.named_modules() if not each.training] == ["0", "0.0", "0.1", "0.2"]
    assert [name for name, each in model.named_parameters() if each.requires_grad] == ["2.1.weight", "2.1.bias"]
    model.train()
    freezer.apply(1)
    assert all(each.training for each in model.modules())
    assert [name for name, each in model.named_parameters() if not each.requires_grad] == ["0.0.bias"]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("step", [4, 10, 11, 17], ids=["frozen", "last-frozen", "first-released", "released"])
def test_training_with_frozen_epochs_resumes_bit_for_bit(
    optimizer: str, step: int, tmp_path: Path, data: DeviceDataset
) -> None:
    rates = {"layer_decay": 0.7, "head_learning_rate": 0.02, "weight_decay": 0.01}
    config = TrainingConfig(**SMALL, **rates, freeze=1, optimizer=optimizer, schedule="one_cycle", ema=0.9)
    uninterrupted = Trainer(config, data, seed=7, log_every=4)
    expected = [numbers(result) for result in uninterrupted]
    before = interrupt_at(step, tmp_path / "checkpoint.pt", config, data)
    resumed = Trainer(config, data, seed=7, log_every=4)
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert [numbers(result) for result in [*before, *resumed]] == expected
    assert_same_weights(weights(resumed), weights(uninterrupted))


def step_once(config: TrainingConfig, grouped: Callable[[nn.Module], Any]) -> list[torch.Tensor]:
    """Take a step along a gradient of ones, and return how far each parameter went."""
    torch.manual_seed(0)
    model = models.build("lenet5", in_channels=1, classes=10, image_size=28)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = build_optimizer(grouped(model), config)
    set_learning_rate(optimizer, config.learning_rate / 2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return [first - now.detach() for first, now in zip(before, model.parameters(), strict=True)]


@pytest.mark.parametrize(
    ("rates", "factors"),
    [
        ({"layer_decay": 0.5}, [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]),
        ({"head_learning_rate": 0.4}, [1, 1, 1, 1, 4]),
        ({"layer_decay": 0.5, "head_learning_rate": 0.05}, [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1 / 2]),
    ],
    ids=["decay", "head", "both"],
)
def test_learning_rate_differs_by_depth(rates: dict[str, float], factors: list[float]) -> None:
    config = TrainingConfig(optimizer="sgd", momentum=0.0, learning_rate=0.1, **rates)  # type: ignore[arg-type]
    moved = step_once(config, lambda model: group_parameters(model, 10, config))
    expected = [0.05 * factor for factor in factors for _ in ("weight", "bias")]
    assert [each.mean().item() for each in moved] == pytest.approx(expected, rel=1e-3)


def test_defaults_leave_one_group_of_parameters(data: DeviceDataset) -> None:
    run = Trainer(TrainingConfig(**SMALL), data)
    (group,) = run.state_dict()["optimizer"]["param_groups"]
    assert "factor" not in group
    plain, same = (
        [numbers(result) for result in Trainer(TrainingConfig(**SMALL, **more), data, seed=3)]
        for more in ({}, {"head_learning_rate": 1e-3})
    )
    assert plain == same
