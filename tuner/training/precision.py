"""Number format of the forward pass and memory order of the images."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

BFLOAT16_SINCE = (8, 0)
"""Least CUDA compute capability with bfloat16 in hardware: Ampere's."""

Wanted = Literal["auto", "float32", "bfloat16"]
Capability = tuple[int, ...]


@dataclass(frozen=True)
class Precision:
    """Choice of bfloat16 autocast and of channels-last memory order. Weights stay float32."""

    bfloat16: bool
    channels_last: bool

    @property
    def memory_format(self) -> torch.memory_format:
        """Memory order of images and weights, as PyTorch names it."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context of the forward pass and the loss."""
        return torch.autocast(device.type, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def describe(self, device: torch.device) -> str:
        """Describe the choice: 'cpu', 'cpu bf16', 'cuda:0 bf16 channels_last'."""
        words = [str(device), "bf16" if self.bfloat16 else "", "channels_last" if self.channels_last else ""]
        return " ".join(filter(None, words if device.type == "cuda" else words[:2]))


def choose(wanted: Wanted, device: torch.device, model: nn.Module, capability: Capability | None = None) -> Precision:
    """Choose number format and memory order by rule.

    The rule is the same for all trials of a study and an architecture.

    - On CUDA, `auto` is bfloat16 if the compute capability is 8.0 or more, else float32. Networks
      with convolutions that compute in bfloat16 are channels-last.
    - On a CPU, `auto` is float32, and every network is channels-last. That was 1.1 to 1.5 times as
      fast for every network here (one thread). It makes batch statistics less exact, by 1e-4 of
      their size for batches of 64 images of 32x32.

    Args:
        wanted: The number format that the study asks for.
        device: The device that trains.
        model: The network.
        capability: Compute capability that counts for the whole study; None: that of `device`.
    """
    if device.type != "cuda":
        return Precision(bfloat16=wanted == "bfloat16", channels_last=True)
    if wanted == "auto":
        bfloat16 = (capability or torch.cuda.get_device_capability(device)) >= BFLOAT16_SINCE
    else:
        bfloat16 = wanted == "bfloat16"
    return Precision(bfloat16, channels_last=bfloat16 and _has_convolutions(model))


def _has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in model.modules())
