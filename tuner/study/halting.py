"""Stops of a study before its end, by budget, user or environment."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ray.tune import Stopper

from tuner.study.budget import BudgetMeter

StopReason = str
"""interrupt, environment, or the key of the limit that is reached: budget.hours."""


class StudyStopper(Stopper):
    """A stopper of the whole study, whose trials in flight stay resumable.

    Args:
        meter: Counts what the study spends of its budget.
        check: Raises an error if the folder cannot be written any more.
        is_hopeless: Returns True if the environment makes every trial fail.
    """

    def __init__(
        self,
        meter: BudgetMeter,
        check: Callable[[], None],
        is_hopeless: Callable[[], bool],
    ) -> None:
        self._meter = meter
        self._check = check
        self._is_hopeless = is_hopeless
        self.reason: StopReason | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return False, because no single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Return True if the study is to stop now."""
        self._check()
        if self.reason is None and self._is_hopeless():
            self.reason = "environment"
        if self.reason is None and (limit := self._meter.limit):
            self.reason = f"budget.{limit}"
        return self.reason is not None

    def is_stopping(self) -> bool:
        """Return True if a reason to stop is known."""
        return self.reason is not None


@contextmanager
def stop_on_signals(stopper: StudyStopper) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop a study.

    The second Ctrl-C ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stopper.reason == "interrupt":
            raise KeyboardInterrupt
        stopper.reason = "interrupt"

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, stop) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
