"""Optimizers, and the learning rate at every step of a training."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn, optim

from tuner.config.training import TrainingConfig
from tuner.training.torch_internals import disable_compiler_guards

WARM_UP = 0.3
"""Share of a one-cycle training in which the learning rate rises."""


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], config: TrainingConfig
) -> optim.Optimizer:
    """Build the optimizer that `config` names, in PyTorch's fused form.

    The fused form is the fastest on CPU and CUDA alike. Weight decay is added to the gradient
    (adam, sgd) or decoupled from it (adamw). sgd uses Nesterov momentum.
    """
    lr, decay, momentum = config.learning_rate, config.weight_decay, config.momentum
    if config.optimizer == "sgd":
        return optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=momentum > 0, weight_decay=decay, fused=True)
    kind = optim.AdamW if config.optimizer == "adamw" else optim.Adam
    return kind(parameters, lr=lr, eps=config.epsilon, weight_decay=decay, fused=True)


disable_compiler_guards()


def set_learning_rate(optimizer: optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of the next step for every parameter.

    Groups with a `factor` get that part of it.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("factor", 1.0)


def learning_rate_at(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the learning rate of one of `steps` steps, counted from 0.

    - constant: `config.learning_rate`.
    - cosine: half a cosine from it towards 0, as `CosineAnnealingLR` with one period.
    - one_cycle: PyTorch's `OneCycleLR` with its defaults and a fixed momentum. It rises from 1/25
      of `config.learning_rate` in the first 30 % of the steps, then falls to 1/250,000 of it.

    With `config.warm_up`, constant and cosine begin after a linear rise, and one_cycle rises for
    that share of the steps.
    """
    top = config.learning_rate
    if config.schedule == "one_cycle":
        start, turn, last = top / 25, (config.warm_up or WARM_UP) * steps - 1, steps - 1
        if step <= turn:
            return _half_cosine(start, top, step / turn if turn else 1.0)
        return _half_cosine(top, start / 1e4, (step - turn) / (last - turn))
    rising = config.warm_up * steps
    if step < rising:
        return top * (step + 1) / (rising + 1)
    return _half_cosine(top, 0.0, (step - rising) / (steps - rising)) if config.schedule == "cosine" else top


def _half_cosine(first: float, last: float, share: float) -> float:
    """Interpolate from `first` to `last` along half a cosine.

    `share` is 0 at `first` and 1 at `last`.
    """
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
