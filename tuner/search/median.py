"""The median rule of Google Vizier (Golovin et al., 2017, section 3.2).

A trial stops when its best value so far is worse than the median of the other trials' running
means at that epoch. Ray's `MedianStoppingRule` cannot be refilled, and its means leave out the
epochs before the grace period.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tuner.search.asha import Decision, Recorded, Rungs
from tuner.search.ranking import Ranking


class RunningMean:
    """The values of one trial by epoch, and their sum."""

    def __init__(self) -> None:
        self.values: dict[int, float] = {}
        self._sum = 0.0
        self._last = 0

    def record(self, epoch: int, value: float) -> float:
        """Keep a value and return the mean up to its epoch."""
        self.values[epoch] = value
        if epoch <= self._last:
            return self._recompute(epoch)
        self._last = epoch
        self._sum += value
        return self._sum / len(self.values)

    def _recompute(self, epoch: int) -> float:
        """Sum up again, because a trial that resumes reports some epochs twice."""
        mean = self._sum = 0.0
        for count, (at, value) in enumerate(sorted(self.values.items()), start=1):
            self._sum += value
            if at == epoch:
                mean = self._sum / count
        return mean


class MedianRule:
    """The median rule: running means of all trials, and its verdicts.

    Args:
        grace_period: Epoch from which trials stop.
        min_trials: Other trials that must have reached an epoch before a trial stops there.
        maximize: True where a higher value is better.
    """

    def __init__(self, grace_period: int, min_trials: int, maximize: bool = True) -> None:
        self._grace_period = grace_period
        self._min_trials = min_trials
        self._sign = 1.0 if maximize else -1.0
        self._trials: dict[int, RunningMean] = defaultdict(RunningMean)
        self._means: dict[int, Ranking] = defaultdict(Ranking)

    @property
    def rungs(self) -> Rungs:
        """Values at each epoch, by trial number."""
        rungs: Rungs = {}
        for epoch in sorted(self._means):
            numbers = [number for number, _ in self._means[epoch].items()]
            values = {number: self._trials[number].values[epoch] for number in numbers}
            rungs[0, float(epoch)] = {n: self._sign * value for n, value in values.items()}
        return rungs

    def replay(
        self,
        number: int,
        values: Mapping[int, float],
        recorded: Iterable[Recorded] = (),  # noqa: ARG002
    ) -> None:
        """Record what a trial reported before, which is not decided again."""
        for epoch, value in sorted(values.items()):
            if math.isfinite(value):
                mean = self._trials[number].record(epoch, self._sign * value)
                self._means[epoch].record(number, mean)

    resume = replay

    def report(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record a value and decide on its trial.

        Return None without enough other trials.
        """
        if not math.isfinite(value):
            return None
        means = self._means[epoch]
        is_new = number not in means
        is_due = is_new and epoch >= self._grace_period and len(means) >= self._min_trials
        decision = self._decide(number, epoch, self._sign * value) if is_due else None
        self.replay(number, {epoch: value})
        return decision

    def complete(self, number: int, epoch: int, value: float) -> None:
        """Record the last value of a trial that has ended."""
        self.replay(number, {epoch: value})

    def _decide(self, number: int, epoch: int, value: float) -> Decision:
        """Compare a trial's best value with the means of the other trials."""
        best = max([value, *self._trials[number].values.values()])
        means = self._means[epoch]
        cutoff = median_cutoff(means.ordered)
        return Decision(
            number=number,
            bracket=0,
            rung=float(epoch),
            epoch=epoch,
            value=self._sign * best,
            cutoff=self._sign * cutoff,
            rank=means.rank(best),
            of=len(means) + 1,
            verdict="stop" if best < cutoff else "go",
        )


def median_cutoff(means: Sequence[float]) -> float:
    """Return the median of sorted means.

    A trial stops if its best value is below the median.
    """
    middle = len(means) // 2
    return means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
