"""Optimizers, and the learning rate at every step of a training."""

import math
from collections.abc import Iterable
from inspect import unwrap

import torch
from torch import nn, optim

from tuner.config.training import TrainingConfig

WARM_UP = 0.3
"""Share of a one-cycle training in which the learning rate rises."""


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainingConfig) -> optim.Optimizer:
    """Build the optimizer that `config` names, in PyTorch's fused form: the fastest on CPU and on CUDA alike.

    Weight decay is added to the gradient (adam, sgd) or decoupled from it (adamw). sgd uses Nesterov momentum.
    """
    lr, decay, momentum = config.learning_rate, config.weight_decay, config.momentum
    if config.optimizer == "sgd":
        return optim.SGD(parameters, lr=lr, momentum=momentum, nesterov=momentum > 0, weight_decay=decay, fused=True)
    kind = optim.AdamW if config.optimizer == "adamw" else optim.Adam
    return kind(parameters, lr=lr, eps=config.epsilon, weight_decay=decay, fused=True)


def take_step(optimizer: optim.Optimizer) -> None:
    """Update the parameters: `optimizer.step()` without what shields it from a compiler.

    That shield, on several methods, imports `torch._dynamo`: 2 to 5 s in every process, and nothing is compiled here.
    """
    with torch.no_grad():
        unwrap(type(optimizer).step)(optimizer)


def _run_unshielded() -> None:
    for method in vars(optim.Optimizer).values():
        if plain := getattr(method, "__wrapped__", None):
            plain.__dynamo_disable = plain


_run_unshielded()


def set_learning_rate(optimizer: optim.Optimizer, learning_rate: float) -> None:
    """Use `learning_rate` from the next step on, for every parameter."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def learning_rate_at(config: TrainingConfig, step: int, steps: int) -> float:
    """Learning rate of step `step` of `steps`, both over the whole training; steps count from 0.

    constant: `config.learning_rate`. cosine: half a cosine from it towards 0, as `CosineAnnealingLR` with one
    period. one_cycle: as PyTorch's `OneCycleLR` by default: up from 1/25 of it during the first 30 % of the steps,
    then down to 1/250,000 of it; momentum stays as it is.
    """
    top = config.learning_rate
    if config.schedule == "cosine":
        return _half_cosine(top, 0.0, step / steps)
    if config.schedule == "one_cycle":
        start, turn, last = top / 25, WARM_UP * steps - 1, steps - 1
        if step <= turn:
            return _half_cosine(start, top, step / turn)
        return _half_cosine(top, start / 1e4, (step - turn) / (last - turn))
    return top


def _half_cosine(first: float, last: float, share: float) -> float:
    """Go from `first` (share 0) to `last` (share 1) along half a cosine."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
