"""Memory of the device that trains."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tuner.errors import OutOfMemoryError
from tuner.training.torch_internals import is_out_of_memory


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
