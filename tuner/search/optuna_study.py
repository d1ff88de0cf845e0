"""Optuna's study, rebuilt from the tables."""

import io
import json
import pickle
from collections.abc import Mapping
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
from optuna.trial import TrialState, create_trial

from tuner.config.parameters import Choice, Float, Int, Parameter, Value
from tuner.config.space import Space
from tuner.config.study import StudyConfig
from tuner.errors import StudyError
from tuner.results.schema import State, is_search, parameters_from_row

STATES: Mapping[State, TrialState] = {
    "RUNNING": TrialState.RUNNING,
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna's distribution; lists and mixed choices stand as JSON text."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution([to_optuna(parameter, value) for value in parameter.choice])
    if isinstance(parameter, Float):
        return FloatDistribution(*_reachable(parameter), log=parameter.log, step=parameter.step)
    if isinstance(parameter, Int):
        return IntDistribution(*_reachable(parameter), log=parameter.log, step=parameter.step or 1)
    raise TypeError(f"{parameter!r} is not drawn")


def _reachable(parameter: Float | Int) -> tuple[Any, Any]:
    """The bounds, the upper one on a step: Optuna warns of any other."""
    (low, high), step = parameter.bounds, parameter.step
    return (low, high) if step is None else (low, round(low + step * int((high - low) / step + 1e-9), 12))


def to_optuna(parameter: Parameter, value: Value) -> Any:
    """Turn a value into what Optuna keeps of it: lists and mixed choices as JSON text."""
    return json.dumps(value) if parameter.kind == "json" else value


def distributions_of(space: Space, parameters: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    """Give the distribution of each parameter that is drawn, by name."""
    return {name: distribution(space[name]) for name in parameters if isinstance(space[name], Choice | Float | Int)}


def rebuild_study(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> optuna.Study:
    """Optuna's study as the tables tell it: the search's trials in the order of their numbers.

    Args:
        spec: The study.
        trials: One row a trial.
        epochs: One row for each trial and epoch.

    Raises:
        StudyError: The state of CMA-ES in `sampler_attrs` would run code of somebody else's.
    """
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(),
        sampler=RandomSampler(),
        directions=[objective.direction for objective in spec.objective],
        study_name=spec.study,
    )
    metric = spec.objective[0].metric
    reported = _by_number(epochs, metric) if metric in epochs and len(spec.objective) == 1 else {}
    for row in trials[is_search(trials)].sort_values("number").to_dict("records"):
        parameters = parameters_from_row(spec.space, row)
        distributions = distributions_of(spec.space, parameters)
        state: State = row["state"]
        told = state if len(spec.objective) == 1 or state != "PRUNED" else "FAILED"
        study.add_trial(
            create_trial(
                state=STATES[told],
                values=list(row["values"]) if told == "COMPLETE" else None,
                value=row["value"] if told == "PRUNED" and pd.notna(row["value"]) else None,
                params={name: to_optuna(spec.space[name], parameters[name]) for name in distributions},
                distributions=distributions,
                intermediate_values=reported.get(row["number"], {}),
                user_attrs={"number": row["number"]},
                system_attrs=_sampler_attributes(row["sampler_attrs"]),
            )
        )
    return study


def _by_number(epochs: pd.DataFrame, metric: str) -> dict[int, dict[int, float]]:
    return {
        int(str(number)): {int(epoch): float(value) for epoch, value in zip(rows["epoch"], rows[metric], strict=True)}
        for number, rows in epochs.query("epoch > 0").dropna(subset=[metric]).groupby("number")
    }


def _sampler_attributes(text: Any) -> dict[str, Any]:
    """What a sampler kept about a trial, from its cell in the tables; null where it keeps nothing."""
    attributes: dict[str, Any] = json.loads(text) if isinstance(text, str) else {}
    pieces = sum(key.startswith("cma:optimizer") for key in attributes)
    if state := "".join(attributes[f"cma:optimizer:{piece}"] for piece in range(pieces)):
        _CmaState(io.BytesIO(bytes.fromhex(state))).load()
    return attributes


class _CmaState(pickle.Unpickler):
    """Optuna unpickles the state of CMA-ES, and a study may come from anywhere: here only that state passes."""

    _PARTS = frozenset(
        {
            ("cmaes._cma", "CMA"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._PARTS:
            raise StudyError(f"trials.sampler_attrs: found {module}.{name}, which is no part of the state of CMA-ES")
        return super().find_class(module, name)


def suggest_value(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    """Draw a parameter's value through a trial of Optuna's."""
    drawn = distribution(parameter)
    if isinstance(drawn, FloatDistribution):
        return trial.suggest_float(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    if isinstance(drawn, IntDistribution):
        return trial.suggest_int(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    if not isinstance(parameter, Choice):
        raise TypeError(f"{name} is not drawn")
    by_text = {to_optuna(parameter, value): value for value in parameter.choice}
    return by_text[trial.suggest_categorical(name, list(by_text))]
