"""Memory of the device that trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tuner.errors import OutOfMemoryError
from tuner.training.torch_internals import is_out_of_memory

CONTEXT_BYTES = 700 << 20
"""Memory of CUDA itself per process, beside PyTorch's pool.

500 to 700 MB are usual. It is not measured.
"""


@contextmanager
def memory_errors_as(what: str, device: torch.device) -> Iterator[None]:
    """Turn every kind of memory error into one OutOfMemoryError.

    Args:
        what: What does not fit, in words: `lenet5 with batch_size 64`.
        device: The device that it should have fitted into.

    Raises:
        OutOfMemoryError: The body ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"{what} does not fit into the memory of {device}") from error


def pool_fraction(share: float, total: int) -> float:
    """Return the fraction of a GPU's memory for a process's tensors.

    Args:
        share: Share of the GPU that the process has. A whole GPU is not limited.
        total: Bytes of the GPU, of which CUDA itself takes CONTEXT_BYTES per process.
    """
    return 1.0 if share >= 1 else max(0.0, share - CONTEXT_BYTES / total)


def limit_memory(share: float, device: torch.device) -> None:
    """Limit this process to its share of a CUDA device's memory."""
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(pool_fraction(share, total), device)


def release_memory(device: torch.device) -> None:
    """Return the unused memory of this process to its GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
