"""Images that are larger than memory: mapped, and read ahead of the training batch by batch."""

import mmap
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")

AHEAD = 2
"""Batches that are read before they are asked for."""
LARGEST_SHARE = 0.5
"""Largest share of a device's memory that images may take. Larger sets are read from the disk."""
PAGE = mmap.ALLOCATIONGRANULARITY


class MappedImages:
    """The pages of a mapped array of images.

    The system reads single images, because its usual read-ahead reads many times more than a random order
    uses.
    """

    def __init__(self, images: NDArray[np.uint8]) -> None:
        """Take images, (N, C, H, W), as `np.load` maps them."""
        mapped: Any = images
        self._mapping: mmap.mmap = mapped.base
        self._offset = int(mapped.offset % PAGE)  # because NumPy maps from the page before the array
        self._bytes = images[:1].nbytes
        self._mapping.madvise(mmap.MADV_RANDOM)

    def announce(self, positions: Tensor) -> None:
        """Ask the system to read images in parallel, without waiting for them."""
        for position in positions.tolist():
            start = self._offset + position * self._bytes
            page = start - start % PAGE
            self._mapping.madvise(mmap.MADV_WILLNEED, page, start + self._bytes - page)


def read_ahead(read: Callable[[Tensor], T], steps: Sequence[Tensor]) -> Iterator[T]:
    """Yield the result of `read` for each step, in order.

    A thread reads AHEAD steps in advance.
    """
    with ThreadPoolExecutor(1, "read-ahead") as thread:
        waiting: deque[Future[T]] = deque()
        for indices in steps:
            waiting.append(thread.submit(read, indices))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def is_larger(count: int, device: torch.device) -> bool:
    """Return True if `count` bytes exceed LARGEST_SHARE of a device's memory."""
    return count > LARGEST_SHARE * _memory(device)


def _memory(device: torch.device) -> float:
    """Return the bytes that this process may use on a device."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        total = torch.cuda.get_device_properties(index).total_memory
        return float(total * torch.cuda.get_per_process_memory_fraction(index))
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return float(min([physical, *_limits()]))


def _limits(membership: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield this process's memory limits, set by containers and job schedulers.

    Args:
        membership: File that names the control groups of this process.
        groups: Folder of all groups, in which a container may see only its own.
    """
    with suppress(OSError, ValueError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                file = "memory.max" if not controllers else "memory/memory.limit_in_bytes"
                root, _, name = f"{groups}/{file}".rpartition("/")
                for path in (Path(group), *Path(group).parents):  # because a group limits those below it
                    with suppress(OSError, ValueError):  # because it may be the word max
                        yield int(Path(f"{root}{path}", name).read_text())
