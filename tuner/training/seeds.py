"""Seeds derived from their purpose, and the order of images."""

import hashlib
from typing import Literal

import torch
from torch import Tensor


def derive_step_seed(*parts: int | str) -> int:
    """Derive a 32-bit seed from `parts`. Different parts give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "little")


def seed_global_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout on `device` draws from.

    It has the effect of `torch.manual_seed` on that device, in 1 µs instead of 100.
    """
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def shuffled(count: int, seed: int) -> Tensor:
    """Return 0 to count - 1 in random order.

    The result is (count,) int64 on the CPU.
    """
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def balanced(labels: Tensor, seed: int) -> Tensor:
    """Draw as many positions as there are labels, every class equally likely.

    Positions are drawn with replacement. The result is (N,) int64 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = labels.cpu()
    positions, counts = labels.argsort(stable=True), torch.bincount(labels)
    starts, present = counts.cumsum(0) - counts, counts.nonzero().squeeze(1)
    drawn = present[torch.randint(len(present), labels.shape, generator=generator)]
    shares = torch.rand(labels.shape, generator=generator, dtype=torch.float64)
    return positions[starts[drawn] + (shares * counts[drawn]).long()]


def order_of_epoch(labels: Tensor, sampling: Literal["shuffled", "balanced"], seed: int, epoch: int) -> Tensor:
    """Return the positions of an epoch's images, in order.

    The result is (N,) int64 on the CPU, as many as there are labels.
    """
    seed = derive_step_seed(seed, "order", epoch)
    return balanced(labels, seed) if sampling == "balanced" else shuffled(len(labels), seed)


def batches(order: Tensor, size: int) -> list[Tensor]:
    """Cut `order`, (N,) int64, into batches of `size`, the last one smaller.

    A single last image joins the batch before it, because batch norm cannot normalize one image.
    """
    cut = list(torch.split(order, size))
    if size > 1 and len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2:] = [torch.cat(cut[-2:])]
    return cut
