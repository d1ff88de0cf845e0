"""Parts of torch that are used without being public, each with its reason.

A test of each part fails when an upgrade of torch takes it away.
"""

import re
from inspect import unwrap

import torch
from torch import optim

MEMORY_MESSAGES = re.compile(r"can't allocate memory|out of memory|ALLOC_FAILED|not enough memory", re.IGNORECASE)
"""Texts of memory errors.

They are not public. They are compared because only CUDA's error has its own class.
"""


def is_out_of_memory(error: Exception) -> bool:
    """Return True if `error` was raised for want of memory.

    torch, CUDA or Python may have raised it.
    """
    if isinstance(error, RuntimeError):  # torch.OutOfMemoryError is one
        return MEMORY_MESSAGES.search(str(error)) is not None
    return isinstance(error, MemoryError)


def step_uncompiled(optimizer: optim.Optimizer) -> None:
    """Update the parameters as `optimizer.step()` does, without importing the compiler.

    `__wrapped__` is not public. It is used because the decorators around `step` import
    `torch._dynamo`, which costs every process 2 to 5 s and is needed only to compile.
    """
    with torch.no_grad():
        unwrap(type(optimizer).step)(optimizer)


def disable_compiler_guards(kind: type[optim.Optimizer] = optim.Optimizer) -> None:
    """Let the decorated methods of an optimizer run without importing the compiler.

    `__dynamo_disable` is not public. It is set because `zero_grad`, `state_dict` and others
    import `torch._dynamo` on their first call unless it is there.
    """
    for method in vars(kind).values():
        if undecorated := getattr(method, "__wrapped__", None):
            undecorated.__dynamo_disable = undecorated
