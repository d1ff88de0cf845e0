"""One rung of a halving rule under which trials can wait."""

from collections import Counter
from heapq import heappop, heappush

from tuner.search.ranking import Ranking


class Rung:
    """The values at one rung, and the trials that wait there.

    A higher value is better.

    Args:
        milestone: Epochs of the rung.
        ranking: Its values.
        reduction_factor: The best 1/reduction_factor go on.
        min_trials: Trials that must stand at the rung before any goes on.
    """

    def __init__(
        self,
        milestone: float,
        ranking: Ranking,
        reduction_factor: float,
        min_trials: int,
    ) -> None:
        self.milestone = milestone
        self.ranking = ranking
        self._factor = reduction_factor
        self._min_trials = min_trials
        self._passed: Counter[float] = Counter()
        self._heap: list[tuple[float, int, int]] = []  # value with the other sign, number, epoch

    @property
    def places(self) -> int:
        """Number of trials that may go on."""
        count = len(self.ranking)
        return int(count / self._factor) if count >= self._min_trials else 0

    @property
    def cutoff(self) -> float | None:
        """Value of the last trial that may go on.

        It is None if no trial may.
        """
        return self.ranking.ordered[-self.places] if self.places else None

    @property
    def best(self) -> tuple[int, int] | None:
        """Number and epoch of the best waiting trial.

        Of equal trials it has the lowest number.
        """
        return self._heap[0][1:] if self._heap else None

    @property
    def is_open(self) -> bool:
        """True if the best waiting trial is among the best 1/reduction_factor."""
        if not self._heap:
            return False
        value = -self._heap[0][0]  # which ranks behind equal values that have gone on
        return self.ranking.rank(value) + self._passed[value] <= self.places

    def is_behind(self, number: int, cutoff: float | None) -> bool:
        """Return True if a trial's value is below the value to reach."""
        return cutoff is not None and self.ranking.value(number) < cutoff

    def wait(self, number: int, epoch: int) -> None:
        """Let a trial wait whose value is recorded."""
        heappush(self._heap, (-self.ranking.value(number), number, epoch))

    def release(self) -> None:
        """Let the best waiting trial go on."""
        self.passed(-heappop(self._heap)[0])

    def passed(self, value: float) -> None:
        """Record that a trial with this value has gone on."""
        self._passed[value] += 1

    def clear(self) -> None:
        """Let no trial wait any more."""
        self._heap.clear()
