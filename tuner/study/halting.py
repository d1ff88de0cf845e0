"""Stops of a study before its end, by budget, user or environment."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Literal

from ray.tune import Stopper

SPARE = 2.0
"""Factor by which a trial may take longer than it seems, when the budget is almost used up."""
StopReason = Literal["budget", "interrupt", "environment"]


class StudyStopper(Stopper):
    """A stopper of the whole study, whose trials in flight stay resumable.

    Args:
        hours: Budget of the study. None: no limit.
        spent: Seconds of the budget that earlier runs have taken.
        check: Raises an error if the folder cannot be written any more.
        is_hopeless: Returns True if the environment makes every trial fail.
    """

    def __init__(
        self,
        hours: float | None,
        spent: float,
        check: Callable[[], None],
        is_hopeless: Callable[[], bool],
    ) -> None:
        self._check = check
        self._is_hopeless = is_hopeless
        self._deadline = None if hours is None else time.monotonic() + hours * 3600 - spent
        self.reason: StopReason | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        """Return False, because no single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Return True if the study is to stop now."""
        self._check()
        if self.reason is None and self._is_hopeless():
            self.reason = "environment"
        if self.reason is None and self._deadline is not None and time.monotonic() >= self._deadline:
            self.reason = "budget"
        return self.reason is not None

    def is_short_of(self, seconds: float) -> bool:
        """Return True if the budget leaves too little for so many seconds.

        Enough is `SPARE` times their number.
        """
        return self._deadline is not None and self._deadline - time.monotonic() < SPARE * seconds

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
