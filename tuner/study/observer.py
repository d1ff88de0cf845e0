"""Observers of a running study.

They receive rows of the trials table, as far as these are known.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

from tuner.errors import type_and_line

Row = dict[str, Any]


class Observer(Protocol):
    """An observer of a running study."""

    def slots_counted(self, slots: int) -> None:
        """Learn how many trials can run side by side from now on."""

    def trial_started(self, row: Row) -> None:
        """Learn that a trial was given to Ray."""

    def attempt_started(self, row: Row) -> None:
        """Learn that a worker began an attempt at a trial."""

    def epoch_reported(self, row: Row, report: Row) -> None:
        """Learn that a trial finished an epoch, and what its worker sent."""

    def trial_judged(self, decision: Row) -> None:
        """Learn a verdict of the stopping rule, a row of `decisions`."""

    def trial_paused(self, row: Row) -> None:
        """Learn that a trial waits at a rung."""

    def trial_ended(self, row: Row) -> None:
        """Learn that a trial ended, or only an attempt of it.

        After a failed attempt another attempt follows.
        """

    def halting(self) -> None:
        """Learn that trials in flight are interrupted. May be called again."""


class NullObserver:
    """An observer that ignores everything."""

    def slots_counted(self, slots: int) -> None:
        """Ignore the slots."""

    def attempt_started(self, row: Row) -> None:
        """Ignore the attempt."""

    def trial_started(self, row: Row) -> None:
        """Ignore the trial."""

    def epoch_reported(self, row: Row, report: Row) -> None:
        """Ignore the epoch."""

    def trial_judged(self, decision: Row) -> None:
        """Ignore the verdict."""

    def trial_paused(self, row: Row) -> None:
        """Ignore the wait."""

    def trial_ended(self, row: Row) -> None:
        """Ignore the end."""

    def halting(self) -> None:
        """Ignore the stop."""


class TolerantObserver:
    """An observer whose errors never end the study.

    Its output may be closed, or its disk full.

    Args:
        observer: The observer that is called. Its first error is a warning.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._has_failed = False

    def slots_counted(self, slots: int) -> None:
        """Pass on the slots."""
        self._tolerate(self._observer.slots_counted, slots)

    def attempt_started(self, row: Row) -> None:
        """Pass on the attempt."""
        self._tolerate(self._observer.attempt_started, row)

    def trial_started(self, row: Row) -> None:
        """Pass on the trial."""
        self._tolerate(self._observer.trial_started, row)

    def epoch_reported(self, row: Row, report: Row) -> None:
        """Pass on the epoch."""
        self._tolerate(self._observer.epoch_reported, row, report)

    def trial_judged(self, decision: Row) -> None:
        """Pass on the verdict."""
        self._tolerate(self._observer.trial_judged, decision)

    def trial_paused(self, row: Row) -> None:
        """Pass on the wait."""
        self._tolerate(self._observer.trial_paused, row)

    def trial_ended(self, row: Row) -> None:
        """Pass on the end."""
        self._tolerate(self._observer.trial_ended, row)

    def halting(self) -> None:
        """Pass on the stop."""
        self._tolerate(self._observer.halting)

    def _tolerate(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            call(*arguments)
        except (Exception, SystemExit) as error:  # rich exits where a pipe is closed
            if not self._has_failed:
                warning = f"the display failed and the study goes on: {type_and_line(error)}"
                warnings.warn(warning, stacklevel=2)
            self._has_failed = True
