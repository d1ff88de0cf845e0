"""Weights of the best trials, the only ones that a study keeps."""

from collections.abc import Iterable

from tuner.config.study import StudyConfig


class KeptWeights:
    """A ranking of completed trials that decides whose weights are kept.

    Args:
        spec: The study, with its first objective and the number of weights to keep.

    Attributes:
        best: How bad and number of the trials that keep their weights, and of the next one.
    """

    def __init__(self, spec: StudyConfig) -> None:
        self._sign, self._count = spec.objective[0].sign, spec.keep_weights
        self.best: list[tuple[float, int]] = []

    def rank(self, completed: Iterable[tuple[float, int]]) -> None:
        """Rank completed trials, each as its value and number."""
        ranked = sorted([*self.best, *((-self._sign * value, number) for value, number in completed)])
        self.best = ranked[: self._count + 1]

    def superseded(self, newest: int) -> list[int]:
        """Return the trials whose weights go when the newest has ended."""
        ranked = [number for _, number in self.best]
        kept = ranked[: self._count]
        return sorted({newest, *ranked[self._count :]}.difference(kept))
