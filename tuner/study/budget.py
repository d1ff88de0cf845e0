"""The part of a study's budget that is spent, over all its runs."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.analysis.ledger import read_attempts
from tuner.config.budget import Budget
from tuner.config.study import StudyConfig
from tuner.results.ranking import rank
from tuner.results.runs import Run, read_runs
from tuner.results.tables import Tables

SPARE = 2.0
"""Factor by which a trial may take longer than it seems, when the budget is almost used up."""


@dataclass
class Spent:
    """What earlier runs have spent of a study's budget.

    Attributes:
        seconds: Time of the runs.
        gpu_seconds: Time for which trials held GPUs, times their number.
        epochs: Epochs that were trained, those of failed attempts included.
        is_on_target: True if a completed trial has reached the target.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    epochs: int = 0
    is_on_target: bool = False


class BudgetMeter:
    """A count of what a study spends of its budget.

    Args:
        spec: The study.
        spent: What earlier runs have spent.

    Attributes:
        gpu: GPUs of a trial. The study sets it when it knows.
    """

    gpu: float = 0.0

    def __init__(self, spec: StudyConfig, spent: Spent) -> None:
        self._spec, self._budget = spec, spec.budget
        self._epochs, self._is_on_target = spent.epochs, spent.is_on_target
        self._gpu_seconds = spent.gpu_seconds
        self._since: dict[int, float] = {}
        hours = self._budget.hours
        self._deadline = None if hours is None else time.monotonic() + hours * 3600 - spent.seconds

    def began(self, number: int) -> None:
        """Record that a trial holds its GPUs from now on."""
        self._since[number] = time.monotonic()

    def ended(self, number: int) -> None:
        """Record that a trial has left its GPUs."""
        since = self._since.pop(number, None)
        if since is not None:
            self._gpu_seconds += self.gpu * (time.monotonic() - since)

    def trained(self) -> None:
        """Count an epoch."""
        self._epochs += 1

    def completed(self, values: Sequence[float]) -> None:
        """Compare a completed trial of the search with the target."""
        self._is_on_target = self._is_on_target or is_on_target(self._spec, values)

    @property
    def limit(self) -> str | None:
        """Key of the reached limit that ends the study at once.

        It is None if no such limit is reached.
        """
        if self._is_on_target:
            return "target"
        if self._budget.epochs is not None and self._epochs >= self._budget.epochs:
            return "epochs"
        if self._gpu_seconds_left <= 0:
            return "gpu_hours"
        return "hours" if self._deadline is not None and time.monotonic() >= self._deadline else None

    @property
    def _gpu_seconds_left(self) -> float:
        if self._budget.gpu_hours is None:
            return math.inf
        running = sum(time.monotonic() - since for since in self._since.values())
        return self._budget.gpu_hours * 3600 - self._gpu_seconds - self.gpu * running

    def is_short_of(self, seconds: float, epochs: int) -> bool:
        """Return True if too little budget is left for a trial.

        Enough is `SPARE` times the seconds and epochs that the trial needs.
        """
        if self._budget.epochs is not None and self._budget.epochs - self._epochs < SPARE * epochs:
            return True
        if self._gpu_seconds_left < SPARE * self.gpu * seconds:
            return True
        return self._deadline is not None and self._deadline - time.monotonic() < SPARE * seconds


def is_on_target(spec: StudyConfig, values: Sequence[float]) -> bool:
    """Return True if the objectives of a trial reach every target."""
    target = spec.budget.target
    if target is None:
        return False
    reached = {one.metric: one.sign * value for one, value in zip(spec.objective, values, strict=True)}
    signs = {one.metric: one.sign for one in spec.objective}
    return all(reached[metric] >= signs[metric] * value for metric, value in target.items())


def describe_limit(budget: Budget, key: str) -> tuple[str, str]:
    """Describe a limit that is reached, and the setting that raises it."""
    match key:
        case "hours":
            return f"{budget.hours:g} hours", f"budget.hours={2 * (budget.hours or 0):g}"
        case "gpu_hours":
            return f"{budget.gpu_hours:g} hours of GPUs", f"budget.gpu_hours={2 * (budget.gpu_hours or 0):g}"
        case "epochs":
            return f"{budget.epochs} epochs", f"budget.epochs={2 * (budget.epochs or 0)}"
        case "trials":
            return f"{budget.trials} trials", f"budget.trials={2 * (budget.trials or 0)}"
        case "plateau":
            text = f"{budget.plateau} trials in a row without progress"
            return text, f"budget.plateau={2 * (budget.plateau or 0)}"
    target = " and ".join(f"{metric} {value:g}" for metric, value in (budget.target or {}).items())
    return f"a trial with {target}", "budget.target=null"


def describe_budget(budget: Budget) -> str:
    """Describe all limits in words."""
    texts = [describe_limit(budget, key)[0] for key in budget.limits]
    if budget.trial_minutes is not None:
        texts.append(f"{budget.trial_minutes:g} minutes of each trial")
    return f"ends after {', or '.join(texts)}" if texts else "none"


def read_spent(spec: StudyConfig, provenance: Mapping[str, Any], tables: Tables) -> Spent:
    """Read what earlier runs of a study have spent of its budget.

    Tables are read only for the limits that need them.
    """
    spent = Spent(spent_seconds(provenance, tables))
    if spec.budget.gpu_hours is not None:
        spent.gpu_seconds = _gpu_seconds(read_runs(provenance, tables), tables)
    if spec.budget.epochs is not None:
        spent.epochs = int((tables.history("epochs")["epoch"] > 0).sum())
    if spec.budget.target is not None:
        trials = tables.trials()
        spent.is_on_target = any(is_on_target(spec, values) for values in rank(spec, trials)["values"])
    return spent


def _gpu_seconds(runs: Sequence[Run], tables: Tables) -> float:
    """Return the time for which trials held GPUs, times their number."""
    rows = tables.history("trials")
    if not runs or rows.empty:
        return 0.0
    attempts = read_attempts(rows, runs)
    seconds = (attempts["end"] - attempts["begin"]).dt.total_seconds().groupby(attempts["run"]).sum()
    return float(sum(run.gpu * seconds.get(index, 0.0) for index, run in enumerate(runs)))


def spent_seconds(provenance: Mapping[str, Any], tables: Tables) -> float:
    """Return the seconds of the study's budget that earlier runs took."""
    return sum(run.seconds for run in read_runs(provenance, tables))
