"""A study as Optuna's own tools see it: with true states, times and measurements.

`tuner.search.optuna_study` rebuilds a study for the samplers, which are told other things.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from tuner.config.sections import Direction
from tuner.config.study import StudyConfig
from tuner.errors import StudyError, first_line
from tuner.results.folder import StudyResults, load_study
from tuner.results.runs import begun_at
from tuner.results.schema import IN_FLIGHT, Table, is_search, parameters_from_row
from tuner.search.optuna_internals import BulkStorage, load_attributes
from tuner.search.optuna_study import distributions_of, reported_values, to_optuna

_STATES = {
    "RUNNING": TrialState.RUNNING,
    "PAUSED": TrialState.RUNNING,
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}
_ATTRIBUTES = (
    "number",
    "epochs_run",
    "val_accuracy",
    "val_loss",
    "test_accuracy",
    "test_loss",
    "train_seconds",
    "parameters_count",
    "seed",
    "origin",
    "node",
    "device",
    "error",
    "error_kind",
)
"""Cells of a trial's row that become user attributes, as far as they are there."""
_BEGUN = "tuner:begun"
"""User attribute of a study that tells it from others of its name."""


def frozen_trials(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> list[FrozenTrial]:
    """Convert the trials of the search to Optuna's, ordered by number.

    Args:
        spec: The study.
        trials: `StudyResults.trials`. Repeats are left out.
        epochs: `StudyResults.epochs`.
    """
    reported = reported_values(epochs, spec.objective[0].metric) if len(spec.objective) == 1 else {}
    drawn = distributions_of(spec.space, [*spec.space.root])
    rows = trials[is_search(trials)].sort_values("number").to_dict("records")
    return [_frozen(spec, drawn, row, reported.get(row["number"], {})) for row in rows]


def _frozen(
    spec: StudyConfig, drawn: Mapping[str, BaseDistribution], row: Mapping[Any, Any], reported: Mapping[int, float]
) -> FrozenTrial:
    parameters = parameters_from_row(spec.space, row)
    distributions = {name: drawn[name] for name in parameters if name in drawn}
    state, is_single = row["state"], len(spec.objective) == 1
    values = list(row["values"]) if state == "COMPLETE" else None
    if state == "PRUNED" and is_single and pd.notna(row["value"]):
        values = [float(row["value"])]
    return FrozenTrial(
        number=-1,  # which the storage sets, like `trial_id`
        trial_id=-1,
        state=_STATES[state],
        value=None,
        values=values,
        params={name: to_optuna(spec.space[name], parameters[name]) for name in distributions},
        distributions=distributions,
        intermediate_values=dict(reported),
        user_attrs=_attributes(row),
        system_attrs=load_attributes(row["sampler_attrs"]),
        datetime_start=_local(row["started_at"]) or _local(row["updated_at"]),
        datetime_complete=None if state in IN_FLIGHT else _local(row["updated_at"]),
    )


def _attributes(row: Mapping[Any, Any]) -> dict[str, Any]:
    cells = {name: row.get(name) for name in _ATTRIBUTES}
    plain = {name: cell.item() if hasattr(cell, "item") else cell for name, cell in cells.items() if pd.notna(cell)}
    return {name: cell for name, cell in plain.items() if not isinstance(cell, float) or math.isfinite(cell)}


def _local(at: Any) -> datetime | None:
    """Return a time in the local zone without `tzinfo`, as in Optuna."""
    return None if pd.isna(at) else at.to_pydatetime().astimezone().replace(tzinfo=None)


def export_study(study: StudyResults, url: str) -> tuple[str, int, int]:
    """Add the finished trials of a study to a storage of Optuna.

    Trials that the storage already has are left out.

    Args:
        study: The study.
        url: The storage, such as `sqlite:///optuna.db`.

    Returns:
        Name of the study there, number of added trials, and number of trials that were there.

    Raises:
        StudyError: The storage cannot be used, or has another study of this name.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    begun = begun_at(study.folder.provenance()) or str(study.folder)
    trials = study.trials[~study.trials["state"].isin(IN_FLIGHT)]
    try:
        there = _create_or_continue(study.spec, begun, url)
        known = {trial.user_attrs.get("number") for trial in there.get_trials(deepcopy=False)}
        added = [
            trial
            for trial in frozen_trials(study.spec, trials, study.epochs)
            if trial.user_attrs["number"] not in known
        ]
        there.add_trials(added)
    except StudyError:
        raise
    except Exception as error:  # because each database has errors of its own
        raise StudyError(f"--storage: {first_line(error)}; allowed: a URL such as sqlite:///optuna.db") from None
    return study.spec.study, len(added), len(known)


def _create_or_continue(spec: StudyConfig, begun: str, url: str) -> optuna.Study:
    """Create the study in a storage, or load it from there."""
    try:
        made = optuna.create_study(study_name=spec.study, storage=url, directions=_directions(spec))
    except DuplicatedStudyError:
        found = optuna.load_study(study_name=spec.study, storage=url)
        if found.user_attrs.get(_BEGUN) != begun:
            raise StudyError(
                f"--storage: holds another study '{spec.study}'; allowed: a storage without it, such as another file"
            ) from None
        return found
    made.set_user_attr(_BEGUN, begun)
    _name_metrics(spec, made)
    return made


def _directions(spec: StudyConfig) -> Sequence[Direction]:
    return [objective.direction for objective in spec.objective]


def _name_metrics(spec: StudyConfig, study: optuna.Study) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names([objective.metric for objective in spec.objective])


class Mirror:
    """An in-memory storage of Optuna, kept equal to a study's tables.

    Args:
        path: The study's folder.

    Attributes:
        storage: The storage, with one study.
    """

    def __init__(self, path: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._path, self._parts = path, [""]
        spec = load_study(path).spec
        self.storage = BulkStorage()
        self._study = optuna.create_study(storage=self.storage, study_name=spec.study, directions=_directions(spec))
        _name_metrics(spec, self._study)
        self.refresh()

    def refresh(self) -> bool:
        """Read the tables if they have new parts.

        The result is True if there were new parts.
        """
        study = load_study(self._path)
        tables: tuple[Table, ...] = ("trials", "epochs")
        parts = [name for table in tables for name in study.folder.storage.names(table, ".parquet")]
        if parts == self._parts:
            return False
        trials = frozen_trials(study.spec, study.trials, study.epochs)
        self.storage.replace_trials(self._study._study_id, trials)
        self._parts = parts
        return True
