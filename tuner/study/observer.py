"""Who may watch a running study. Rows are those of the trials table, as far as they are known."""

from typing import Any, Protocol

Row = dict[str, Any]


class Observer(Protocol):
    """Watches a running study."""

    def trial_started(self, row: Row) -> None:
        """A trial was given to Ray."""

    def attempt_started(self, row: Row) -> None:
        """A worker took the trial up, for the first time or again."""

    def epoch_reported(self, row: Row) -> None:
        """A trial finished an epoch."""

    def trial_ended(self, row: Row) -> None:
        """A trial is COMPLETE, PRUNED or FAILED, or an attempt failed and another follows."""

    def halting(self) -> None:
        """The study was asked to stop, or its budget ended: trials in flight are interrupted. May be called again."""


class NullObserver:
    """Takes no notice."""

    def attempt_started(self, row: Row) -> None:
        """Take no notice."""

    def trial_started(self, row: Row) -> None:
        """Take no notice."""

    def epoch_reported(self, row: Row) -> None:
        """Take no notice."""

    def trial_ended(self, row: Row) -> None:
        """Take no notice."""

    def halting(self) -> None:
        """Take no notice."""
