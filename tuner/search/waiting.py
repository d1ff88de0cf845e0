"""Asynchronous successive halving whose trials can wait at a rung (Li et al., 2020).

`promote`: every trial waits at its rung. A free slot takes the best waiting trial of the highest
rung where it is among the best 1/reduction_factor, or else a new trial. `stop`: a trial waits only
while fewer than `min_trials` stand at its rung. Later trials go on or stop at once, as in Ray's
ASHA. Nothing here knows Ray or checkpoints.
"""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from tuner.search.asha import Bracket, Decision, Recorded, Rungs, Verdict
from tuner.search.fronts import FrontRanking, FrontRung, Points
from tuner.search.ranking import Ranking
from tuner.search.rung import Rung

PASSES = ("go", "promote", "finish")
"""Verdicts after which a trial goes on."""


class WaitingRule(Protocol):
    """A stopping rule under which trials can wait at a rung."""

    @property
    def can_wait(self) -> bool:
        """True if a trial may have to wait."""

    @property
    def waiting(self) -> Mapping[int, float]:
        """The trials that wait, and the rung of each."""

    def promote(self) -> int | None:
        """Let a waiting trial go on to the next rung.

        Return None if no trial may.
        """

    def finish(self) -> int | None:
        """Let the best waiting trial go on to its end.

        Return None if none waits.
        """

    def best(self) -> int | None:
        """Return the trial that `finish` would let go on."""

    def end(self) -> list[int]:
        """Let no trial wait any more, and return those that did."""


class NobodyWaits:
    """A stopping rule under which no trial waits."""

    can_wait: bool = False
    waiting: Mapping[int, float] = {}

    def promote(self) -> int | None:
        """Return None."""
        return None

    finish = best = promote

    def end(self) -> list[int]:
        """Return no trial."""
        return []


class WaitingHalving:
    """ASHA with one bracket: verdicts at rungs, and the trials that wait.

    Args:
        grace_period: Epoch of the first rung.
        max_epochs: Epochs of the longest trial.
        reduction_factor: Each rung lets the best 1/reduction_factor go on.
        min_trials: Trials that must stand at a rung before any goes on.
        stops: True for type `stop`, False for type `promote`.
        maximize: True where a higher value is better.
        points: All objectives of each epoch, if trials are ranked by their fronts.
    """

    def __init__(
        self,
        grace_period: int,
        max_epochs: int,
        reduction_factor: float,
        min_trials: int = 3,
        stops: bool = False,
        maximize: bool = True,
        points: Points | None = None,
    ) -> None:
        make_ranking, make_rung = (Ranking, Rung) if points is None else (partial(FrontRanking, points), FrontRung)
        self._bracket = Bracket(grace_period, max_epochs, reduction_factor, 0, make_ranking)
        self._rungs = {
            milestone: make_rung(milestone, ranking, reduction_factor, min_trials)
            for milestone, ranking in self._bracket.rungs.items()
        }
        self._highest_first = [*reversed(self._rungs.values())]
        self._min_trials = min_trials
        self._stops = stops
        self._has_quantile = stops and points is None
        self._sign = 1.0 if maximize else -1.0
        self._waiting: dict[int, float] = {}
        self._finishing: set[int] = set()

    @property
    def rungs(self) -> Rungs:
        """Values recorded so far, the lowest rung first."""
        return {
            (0, milestone): {number: self._sign * value for number, value in rung.ranking.items()}
            for milestone, rung in self._rungs.items()
        }

    @property
    def waiting(self) -> Mapping[int, float]:
        """The trials that wait, and the rung of each."""
        return self._waiting

    def report(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record a value and decide on its trial, None between two rungs.

        Verdicts are `go`, `wait` and, for type `stop`, `stop`.
        """
        rung = self._reached(number, epoch, value)
        if rung is None:
            return None
        signed = self._sign * value
        cutoff = self._record(rung, number, epoch, signed)
        if number in self._finishing:
            verdict: Verdict = "go"
        elif self._stops and len(rung.ranking) >= self._min_trials:
            verdict = "stop" if rung.is_behind(number, cutoff) else "go"
        else:
            return self._wait_or_go(rung, number, epoch)
        if verdict == "go":
            rung.passed(signed)
        return self._decide(rung, number, epoch, verdict, cutoff)

    def complete(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record the last value of a trial that has ended.

        A trial that waits has not ended.
        """
        self._finishing.discard(number)
        rung = None if number in self._waiting else self._reached(number, epoch, value)
        if rung is None:
            return None
        cutoff = self._record(rung, number, epoch, self._sign * value)
        return self._decide(rung, number, epoch, "complete", cutoff)

    def promote(self) -> Decision | None:
        """Let a waiting trial go on to the next rung.

        Return None if no trial may.
        """
        rung = next((rung for rung in self._highest_first if rung.is_open), None)
        return None if rung is None else self._release(rung, "promote")

    def finish(self) -> Decision | None:
        """Let the best waiting trial go on to its end.

        It is the best of the highest rung. Return None if no trial waits.
        """
        rung = next((rung for rung in self._highest_first if rung.best), None)
        if rung is None:
            return None
        decision = self._release(rung, "finish")
        self._finishing.add(decision.number)
        return decision

    def best(self) -> int | None:
        """Return the trial that `finish` would let go on."""
        best = next((rung.best for rung in self._highest_first if rung.best), None)
        return None if best is None else best[0]

    def end(self) -> list[int]:
        """Let no trial wait any more.

        Return the numbers of those that waited, in order.
        """
        numbers = sorted(self._waiting)
        self._waiting.clear()
        for rung in self._highest_first:
            rung.clear()
        return numbers

    def replay(
        self,
        number: int,
        values: Mapping[int, float],
        recorded: Iterable[Recorded] = (),
    ) -> None:
        """Record an ended trial's rungs, and its values by absolute epoch."""
        self._restore(number, recorded)
        for epoch, value in sorted(values.items()):
            if rung := self._reached(number, epoch, value):
                rung.ranking.record(number, self._sign * value, epoch)

    def resume(
        self,
        number: int,
        values: Mapping[int, float],  # noqa: ARG002
        recorded: Iterable[Recorded] = (),
    ) -> None:
        """Record the rungs of a trial in flight.

        It waits where its last verdict was `wait`.
        """
        for rung, epoch in self._restore(number, recorded).items():
            rung.wait(number, epoch)
            self._waiting[number] = rung.milestone

    def _restore(self, number: int, recorded: Iterable[Recorded]) -> dict[Rung, int]:
        """Record verdicts in any order.

        Return the rungs that were not passed, with the epochs.
        """
        waits: dict[Rung, int] = {}
        passed: set[Rung] = set()
        for row in recorded:
            rung = self._rungs.get(row.rung)
            if rung is None or not math.isfinite(row.value):
                continue
            if number not in rung.ranking:
                rung.ranking.record(number, self._sign * row.value, row.epoch)
            if row.verdict == "wait":
                waits[rung] = row.epoch
            if row.verdict in PASSES and rung not in passed:
                passed.add(rung)
                rung.passed(rung.ranking.value(number))
            if row.verdict == "finish":
                self._finishing.add(number)
        return {rung: epoch for rung, epoch in waits.items() if rung not in passed}

    def _reached(self, number: int, epoch: int, value: float) -> Rung | None:
        """Return the highest rung reached where a trial has no value."""
        found = self._bracket.next_rung(number, epoch) if math.isfinite(value) else None
        return found and self._rungs[found[0]]

    def _record(self, rung: Rung, number: int, epoch: int, signed: float) -> float | None:
        """Record a value, and return the value to reach.

        For `stop` that is Ray's cutoff, from the values before it.
        """
        earlier = self._bracket.cutoff(rung.ranking) if self._has_quantile else None
        rung.ranking.record(number, signed, epoch)
        return earlier if self._has_quantile else rung.cutoff

    def _wait_or_go(self, rung: Rung, number: int, epoch: int) -> Decision:
        """Let a trial wait, unless it would go on next."""
        rung.wait(number, epoch)
        self._waiting[number] = rung.milestone
        first = next((rung for rung in self._highest_first if rung.is_open), None)
        if first is rung and rung.best == (number, epoch):
            return self._release(rung, "go")
        return self._decide(rung, number, epoch, "wait", rung.cutoff)

    def _release(self, rung: Rung, verdict: Verdict) -> Decision:
        """Let the best waiting trial of a rung go on."""
        assert rung.best is not None
        number, epoch = rung.best
        decision = self._decide(rung, number, epoch, verdict, rung.cutoff)
        rung.release()
        del self._waiting[number]
        return decision

    def _decide(
        self,
        rung: Rung,
        number: int,
        epoch: int,
        verdict: Verdict,
        cutoff: float | None,
    ) -> Decision:
        value = rung.ranking.value(number)
        return Decision(
            number=number,
            bracket=0,
            rung=float(rung.milestone),
            epoch=epoch,
            value=self._sign * value,
            cutoff=None if cutoff is None else self._sign * cutoff,
            rank=rung.ranking.place(number),
            of=len(rung.ranking),
            verdict=verdict,
        )
