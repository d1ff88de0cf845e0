"""How a network is computed on a device: number format of the forward pass and order of the images in memory."""

import copy
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import Tensor, nn

PROBE_STEPS = 10

Wanted = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Precision:
    """bfloat16 autocast in the forward pass, and channels-last memory order; weights stay float32 either way."""

    bfloat16: bool
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """PyTorch's name for the order of images and weights in memory."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Context of the forward pass and the loss."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def describe(self, device: torch.device) -> str:
        """Say what was chosen: 'cpu', 'cpu bf16', 'cuda:0 bf16 channels_last'."""
        words = [str(device), "bf16" if self.bfloat16 else "", "channels_last" if self.channels_last else ""]
        return " ".join(filter(None, words if device.type == "cuda" else words[:2]))


def on_cpu(wanted: Wanted = "auto") -> Precision:
    """How a CPU computes: in float32 unless bfloat16 is asked for, and always channels-last.

    Channels-last was 1.1 to 1.5 times as fast for every network here (one thread), so nothing is probed.
    Batch statistics are less exact in it, by 1e-4 of their size for batches of 64 images of 32x32.
    """
    return Precision(bfloat16=wanted == "bfloat16", channels_last=True)


def choose(model: nn.Module, images: Tensor, labels: Tensor, wanted: Wanted = "auto") -> Precision:
    """Time a few training steps of a copy of `model` each way on its CUDA device, and take the fastest.

    Args:
        model: the network, on its device; it is left as it is.
        images: a batch (N, C, H, W) float32 on that device, as large as those of the training.
        labels: (N,) int64 on that device.
        wanted: the number format, where it is not to be chosen.
    """
    formats = {"auto": (False, True), "float32": (False,), "bfloat16": (True,)}[wanted]
    ways = [Precision(bfloat16, channels_last) for bfloat16, channels_last in product(formats, (False, True))]
    return min(ways, key=lambda way: _seconds(way, copy.deepcopy(model), images, labels))


def _seconds(way: Precision, model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Time PROBE_STEPS forward and backward passes, after as many that let cuDNN choose and warm up."""
    device = images.device
    model = model.to(memory_format=way.memory_format).train()
    images = images.to(memory_format=way.memory_format)
    started = 0.0
    for step in range(2 * PROBE_STEPS):
        if step == PROBE_STEPS:
            torch.cuda.synchronize(device)
            started = time.perf_counter()
        model.zero_grad(set_to_none=True)
        with way.autocast(device):
            loss = F.cross_entropy(model(images), labels)
        torch.autograd.backward(loss)
    torch.cuda.synchronize(device)
    return time.perf_counter() - started
