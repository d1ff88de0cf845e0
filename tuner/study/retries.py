"""The life of a trial after a failure: another attempt, or the end.

==============  ==================================================  ==============================
kind            what happened                                       what follows
==============  ==================================================  ==============================
diverged        a loss is not finite                                FAILED
configuration   the network refuses the hyperparameters             FAILED
memory          the trial does not fit into memory                  once more, alone, then FAILED
crash           the trial raised, or its process ended              `retries` more attempts
environment     data, store, GPU, node or an idle worker was lost   another attempt, not counted
==============  ==================================================  ==============================
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count

from tuner.search.proposals import Retry
from tuner.study.failures import Failure

BACKOFF_SECONDS = (10.0, 60.0)
"""Seconds to wait after one failure of the environment, and after the second in a row."""
FAILURES_IN_A_ROW = 3
"""Failures of the environment, with no success between them, that stop a study."""


class Retries:
    """The decisions whether a trial is tried again, when and where.

    Args:
        retries: Attempts after a crash.
        earlier: Number and kind of each failure in earlier runs.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        retries: int,
        earlier: Iterable[tuple[int, str]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = {"crash": retries, "memory": 1}
        self._clock = clock
        self._counted = Counter(failure for failure in earlier if failure[1] in self._allowed)
        self._events = count(1)
        self._began: dict[int, int] = {}
        self._failed_at = 0
        self._in_a_row: list[Failure] = []

    @property
    def stop_reason(self) -> str | None:
        """Why the study has to stop, or None."""
        if len(self._in_a_row) < FAILURES_IN_A_ROW:
            return None
        numbers = ", ".join(str(failure.number) for failure in self._in_a_row)
        return f"{FAILURES_IN_A_ROW} attempts in a row failed (trials {numbers}): {self._in_a_row[-1].text}"

    def began(self, number: int) -> None:
        """Record that a worker began an attempt."""
        self._began[number] = next(self._events)

    def succeeded(self, number: int) -> None:
        """Record an epoch.

        It ends the failures in a row if its attempt began after them.
        """
        if self._in_a_row and self._began.get(number, 0) > self._failed_at:
            self._in_a_row.clear()

    def ended(self, number: int) -> None:
        """Forget a trial that has ended."""
        self._began.pop(number, None)

    def failed(self, failure: Failure) -> Retry | None:
        """Decide what follows a failure. None: the trial is FAILED."""
        began = self._began.pop(failure.number, None) or next(self._events)
        if failure.kind == "environment":
            return self._retry_later(failure, began)
        if failure.kind not in self._allowed or self._is_last(failure):
            return None
        if failure.kind == "memory":
            return Retry(failure.number, alone=True)
        return Retry(failure.number, avoid=failure.node)

    def _is_last(self, failure: Failure) -> bool:
        """Count a failure, and return True if no attempt is left.

        Failures count modulo the attempts, because a FAILED trial may have been opened again.
        """
        self._counted[failure.number, failure.kind] += 1
        attempts = self._allowed[failure.kind] + 1
        return self._counted[failure.number, failure.kind] % attempts == 0

    def _retry_later(self, failure: Failure, began: int) -> Retry:
        if self._in_a_row and self._in_a_row[-1].cause != failure.cause:
            self._in_a_row.clear()
        if not self._in_a_row or began > self._failed_at:  # or one event has ended several
            self._in_a_row.append(failure)
            self._failed_at = next(self._events)
        delay = BACKOFF_SECONDS[min(len(self._in_a_row), len(BACKOFF_SECONDS)) - 1]
        return Retry(
            failure.number,
            not_before=self._clock() + delay,
            holds=not failure.is_local,
            avoid=failure.node,
        )
