"""Trials with several objectives at a rung, ranked by Pareto fronts.

The order is that of NSGA-II (Deb et al. 2002): fronts first, then crowding distance within a front.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.config.sections import Objective
from tuner.results.pareto import not_dominated
from tuner.search.ranking import Ranking
from tuner.search.rung import Rung


class Points:
    """All objectives of each trial and epoch, of which more is better.

    Args:
        objectives: What is searched for.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self._values: dict[tuple[int, int], tuple[float, ...]] = {}

    def note(self, number: int, epoch: int, measured: Mapping[str, Any]) -> None:
        """Keep the objectives of an epoch.

        A missing objective counts as the worst.
        """
        signed = [_signed(one, measured.get(one.metric)) for one in self._objectives]
        self._values[number, epoch] = tuple(signed)

    def at(self, number: int, epoch: int) -> tuple[float, ...]:
        """Return the objectives of an epoch.

        Unknown objectives count as the worst.
        """
        return self._values.get((number, epoch), (-math.inf,) * len(self._objectives))


class FrontRanking(Ranking):
    """Trials at one rung, ranked by all their objectives.

    The value of a trial is that of its first objective.
    """

    def __init__(self, points: Points) -> None:
        super().__init__()
        self._points = points
        self._recorded: dict[int, tuple[float, ...]] = {}
        self._places: dict[int, int] | None = None

    def record(self, number: int, value: float, epoch: int = 0) -> None:
        """Keep a trial's objectives at an epoch."""
        super().record(number, value, epoch)
        self._recorded[number] = self._points.at(number, epoch)
        self._places = None

    def place(self, number: int) -> int:
        """Return the place of a trial, from 1.

        No two trials share a place.
        """
        if self._places is None:
            numbers = [*self._recorded]
            order = order_by_fronts(np.array([*self._recorded.values()], dtype=float), numbers)
            self._places = {numbers[index]: place for place, index in enumerate(order, start=1)}
        return self._places[number]


class FrontRung(Rung):
    """A rung whose trials have several objectives.

    The places change with every trial that comes, so that nothing is kept in order.
    """

    def __init__(self, milestone: float, ranking: Ranking, reduction_factor: float, min_trials: int) -> None:
        super().__init__(milestone, ranking, reduction_factor, min_trials)
        self._waiting: dict[int, int] = {}

    @property
    def cutoff(self) -> None:
        """None, because no single value is to be reached."""
        return

    @property
    def best(self) -> tuple[int, int] | None:
        """Number and epoch of the best waiting trial."""
        return min(self._waiting.items(), key=lambda pair: self.ranking.place(pair[0]), default=None)

    @property
    def is_open(self) -> bool:
        """True if the best waiting trial is among the best 1/reduction_factor."""
        return self.best is not None and self.ranking.place(self.best[0]) <= self.places

    def is_behind(self, number: int, cutoff: float | None) -> bool:  # noqa: ARG002
        """Return True if a trial is not among the best.

        The result is False while no trial may go on.
        """
        return 0 < self.places < self.ranking.place(number)

    def wait(self, number: int, epoch: int) -> None:
        """Let a trial wait whose objectives are recorded."""
        self._waiting[number] = epoch

    def release(self) -> None:
        """Let the best waiting trial go on."""
        if self.best is not None:
            del self._waiting[self.best[0]]

    def passed(self, value: float) -> None:
        """Record nothing, because no two trials share a place."""

    def clear(self) -> None:
        """Let no trial wait any more."""
        self._waiting.clear()


def order_by_fronts(points: NDArray[np.float64], numbers: Sequence[int]) -> list[int]:
    """Return the indices of points (N, objectives), the best first.

    Of equal points the trial with the lowest number is first.
    """
    left, by_number = np.arange(len(points)), np.array(numbers)
    order: list[int] = []
    while len(left):
        is_front = not_dominated(points[left])
        front = left[is_front]
        order += front[np.lexsort((by_number[front], -_crowding(points[front])))].tolist()
        left = left[~is_front]
    return order


def _crowding(front: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the crowding distance of each point.

    This is the distance between its neighbours. It is infinite at the ends of an objective.
    """
    distance = np.zeros(len(front))
    for values in front.T:
        order = np.argsort(values, kind="stable")
        ordered = np.nan_to_num(values[order])
        extent = ordered[-1] - ordered[0]
        if extent > 0:
            distance[order[1:-1]] += (ordered[2:] - ordered[:-2]) / extent
            distance[order[[0, -1]]] = np.inf
    return distance


def _signed(objective: Objective, value: Any) -> float:
    """Return an objective's value, negated where a lower value is better.

    A value that is missing or not finite becomes the worst.
    """
    is_finite = isinstance(value, int | float) and math.isfinite(value)
    return objective.sign * float(value) if is_finite else -math.inf
