"""Memory of a GPU: each process is limited to its share."""

import pytest
import torch

from tests.support.cuda import needs_cuda
from tuner.training.memory import CONTEXT_BYTES, limit_memory, pool_fraction, release_memory

GIB = 1 << 30
GPU = torch.device("cuda", 0)


def test_pool_of_a_whole_gpu_is_not_limited() -> None:
    assert pool_fraction(1.0, 80 * GIB) == 1.0
    assert pool_fraction(2.0, 80 * GIB) == 1.0


@pytest.mark.parametrize("trials", [2, 3, 4, 10])
def test_pools_and_contexts_fill_a_shared_gpu(trials: int) -> None:
    total = 80 * GIB
    taken = trials * (pool_fraction(1 / trials, total) * total + CONTEXT_BYTES)
    assert taken == pytest.approx(total)


def test_pool_of_a_tiny_share_is_empty() -> None:
    assert pool_fraction(0.01, 16 * GIB) == 0.0


@needs_cuda
def test_process_is_fenced_to_its_share() -> None:
    total = torch.cuda.get_device_properties(GPU).total_memory
    limit_memory(0.25, GPU)
    try:
        kept = torch.empty(int(0.15 * total), dtype=torch.uint8, device=GPU)
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(int(0.15 * total), dtype=torch.uint8, device=GPU)
        del kept
    finally:
        limit_memory(1.0, GPU)


@needs_cuda
def test_released_memory_is_free_for_others() -> None:
    torch.empty(GIB, dtype=torch.uint8, device=GPU)
    release_memory(GPU)
    assert torch.cuda.memory_reserved(GPU) < GIB
