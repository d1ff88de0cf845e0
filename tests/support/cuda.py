"""Mark of the tests that need a GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch


def needs_cuda(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test `cuda`, and skip it on a machine without a GPU."""
    skipped = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")(test)
    return pytest.mark.cuda(skipped)  # type: ignore[no-any-return]
