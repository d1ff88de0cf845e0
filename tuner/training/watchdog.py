"""Watchdog that ends the worker of a trial that hangs, after dumping its stacks."""

import faulthandler
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")

HANG_SECONDS = 900.0
"""Seconds without an optimizer step after which a trial hangs and its worker ends."""


def watched(train: Callable[P, Iterator[dict[str, Any]]]) -> Callable[P, Iterator[dict[str, Any]]]:
    """Decorate a generator of reports so that computing each report is watched.

    The watchdog is off while no report is being computed.
    """

    @wraps(train)
    def watched_train(*args: P.args, **kwargs: P.kwargs) -> Iterator[dict[str, Any]]:
        reports = train(*args, **kwargs)
        while report := _next_watched(reports):
            yield report

    return watched_train


def _next_watched(reports: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the next report, None after the last."""
    arm()
    try:
        return next(reports, None)
    finally:
        faulthandler.cancel_dump_traceback_later()


def arm() -> None:
    """Restart the timeout of `HANG_SECONDS`."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)
