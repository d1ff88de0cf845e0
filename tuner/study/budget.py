"""The part of a study's budget that is spent, over all its runs."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tuner.config.budget import Budget
from tuner.config.study import StudyConfig
from tuner.results.schema import is_search
from tuner.results.tables import Tables

SPARE = 2.0
"""Factor by which a trial may take longer than it seems, when the budget is almost used up."""


@dataclass
class Spent:
    """What earlier runs have spent of a study's budget.

    Attributes:
        seconds: Time of the runs.
        epochs: Epochs that were trained, those of failed attempts included.
        is_on_target: True if a completed trial has reached the target.
    """

    seconds: float = 0.0
    epochs: int = 0
    is_on_target: bool = False


class BudgetMeter:
    """A count of what a study spends, and the limit that it reaches first.

    Args:
        spec: The study.
        spent: What earlier runs have spent.
    """

    def __init__(self, spec: StudyConfig, spent: Spent) -> None:
        self._spec, self._budget = spec, spec.budget
        self._epochs, self._is_on_target = spent.epochs, spent.is_on_target
        hours = self._budget.hours
        self._deadline = None if hours is None else time.monotonic() + hours * 3600 - spent.seconds

    def trained(self) -> None:
        """Count an epoch."""
        self._epochs += 1

    def completed(self, values: Sequence[float]) -> None:
        """Compare a completed trial of the search with the target."""
        self._is_on_target = self._is_on_target or is_on_target(self._spec, values)

    @property
    def limit(self) -> str | None:
        """Key of the limit that is reached and ends the study at once, or None."""
        if self._is_on_target:
            return "target"
        if self._budget.epochs is not None and self._epochs >= self._budget.epochs:
            return "epochs"
        return "hours" if self._deadline is not None and time.monotonic() >= self._deadline else None

    def is_short_of(self, seconds: float, epochs: int) -> bool:
        """Return True if too little is left for a trial that needs so much.

        Enough is `SPARE` times as much.
        """
        if self._budget.epochs is not None and self._budget.epochs - self._epochs < SPARE * epochs:
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
    if spec.budget.epochs is not None:
        spent.epochs = int((tables.history("epochs")["epoch"] > 0).sum())
    if spec.budget.target is not None:
        trials = tables.trials()
        complete = trials[is_search(trials) & (trials["state"] == "COMPLETE")]
        spent.is_on_target = any(is_on_target(spec, values) for values in complete["values"])
    return spent


def spent_seconds(provenance: Mapping[str, Any], tables: Tables) -> float:
    """Return the seconds of the study's budget that earlier runs took.

    A run that was killed has no end in the provenance, and ends with its last row.
    """
    runs = [(_time(run.get("started_at")), _time(run.get("stopped_at"))) for run in _runs(provenance)]
    known = [(start, end) for start, end in runs if start is not None]
    times = [] if all(end for _, end in known) else _row_times(tables)
    limits = [*(start for start, _ in known[1:]), None]
    spent = 0.0
    for (start, end), limit in zip(known, limits, strict=False):  # no run has one limit
        rows = (at for at in times if limit is None or at < limit)
        spent += max(0.0, ((end or max(rows, default=start)) - start).total_seconds())
    return spent


def _runs(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in provenance.get("runs", ()) if isinstance(run, Mapping)]


def _row_times(tables: Tables) -> list[datetime]:
    """Return the times of all rows of trials and epochs."""
    columns = (tables.history("trials")["updated_at"], tables.history("epochs")["at"])
    return [at.to_pydatetime() for column in columns for at in column.dropna()]


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
