"""Observers that a test gives to a study to act at its events."""

from collections.abc import Callable

from tuner.study.observer import NullObserver, Row


class Outage(NullObserver):
    """An outage of what holds the tables, from the end of the first trial on.

    It ends, if it does, some epochs after a row could not be written.

    Args:
        begin: Begins the outage.
        end: Ends it. None: it lasts.
        epochs: Epochs to report meanwhile.
    """

    def __init__(self, begin: Callable[[], None], end: Callable[[], None] | None = None, epochs: int = 4) -> None:
        self._begin, self._end, self._epochs = begin, end, epochs
        self._begun = self._refused = False
        self.meanwhile: list[tuple[int, int]] = []

    def trial_ended(self, row: Row) -> None:  # noqa: ARG002
        """Begin the outage after the row of the first trial."""
        if not self._begun:
            self._begin()
            self._begun = True

    def trial_started(self, row: Row) -> None:  # noqa: ARG002
        """Remember that a row was refused, because it was to be written just before."""
        self._refused = self._begun

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        """Count epochs, and end the outage after enough of them."""
        if self._refused and len(self.meanwhile) < self._epochs:
            self.meanwhile.append((row["number"], row["epochs_run"]))
            if self._end and len(self.meanwhile) == self._epochs:
                self._end()
