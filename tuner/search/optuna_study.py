"""Optuna's study, rebuilt from the tables."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.config.space import Space
from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.results.schema import PARAMETERS_AT_FAULT, State, is_search, parameters_from_row
from tuner.search.optuna_internals import BulkStorage, load_attributes

STATES: Mapping[State, TrialState] = {
    "RUNNING": TrialState.WAITING,  # until Optuna is asked for it
    "PAUSED": TrialState.WAITING,
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


def distribution(parameter: Parameter) -> BaseDistribution:
    """Return a parameter as Optuna's distribution.

    Lists and mixed choices are JSON text.
    """
    if isinstance(parameter, Choice):
        return CategoricalDistribution([to_optuna(parameter, value) for value in parameter.choice])
    if isinstance(parameter, Float):
        return FloatDistribution(*parameter.reachable, log=parameter.log, step=parameter.step)
    if isinstance(parameter, Int):
        return IntDistribution(*parameter.reachable, log=parameter.log, step=parameter.step or 1)
    raise TypeError(f"{parameter!r} is not drawn")


def to_optuna(parameter: Parameter, value: Value) -> Any:
    """Turn a value into Optuna's form.

    Lists and mixed choices become JSON text.
    """
    return json.dumps(value) if parameter.kind == "json" else value


def distributions_of(space: Space, parameters: Iterable[str]) -> dict[str, BaseDistribution]:
    """Return the distribution of each parameter that is drawn, by name."""
    drawn = (name for name in parameters if isinstance(space[name], Choice | Float | Int))
    return {name: distribution(space[name]) for name in drawn}


def drawn_distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the distribution of every drawn parameter by name.

    Parameters that are not active are included.
    """
    drawn = (pair for pair in space.ordered() if not isinstance(pair[1], Constant))
    return {name: distribution(parameter) for name, parameter in drawn}


def rebuild_study(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> optuna.Study:
    """Rebuild Optuna's study from the tables.

    Its trials have the order of their numbers. Trials in flight are WAITING until `resume_trials`
    asks for them.

    Args:
        spec: The study.
        trials: One row per trial.
        epochs: One row per trial and epoch.

    Raises:
        StudyError: The state of CMA-ES in `sampler_attrs` would run foreign code.
    """
    storage = BulkStorage()
    study = optuna.create_study(
        storage=storage,
        sampler=RandomSampler(),
        directions=[objective.direction for objective in spec.objective],
        study_name=spec.study,
    )
    metric = spec.objective[0].metric
    reported = reported_values(epochs, metric) if len(spec.objective) == 1 else {}
    rebuild = partial(rebuild_trial, spec, distributions_of(spec.space, [*spec.space.root]))
    rows = _needed(spec, trials[is_search(trials)].sort_values("number")).to_dict("records")
    storage.add_trials(study._study_id, (rebuild(row, reported.get(row["number"], {})) for row in rows))
    return study


def _needed(spec: StudyConfig, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the columns from which Optuna's trials are rebuilt.

    Other columns are dropped because rows are slow to make.
    """
    parameters = [f"param_{name}" for name in spec.space.root]
    needed = ["number", "state", "error_kind", "value", "values", "sampler_attrs", *parameters]
    return trials[[name for name in needed if name in trials]]


def resume_trials(study: optuna.Study) -> dict[int, optuna.Trial]:
    """Ask for each waiting trial, by its number in the tables."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    asked = [study.ask() for _ in waiting]
    return {trial.user_attrs["number"]: trial for trial in asked}


def rebuild_trial(
    spec: StudyConfig,
    drawn: Mapping[str, BaseDistribution],
    row: Mapping[Any, Any],
    reported: Mapping[int, float],
) -> FrozenTrial:
    """Rebuild one of Optuna's trials.

    Args:
        spec: The study.
        drawn: The distribution of each parameter of its space that is drawn.
        row: The trial's row.
        reported: Its values by epoch.
    """
    parameters = parameters_from_row(spec.space, row)
    distributions = {name: drawn[name] for name in parameters if name in drawn}
    state: State = row["state"]
    if state == "FAILED" and counts_as_worst(spec, row["error_kind"]):
        state = "PRUNED"
    if state == "PRUNED" and len(spec.objective) > 1:  # which Optuna does not allow
        state = "FAILED"
    value = row["value"] if state == "PRUNED" and pd.notna(row["value"]) else None
    now = datetime.now()
    return FrozenTrial(  # because `create_trial` checks what the tables have checked
        number=-1,  # which the storage sets, like `trial_id`
        trial_id=-1,
        state=STATES[state],
        value=value,
        values=list(row["values"]) if state == "COMPLETE" else None,
        params={name: to_optuna(spec.space[name], parameters[name]) for name in distributions},
        distributions=distributions,
        intermediate_values=dict(reported),
        user_attrs={"number": int(row["number"])},
        system_attrs=load_attributes(row["sampler_attrs"]),
        datetime_start=None if state == "RUNNING" else now,
        datetime_complete=None if state == "RUNNING" else now,
    )


def counts_as_worst(spec: StudyConfig, kind: Any) -> bool:
    """Return True if a failure is told as the worst result.

    Its parameters are at fault, and Optuna's TPE returns to what is told as FAIL. Optuna allows
    anything else with one objective only.
    """
    return kind in PARAMETERS_AT_FAULT and len(spec.objective) == 1


def reported_values(epochs: pd.DataFrame, metric: str) -> dict[int, dict[int, float]]:
    """Return a metric's values by trial and epoch, from epoch 1."""
    if metric not in epochs:
        return {}
    values: dict[int, dict[int, float]] = {}
    measured = epochs[(epochs["epoch"] > 0) & epochs[metric].notna()]
    columns = (measured[name].tolist() for name in ("number", "epoch", metric))
    for number, epoch, value in zip(*columns, strict=True):
        values.setdefault(int(number), {})[int(epoch)] = float(value)
    return values


def suggest_value(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Draw a parameter's value through one of Optuna's trials."""
    drawn = distribution(parameter)
    if isinstance(drawn, FloatDistribution):
        value = trial.suggest_float(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
        return parameter.canonical(value)
    if isinstance(drawn, IntDistribution):
        return trial.suggest_int(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    if not isinstance(parameter, Choice):
        raise TypeError(f"{name} is not drawn")
    by_text = {to_optuna(parameter, value): value for value in parameter.choice}
    return by_text[trial.suggest_categorical(name, list(by_text))]
