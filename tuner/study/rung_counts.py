"""The number of trials that passed, wait and stopped at each rung."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

from tuner.config.sections import HalvingConfig
from tuner.config.study import StudyConfig

Outcome = Literal["passed", "waiting", "stopped"]
_OUTCOMES: dict[str, Outcome] = {
    "go": "passed",
    "promote": "passed",
    "finish": "passed",
    "complete": "passed",
    "wait": "waiting",
    "stop": "stopped",
}
"""What becomes of a trial by each verdict. The verdict `time` belongs to no rung."""


@dataclass(frozen=True)
class RungCount:
    """Trials at one rung."""

    epoch: int
    """Epoch of the rung."""
    passed: int
    waiting: int
    stopped: int

    @property
    def total(self) -> int:
        """Trials that have reached the rung."""
        return self.passed + self.waiting + self.stopped


class RungCounts:
    """Trials at the rungs of a halving rule.

    Brackets of Hyperband are added up. Other rules have no rungs.

    Args:
        spec: The study.
        earlier: Verdicts of earlier runs, in the order of time.
    """

    def __init__(self, spec: StudyConfig, earlier: Iterable[Mapping[Any, Any]] = ()) -> None:
        rule = spec.stopping.rule
        self._epochs = rule.rungs_before(spec.max_epochs) if isinstance(rule, HalvingConfig) else []
        self._counts: Counter[tuple[int, Outcome]] = Counter()
        self._waiting_at: dict[int, int] = {}
        for decision in earlier:
            self.judged(decision)

    def judged(self, decision: Mapping[Any, Any]) -> None:
        """Record a verdict on a trial.

        If the trial waited, the verdict replaces the wait.
        """
        number, epoch = int(decision["number"]), ceil(decision["rung"])
        outcome = _OUTCOMES.get(decision["verdict"])
        if outcome is None or epoch not in self._epochs:
            return
        self._leave(number)
        self._counts[epoch, outcome] += 1
        if outcome == "waiting":
            self._waiting_at[number] = epoch

    def ended(self, number: int) -> None:
        """Record the end of a trial, which stops it if it waits."""
        epoch = self._leave(number)
        if epoch is not None:
            self._counts[epoch, "stopped"] += 1

    def _leave(self, number: int) -> int | None:
        """End a trial's wait, and return the epoch of the wait.

        None if the trial did not wait.
        """
        epoch = self._waiting_at.pop(number, None)
        if epoch is not None:
            self._counts[epoch, "waiting"] -= 1
        return epoch

    @property
    def rungs(self) -> list[RungCount]:
        """The rungs, the lowest first."""
        return [
            RungCount(epoch, *(self._counts[epoch, outcome] for outcome in ("passed", "waiting", "stopped")))
            for epoch in self._epochs
        ]
