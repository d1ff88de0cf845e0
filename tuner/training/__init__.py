"""Training of one trial: the loop, its checkpoints and its watchdog.

`train` is imported on first use, because torch takes seconds.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.training.loop import Trainer, train

__all__ = ["Trainer", "train"]


def __getattr__(name: str) -> Any:
    """Import the training loop on first use."""
    if name in __all__:
        from tuner.training import loop

        return getattr(loop, name)
    raise AttributeError(f"module 'tuner.training' has no attribute '{name}'")
