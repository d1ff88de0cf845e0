"""The epochs that the trials of a study still have to train."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tuner.study.moments import Moments
from tuner.study.rung_counts import RungCount

KNOWN_LIVES = 3
"""Trials that must have ended before their lengths tell of other trials."""
PRIOR_TRIALS = 9
"""Trials as which the rule's own share of passing trials counts beside those at a rung."""


class Course(NamedTuple):
    """Course of a running trial, which a rule may stop."""

    epochs: int
    planned: int
    can_stop: bool = True

    @property
    def rest(self) -> int:
        """Epochs to the trial's end."""
        return self.planned - self.epochs


class EpochsLeft(NamedTuple):
    """Expected number of epochs, with its variance.

    `least` is the number if trials of unknown length end soon. None: the same as `mean`.
    """

    mean: float
    variance: float = 0.0
    least: float | None = None


def by_lengths(lengths: Counter[int], running: Sequence[Course], later: int, planned: Counter[int]) -> EpochsLeft:
    """Expect that trials run as long as those that have ended.

    A running trial goes on as those that got at least as far. Without enough of them a trial may
    end soon, and runs to its end at most.

    Args:
        lengths: Number of ended trials by their epochs.
        running: Trials that run and may be stopped.
        later: Number of trials that have not begun.
        planned: Number of trials by the epochs that they were to run.
    """
    mean = variance = least = 0.0
    for course in running:
        ahead = Moments()
        for length, count in lengths.items():
            if length > course.epochs:
                ahead.add(min(length - course.epochs, course.rest), count)
        is_known = ahead.count >= KNOWN_LIVES
        mean, variance = mean + (ahead.mean if is_known else course.rest), variance + ahead.variance
        least += ahead.mean if is_known else 0
    ended = Moments()
    for length, count in lengths.items():
        ended.add(length, count)
    each = ended.mean if ended.count else _mean(planned)
    variance += ended.variance * later * (1 + later / max(1, ended.count))
    return EpochsLeft(mean + later * each, variance, least + later * (each if ended.count >= KNOWN_LIVES else 1))


def by_rungs(
    rungs: Sequence[RungCount], factor: float, running: Sequence[Course], later: int, planned: Counter[int]
) -> EpochsLeft:
    """Expect that trials pass each rung as often as so far.

    At least the rule's share passes, because waiting trials still may. It is also what the first
    trials are expected to do.

    Args:
        rungs: Trials at each rung.
        factor: The rule lets 1/factor of a rung pass.
        running: Trials that run and may be stopped.
        later: Number of trials that have not begun.
        planned: Number of trials by the epochs that they were to run.
    """
    edges = [rung.epoch for rung in rungs]
    mean, variance = later * _steps(planned, 0, edges[0]), 0.0
    arrivals = [later * _share_beyond(planned, 0, edges[0]), *[0.0] * (len(edges) - 1)]
    for course in running:
        index = next((k for k, edge in enumerate(edges) if edge > course.epochs), len(edges))
        mean += min([course.planned, *edges[index : index + 1]]) - course.epochs
        if index < len(edges) and course.planned > edges[index]:
            arrivals[index] += 1
    for index, (rung, end) in enumerate(zip(rungs, [*edges[1:], None], strict=True)):
        open_, known = arrivals[index] + rung.waiting, rung.total + PRIOR_TRIALS
        share = max(1 / factor, (rung.passed + PRIOR_TRIALS / factor) / known)
        passes = min(open_, max(0.0, share * (rung.total + arrivals[index]) - rung.passed))
        steps = _steps(planned, rung.epoch, end)
        mean += passes * steps
        variance += steps**2 * open_ * share * (1 - share) * (1 + open_ / known)
        if end is not None:
            arrivals[index + 1] += passes * _share_beyond(planned, rung.epoch, end)
    return EpochsLeft(mean, variance)


def _mean(planned: Counter[int]) -> float:
    return sum(epochs * count for epochs, count in planned.items()) / planned.total()


def _steps(planned: Counter[int], start: int, end: int | None) -> float:
    """Return the mean epochs from one rung to the next.

    Only trials that go beyond `start` count.
    """
    beyond = {epochs: count for epochs, count in planned.items() if epochs > start}
    steps = sum(count * (min(epochs, end or epochs) - start) for epochs, count in beyond.items())
    return steps / sum(beyond.values()) if beyond else 0.0


def _share_beyond(planned: Counter[int], start: int, end: int) -> float:
    """Return the share of trials beyond `start` that go beyond `end`."""
    beyond = sum(count for epochs, count in planned.items() if epochs > start)
    return sum(count for epochs, count in planned.items() if epochs > end) / beyond if beyond else 0.0
