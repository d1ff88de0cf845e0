"""Asynchronous successive halving: rungs, brackets and verdicts.

The rules are those of Ray's `AsyncHyperBandScheduler`: a trial stops at a rung when its value is
below a percentile of the values recorded there before. Rungs count absolute epochs and know
trials by number, because Ray's own ids change when a study resumes.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tuner.search.ranking import Ranking, interpolated_quantile

Verdict = Literal["go", "stop", "wait", "promote", "finish", "complete"]
Rungs = dict[tuple[int, float], dict[int, float]]
"""Values by trial number, at each (bracket, epoch)."""


class Recorded(NamedTuple):
    """A trial's value at a rung, from the table `decisions`."""

    bracket: int
    rung: float
    value: float
    epoch: int = 0
    verdict: str = "go"


@dataclass(frozen=True)
class Decision:
    """One verdict on one trial at one rung.

    It is a row of the table `decisions`.
    """

    number: int
    bracket: int
    rung: float
    epoch: int
    value: float
    cutoff: float | None
    """None while too few trials stand at the rung."""
    rank: int
    of: int
    verdict: Verdict


class Bracket:
    """The rungs of one bracket, where a higher value is better."""

    def __init__(
        self,
        grace_period: int,
        max_epochs: int,
        reduction_factor: float,
        skipped: int,
        make_ranking: Callable[[], Ranking] = Ranking,
    ) -> None:
        # np.log as Ray has it, because math.log may differ in the last bit.
        steps = np.log(max_epochs / grace_period) / np.log(reduction_factor)
        powers = range(skipped, skipped + int(steps - skipped + 1))
        self.rungs = {grace_period * reduction_factor**power: make_ranking() for power in powers}
        self._highest_first = [*reversed(self.rungs.items())]
        self._share = (1 - 1 / reduction_factor) * 100 / 100  # as numpy divides a percentile

    def next_rung(self, number: int, epoch: int) -> tuple[float, Ranking] | None:
        """Return the highest rung reached where a trial has no value."""
        for milestone, ranking in self._highest_first:
            if milestone <= epoch and number not in ranking:
                return milestone, ranking
        return None

    def cutoff(self, ranking: Ranking) -> float | None:
        """Return the value below which a trial stops.

        Return None at an empty rung.
        """
        return interpolated_quantile(ranking.ordered, self._share) if len(ranking) else None


class SuccessiveHalving:
    """ASHA with one bracket, asynchronous Hyperband with several.

    Args:
        grace_period: Epoch of the first rung.
        max_epochs: Epochs of the longest trial.
        reduction_factor: Each rung keeps the best 1/reduction_factor.
        brackets: Number of brackets; bracket k starts k rungs later.
        seed: Draws each trial's bracket together with its number.
        maximize: True where a higher value is better.
    """

    def __init__(
        self,
        grace_period: int,
        max_epochs: int,
        reduction_factor: float,
        brackets: int = 1,
        seed: int = 0,
        maximize: bool = True,
    ) -> None:
        made = [Bracket(grace_period, max_epochs, reduction_factor, k) for k in range(brackets)]
        self._brackets = [bracket for bracket in made if bracket.rungs]
        self._rankings = {
            (index, milestone): ranking
            for index, bracket in enumerate(self._brackets)
            for milestone, ranking in bracket.rungs.items()
        }
        self._odds = _cumulative_odds([len(bracket.rungs) for bracket in self._brackets])
        self._seed = seed
        self._sign = 1.0 if maximize else -1.0
        self._drawn: dict[int, int] = {}

    @property
    def rungs(self) -> Rungs:
        """Values recorded so far, the lowest rung of each bracket first."""
        return {
            key: {number: self._sign * value for number, value in ranking.items()}
            for key, ranking in self._rankings.items()
        }

    def replay(self, number: int, values: Mapping[int, float], recorded: Iterable[Recorded] = ()) -> None:
        """Record an ended trial's rungs, and its values by absolute epoch."""
        self.resume(number, values, recorded)
        bracket = self._brackets[self._bracket_of(number)]
        for epoch, value in sorted(values.items()):
            if (rung := bracket.next_rung(number, epoch)) and math.isfinite(value):
                rung[1].record(number, self._sign * value)

    def resume(
        self,
        number: int,
        values: Mapping[int, float],  # noqa: ARG002
        recorded: Iterable[Recorded] = (),
    ) -> None:
        """Record the rungs of a trial in flight.

        The trial reports its other values again.
        """
        for row in recorded:
            ranking = self._rankings.get((row.bracket, row.rung))
            if ranking is not None and number not in ranking and math.isfinite(row.value):
                ranking.record(number, self._sign * row.value)

    def report(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record a value and decide on its trial, None between two rungs."""
        return self._decide(number, epoch, value, ended=False)

    def complete(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record the last value of a trial that has ended."""
        return self._decide(number, epoch, value, ended=True)

    def _decide(self, number: int, epoch: int, value: float, ended: bool) -> Decision | None:
        index = self._bracket_of(number)
        bracket = self._brackets[index]
        rung = bracket.next_rung(number, epoch)
        if rung is None or not math.isfinite(value):
            return None
        milestone, ranking = rung
        signed = self._sign * value
        cutoff, rank = bracket.cutoff(ranking), ranking.rank(signed)
        ranking.record(number, signed)
        return Decision(
            number=number,
            bracket=index,
            rung=float(milestone),
            epoch=epoch,
            value=float(value),
            cutoff=None if cutoff is None else self._sign * cutoff,
            rank=rank,
            of=len(ranking),
            verdict=_verdict(signed, cutoff, ended),
        )

    def _bracket_of(self, number: int) -> int:
        """Return a trial's bracket, drawn from the seed and its number.

        A resume draws the same bracket again.
        """
        if len(self._brackets) == 1:
            return 0
        if number not in self._drawn:  # because a generator costs as much as the verdict
            drawn = np.random.default_rng([self._seed, number]).random()
            self._drawn[number] = bisect_right(self._odds, drawn)
        return self._drawn[number]


def _verdict(value: float, cutoff: float | None, ended: bool) -> Verdict:
    if ended:
        return "complete"
    return "stop" if cutoff is not None and value < cutoff else "go"


def _cumulative_odds(sizes: list[int]) -> list[float]:
    """Return Ray's odds of the brackets, summed up as numpy's `choice` does."""
    odds = np.exp(sizes)
    cumulative = (odds / odds.sum()).cumsum()
    return [float(share) for share in cumulative / cumulative[-1]]
