"""Watchdog that ends the worker of a trial that hangs, after dumping its stacks."""

import faulthandler
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec

from tuner.data import progress

P = ParamSpec("P")

HANG_SECONDS = 900.0
"""Seconds without a beat after which a worker hangs and is ended."""

_beaten_at: float | None = None
"""Time of the last restart, or None while nothing is watched."""


def watched(train: Callable[P, Iterator[dict[str, Any]]]) -> Callable[P, Iterator[dict[str, Any]]]:
    """Decorate a generator of reports so that computing each report is watched.

    The watchdog is off while no report is being computed.
    """

    @wraps(train)
    def watched_train(*args: P.args, **kwargs: P.kwargs) -> Iterator[dict[str, Any]]:
        progress.listener = beat
        reports = train(*args, **kwargs)
        while report := _next_watched(reports):
            yield report

    return watched_train


def _next_watched(reports: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the next report, None after the last."""
    _restart()
    try:
        return next(reports, None)
    finally:
        stop()


def beat() -> None:
    """Restart the timeout, if the worker is watched.

    Every batch of every loop calls it.
    """
    if _beaten_at is not None and time.monotonic() - _beaten_at > HANG_SECONDS / 100:
        _restart()


def stop() -> None:
    """End the watch."""
    global _beaten_at
    _beaten_at = None
    faulthandler.cancel_dump_traceback_later()


def _restart() -> None:
    """Restart the timeout of `HANG_SECONDS`, or start it."""
    global _beaten_at
    _beaten_at = time.monotonic()
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)
