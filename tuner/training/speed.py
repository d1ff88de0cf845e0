"""Speed of a network's forward pass, as an objective of a study."""

import time
from statistics import median

import torch
from torch import Tensor, nn

from tuner.training.precision import Precision
from tuner.training.watchdog import beat

WARM_UP = 3
"""Passes before the measurement, because the first ones choose kernels and allocate memory."""
PASSES = 20
"""Passes to measure, of which the median counts."""
MEASURE_SECONDS = 2.0
"""Seconds after which fewer passes are enough."""


def forward_seconds(model: nn.Module, batch: Tensor, precision: Precision) -> float:
    """Return the median time of a forward pass, in seconds.

    The network is put into evaluation mode.

    Args:
        model: The network.
        batch: Prepared images, on its device.
        precision: Number format of the network.
    """
    model.eval()
    times: list[float] = []
    until = time.perf_counter() + MEASURE_SECONDS
    with torch.inference_mode(), precision.autocast(batch.device):
        while len(times) < WARM_UP + PASSES and (len(times) <= WARM_UP or time.perf_counter() < until):
            beat()
            times.append(_timed(model, batch))
    return median(times[WARM_UP:])


def _timed(model: nn.Module, batch: Tensor) -> float:
    _wait_for(batch.device)
    started = time.perf_counter()
    model(batch)
    _wait_for(batch.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    """Wait until the device has done its work.

    This is necessary because a GPU works in the background.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
