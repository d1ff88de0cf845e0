"""An exponential moving average of a network's weights."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """A moving average of a network's weights, as in Szegedy et al. 2016 (arXiv 1512.00567).

    Running statistics are averaged as weights are. After n updates, at most (1 + n) / (10 + n) of
    the average stays at a step, because the first weights are random.

    Attributes:
        model: A copy of the network with the average, to be evaluated.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self._decay, self._updates = decay, 0

    def update(self, model: nn.Module) -> None:
        """Move the average towards the weights of `model`."""
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        self._updates += 1
        with torch.no_grad():
            for averaged, current in zip(_values(self.model), _values(model), strict=True):
                if current.is_floating_point():
                    averaged.lerp_(current, 1 - decay)
                else:  # because batches are counted, not averaged
                    averaged.copy_(current)

    def state_dict(self) -> dict[str, Any]:
        """Return all that `load_state_dict` needs."""
        return {"updates": self._updates, "model": self.model.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a `state_dict`."""
        self._updates = state["updates"]
        self.model.load_state_dict(state["model"])


def _values(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
