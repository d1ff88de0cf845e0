"""Values of many trials, kept sorted."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import ItemsView, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

_INSERTED_ONE_BY_ONE = 64
"""New values up to which inserting costs less than sorting."""


class Ranking:
    """One value per trial, in sorted order.

    Sorting waits until somebody asks, because a resume records many values and asks once.
    """

    def __init__(self) -> None:
        self._by_number: dict[int, float] = {}
        self._sorted: list[float] = []
        self._unsorted: list[float] = []

    def __contains__(self, number: int) -> bool:
        return number in self._by_number

    def __len__(self) -> int:
        return len(self._by_number)

    def value(self, number: int) -> float:
        """Return the value of a trial."""
        return self._by_number[number]

    def items(self) -> ItemsView[int, float]:
        """Return numbers and values, in the order in which the trials came."""
        return self._by_number.items()

    @property
    def ordered(self) -> Sequence[float]:
        """All values, the lowest first."""
        return self._sort()

    def record(self, number: int, value: float, epoch: int = 0) -> None:  # noqa: ARG002
        """Keep a trial's value in place of its earlier value."""
        if number in self._by_number:
            ordered = self._sort()
            del ordered[bisect_left(ordered, self._by_number[number])]
        self._by_number[number] = value
        self._unsorted.append(value)

    def place(self, number: int) -> int:
        """Return the rank of a trial, which equal trials share."""
        return self.rank(self.value(number))

    def rank(self, value: float) -> int:
        """Return the rank that a new value would get.

        1 is the highest.
        """
        ordered = self._sort()
        return 1 + len(ordered) - bisect_right(ordered, value)

    def _sort(self) -> list[float]:
        if len(self._unsorted) <= _INSERTED_ONE_BY_ONE:
            for value in self._unsorted:
                insort(self._sorted, value)
        else:
            self._sorted += self._unsorted
            self._sorted.sort()
        self._unsorted.clear()
        return self._sorted


def interpolated_quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values.

    It is that of `numpy.quantile` to the last bit.
    """
    last = len(ordered) - 1
    position = last * share
    below = int(position)
    if below >= last:
        return ordered[last]
    low, high, weight = ordered[below], ordered[below + 1], position - below
    if weight < 0.5:
        return low + (high - low) * weight
    return high - (high - low) * (1 - weight)


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the rank of each value, 1 for the lowest.

    Equal values share their mean rank. scipy.stats is not used, because importing it takes most of
    a second.
    """
    return np.asarray(pd.Series(np.asarray(values, dtype=float)).rank())
