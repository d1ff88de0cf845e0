"""A watchdog over a trial: a worker whose trial hangs dumps its stacks and ends."""

import faulthandler
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, ParamSpec

P = ParamSpec("P")

HANG_SECONDS = 900.0
"""A trial without an optimizer step for so long hangs: its worker dumps its stacks and ends, and it is tried again."""


def watched(train: Callable[P, Iterator[dict[str, Any]]]) -> Callable[P, Iterator[dict[str, Any]]]:
    """Watch over the computing of each report; the watchdog sleeps while nobody asks for one."""

    @wraps(train)
    def watching(*args: P.args, **kwargs: P.kwargs) -> Iterator[dict[str, Any]]:
        reports = train(*args, **kwargs)
        while report := _nextwatched(reports):
            yield report

    return watching


def _nextwatched(reports: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The next report, None after the last."""
    arm()
    try:
        return next(reports, None)
    finally:
        faulthandler.cancel_dump_traceback_later()


def arm() -> None:
    """Give the trial `HANG_SECONDS` from now on."""
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)
