"""What a trial takes of a GPU, in a module without torch, because the driver imports it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryNeed:
    """GPU memory that the largest trial of a study takes."""

    what: str
    """The trial, in words: `alexnet with batches of 256`."""
    bytes: int | None
    """Memory of its process, or None if it exceeds the GPU."""
    of: int
    """The GPU's memory, in bytes."""
