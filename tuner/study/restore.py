"""The state of a study's earlier runs, rebuilt from its tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tuner.config.study import StudyConfig
from tuner.results.schema import IN_FLIGHT, is_search
from tuner.results.tables import Tables, latest_rows
from tuner.search.asha import Recorded
from tuner.search.optuna_study import reported_values
from tuner.search.schedulers import Scheduler
from tuner.study.observer import Row


@dataclass(frozen=True)
class Past:
    """The rows of a study's earlier runs.

    Attributes:
        trials: One row per trial.
        rows: One row per change of a trial's state.
        epochs: One row per trial and epoch, without the untrained network.
        decisions: One row per verdict.
    """

    trials: pd.DataFrame
    rows: pd.DataFrame
    epochs: pd.DataFrame
    decisions: pd.DataFrame

    @property
    def attempts(self) -> dict[int, int]:
        """The last attempt of each trial."""
        last = self.rows.groupby("number")["attempt"].max()
        return {int(number): int(attempt) for number, attempt in last.items()}  # type: ignore[call-overload]

    @property
    def failures(self) -> list[tuple[int, str]]:
        """Number and kind of each failed attempt. Earlier versions told no kinds."""
        failed = self.rows[self.rows["state"] == "FAILED"]
        kinds = failed["error_kind"].fillna("crash")
        return [(int(number), kind) for number, kind in zip(failed["number"], kinds, strict=True)]

    @property
    def failed(self) -> list[Mapping[Any, Any]]:
        """The rows of FAILED trials."""
        return list(self.trials[self.trials["state"] == "FAILED"].to_dict("records"))

    @property
    def in_flight(self) -> list[Row]:
        """The rows of trials that run or wait.

        A missing cell is None.
        """
        rows = self.trials[self.trials["state"].isin(IN_FLIGHT)].to_dict("records")
        return [{str(name): _plain(cell) for name, cell in row.items()} for row in rows]

    @property
    def reports(self) -> dict[int, dict[int, Row]]:
        """Reports of trials in flight, by number and epoch."""
        in_flight = self.trials.loc[self.trials["state"].isin(IN_FLIGHT), "number"]
        reports: dict[int, dict[int, Row]] = {}
        for epoch in self.epochs[self.epochs["number"].isin(in_flight)].to_dict("records"):
            report = {str(key): cell for key, cell in epoch.items()}
            reports.setdefault(report["number"], {})[report["epoch"]] = report
        return reports


def read_past(tables: Tables) -> Past:
    """Read what earlier runs of a study left."""
    epochs = tables.epochs()
    rows = tables.history("trials")
    return Past(
        trials=latest_rows(rows),
        rows=rows,
        epochs=epochs[epochs["epoch"] > 0],
        decisions=tables.history("decisions"),
    )


def restore_scheduler(spec: StudyConfig, past: Past, scheduler: Scheduler) -> list[Mapping[Any, Any]]:
    """Bring the scheduler to where it was, without deciding anything twice.

    Returns:
        The rows of trials in flight that it had stopped before the last run ended.
    """
    if len(spec.objective) > 1:
        columns = ["epoch", *(objective.metric for objective in spec.objective)]
        for row in past.epochs[["number", *columns]].to_dict("records"):
            scheduler.note(int(row["number"]), {str(name): cell for name, cell in row.items()})
    values = reported_values(past.epochs, spec.objective[0].metric)
    recorded, stopped = _decided(past.decisions)
    searched = past.trials[is_search(past.trials)]
    numbers = [int(number) for number in searched["number"]]
    for number, state in zip(numbers, searched["state"], strict=True):
        replay = scheduler.resume if state in IN_FLIGHT else scheduler.replay
        replay(number, values.get(number, {}), recorded.get(number, ()))
    is_stopped = searched["number"].isin(stopped) & (searched["state"] == "RUNNING")
    return list(searched[is_stopped].to_dict("records"))


def _plain(cell: Any) -> Any:
    """Return a data frame's cell in the form that tables take."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    return None if pd.isna(cell) else cell


def _decided(decisions: pd.DataFrame) -> tuple[dict[int, list[Recorded]], set[int]]:
    """Return each trial's values at rungs, and the stopped trials."""
    recorded: dict[int, list[Recorded]] = {}
    decisions = decisions.sort_values("attempt", kind="stable")  # because the first value counts
    columns = (decisions[name].tolist() for name in ("number", *Recorded._fields))
    for number, *row in zip(*columns, strict=True):
        recorded.setdefault(int(number), []).append(Recorded(*row))
    stopped = decisions.loc[decisions["verdict"] == "stop", "number"]
    return recorded, {int(number) for number in stopped}
