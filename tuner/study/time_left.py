"""The time that a study still needs, as a range."""

from collections import Counter
from collections.abc import Sequence
from math import exp, sqrt
from typing import NamedTuple

from tuner.config.sections import AshaConfig
from tuner.config.study import StudyConfig
from tuner.study.epochs_left import Course, EpochsLeft, by_lengths, by_rungs
from tuner.study.moments import Moments
from tuner.study.rung_counts import RungCount

DEVIATIONS = 1.64
"""Standard deviations on either side of the likely time. Nine in ten ends of a normal law are within."""
MODEL_ERROR = 0.3
"""Relative error that remains with many trials, because a search turns to slower or faster ones."""


class TimeLeft(NamedTuple):
    """Seconds until the end, as a likely number within a range."""

    low: float
    likely: float
    high: float

    def at_most(self, limit: float) -> "TimeLeft":
        """Return the range without times above a limit."""
        return TimeLeft(*(min(seconds, limit) for seconds in self))


class Pace:
    """Pace of a study, from which the time left follows.

    It holds the lengths of trials and the seconds of epochs.

    Args:
        spec: The study.

    Attributes:
        epochs: Seconds of the epochs of this run.
    """

    def __init__(self, spec: StudyConfig) -> None:
        self._rule, self._max_epochs = spec.stopping.rule, spec.max_epochs
        self._lengths: Counter[int] = Counter()
        self._planned: Counter[int] = Counter()
        self._trials = Moments()
        self.epochs = Moments()

    def planned(self, epochs: int) -> None:
        """Record the epochs that a trial of the search is to run."""
        self._planned[epochs] += 1

    def ended(self, epochs: int, seconds: float) -> None:
        """Record the length of a trial that ended."""
        self._lengths[epochs] += 1
        if epochs:
            self._trials.add(seconds / epochs)

    def trained(self, epochs: int, seconds: float) -> None:
        """Record epochs of this run, and their seconds together."""
        self.epochs.add(seconds / epochs, epochs)

    def left(
        self, wall: float, running: Sequence[Course], later: int, repeats: int, rungs: Sequence[RungCount]
    ) -> TimeLeft:
        """Estimate the seconds until all trials have ended.

        As many trials train side by side as in this run so far.

        Args:
            wall: Seconds in which the epochs of this run were trained.
            running: Trials that run.
            later: Number of trials of the search that have not begun.
            repeats: Number of repeats that have not begun. They run to their end.
            rungs: Trials at each rung.
        """
        can_stop = [course for course in running if course.can_stop and self._rule is not None]
        sure = sum(course.rest for course in running if course not in can_stop) + repeats * self._max_epochs
        mean, variance, least = self._unsure(can_stop, later, rungs)
        pace = wall / self.epochs.count
        off = DEVIATIONS * sqrt(variance)
        error = sqrt(MODEL_ERROR**2 + self._epoch_error(len(running) + later + repeats) ** 2)
        spread = exp(DEVIATIONS * error)
        low = sure + max(0.0, (mean if least is None else least) - off)
        return TimeLeft(pace * low / spread, pace * (sure + mean), pace * (sure + mean + off) * spread)

    def _unsure(self, running: Sequence[Course], later: int, rungs: Sequence[RungCount]) -> EpochsLeft:
        """Return the epochs of the trials that a rule may stop."""
        planned = self._planned.copy() or Counter({self._max_epochs: 1})  # as another thread counts on
        if isinstance(self._rule, AshaConfig) and rungs:
            return by_rungs(rungs, self._rule.reduction_factor, running, later, planned)
        left = by_lengths(self._lengths.copy(), running, later, planned)
        return left if self._rule is not None else left._replace(least=None)

    def _epoch_error(self, trials: int) -> float:
        """Return the standard error of an epoch's seconds, relative to them.

        Trials differ in their speed. Until two have ended, single epochs tell of that.
        """
        known = self._trials if self._trials.count > 1 else self.epochs
        if not (known.mean and trials):
            return 0.0
        return sqrt(known.variance * (1 / known.count + 1 / trials)) / known.mean
