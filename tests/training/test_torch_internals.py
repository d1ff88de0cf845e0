"""Parts of torch that are not public still do what they are used for."""

import subprocess
import sys
from inspect import unwrap

import pytest
import torch
from torch import nn, optim

from tests.support.waiting import PATIENCE
from tuner.config.training import TrainingConfig
from tuner.training.optimizer import build_optimizer
from tuner.training.torch_internals import is_out_of_memory, step_uncompiled

STEP = """
import sys
import torch
from torch import nn
from tuner.config.training import TrainingConfig
from tuner.training.optimizer import build_optimizer
from tuner.training.torch_internals import step_uncompiled

for name in ("adam", "adamw", "sgd"):
    parameter = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([parameter], TrainingConfig(optimizer=name))
    optimizer.zero_grad(set_to_none=True)
    parameter.grad = torch.ones(3)
    step_uncompiled(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    assert not torch.equal(parameter, torch.ones(3))
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.slow
def test_optimizers_do_not_import_the_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("kind", [optim.Adam, optim.AdamW, optim.SGD])
def test_step_is_wrapped_by_a_decorator(kind: type[optim.Optimizer]) -> None:
    assert unwrap(kind.step) is not kind.step


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_step_uncompiled_equals_step(name: str) -> None:
    gradients = torch.randn(5, 20, generator=torch.Generator().manual_seed(0))
    outcomes = []
    for step in (step_uncompiled, lambda optimizer: optimizer.step()):
        parameter = nn.Parameter(torch.ones(20))
        optimizer = build_optimizer([parameter], TrainingConfig(optimizer=name))
        for gradient in gradients:
            parameter.grad = gradient.clone()
            step(optimizer)
        outcomes.append(parameter.detach())
    assert not torch.equal(outcomes[0], torch.ones(20))
    assert torch.equal(*outcomes)


def test_memory_error_of_cpu_is_recognized() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB."), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (MemoryError(), True),
        (RuntimeError("disk on fire"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_errors_are_told_from_others(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
