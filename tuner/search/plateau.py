"""Trials since the last progress of a search."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tuner.config.study import StudyConfig
from tuner.results.schema import is_search


class Plateau:
    """A count of the trials since the last progress.

    A trial is counted when it ends or begins to wait. An epoch is progress unless an earlier epoch
    is at least as good in every objective. The trial that made the progress is not counted.

    Args:
        spec: The study.
        trials: One row per trial of earlier runs.
        epochs: One row per trial and epoch of earlier runs.
    """

    def __init__(self, spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
        self._objectives, self._allowed = spec.objective, spec.budget.plateau
        self._front: list[list[float]] = []
        self._leader: int | None = None
        self._since: set[int] = set()
        if self._allowed is not None and len(trials) and len(epochs):
            self._replay(trials[is_search(trials)], epochs)

    @property
    def is_reached(self) -> bool:
        """True if the budget allows no more trials without progress."""
        return self._allowed is not None and len(self._since) >= self._allowed

    def report(self, number: int, result: Mapping[str, Any]) -> None:
        """Record an epoch of a trial of the search."""
        if self._allowed is not None and self._is_progress(result):
            self._leader = number
            self._since.clear()

    def ended(self, number: int) -> None:
        """Record that a trial of the search has ended or waits."""
        if number != self._leader:
            self._since.add(number)

    def _is_progress(self, result: Mapping[str, Any]) -> bool:
        """Return True if an epoch is progress, and keep its values then."""
        values = [result.get(objective.metric) for objective in self._objectives]
        if any(value is None or value != value for value in values):
            return False
        signed = [one.sign * value for one, value in zip(self._objectives, values, strict=True) if value is not None]
        if any(_reaches(other, signed) for other in self._front):
            return False
        self._front = [other for other in self._front if not _reaches(signed, other)] + [signed]
        return True

    def _replay(self, trials: pd.DataFrame, epochs: pd.DataFrame) -> None:
        """Count what earlier runs have done, in the order of time."""
        searched = epochs[(epochs["epoch"] > 0) & epochs["number"].isin(trials["number"])]
        since = None
        names = [objective.metric for objective in self._objectives]
        columns = (searched.sort_values("at", kind="stable")[name].tolist() for name in ("number", "at", *names))
        for number, at, *values in zip(*columns, strict=True):
            if self._is_progress(dict(zip(names, values, strict=True))):
                self._leader, since = int(number), at
        if since is not None:
            later = trials[(trials["updated_at"] > since) & (trials["state"] != "RUNNING")]
            self._since = {int(number) for number in later["number"]} - {self._leader}


def _reaches(values: Sequence[float], other: Sequence[float]) -> bool:
    """Return True if no value is below the other's."""
    return all(value >= than for value, than in zip(values, other, strict=True))
