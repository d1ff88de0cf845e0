"""Importance of each searched parameter, by Optuna's fANOVA and PED-ANOVA."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from tuner.config.parameters import Constant, Float, Int, Parameter
from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.results.schema import is_search, parameters_from_row
from tuner.search.optuna_study import distribution, reported_values, to_optuna

RESAMPLES = 20
"""Number of times that trials are drawn again to see how sure an importance is."""
TREES, TREES_RESAMPLED = 64, 8
"""Trees of the forest behind an importance, and behind that of each resample."""
OUTSIDE = 0.05
"""Share of the resamples outside the interval on each side."""
BEST, FEWEST_BEST = 0.1, 5
"""Share of the trials that count as the best for PED-ANOVA, and their number at least."""
COLUMNS = ["importance", "low", "high", "best", "best_low", "best_high"]


def importance(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame, epoch: int = 1) -> pd.DataFrame:
    """Return how much each parameter matters by fANOVA and PED-ANOVA.

    fANOVA gives a parameter's share of the objective's variance. It is that of the parameter by
    itself, so what interactions explain is missing from the sum. PED-ANOVA tells which parameters
    decide that a trial is among the best 10 %. Its shares are scaled to a sum of 1.
    Trials are compared at the same epoch, because stopped trials have no later value.
    Parameters that only some of the trials have, or that never vary, are left out.

    Args:
        spec: The study.
        trials: Its trials, or some of them. Repeats do not count.
        epochs: `StudyResults.epochs`.
        epoch: Epoch at which trials are compared.

    Returns:
        One row per parameter, the most important first: `importance` by fANOVA and `best` by
        PED-ANOVA, 0 to 1, and `low`, `high`, `best_low` and `best_high`, the ends of their 90 %
        intervals over resamples of the trials. Empty if no value varies.
    """
    valued = _valued(spec, trials, epochs, epoch)
    if len(valued) < 2:
        return pd.DataFrame(columns=COLUMNS, dtype=float)
    draws = np.random.default_rng(0).integers(len(valued), size=(RESAMPLES, len(valued)))
    resamples = [_study_of(spec, [valued[index] for index in draw]) for draw in draws]
    study = _study_of(spec, valued)
    resampled = pd.DataFrame([_evaluate(resample, TREES_RESAMPLED) for resample in resamples])
    table = pd.Series(_evaluate(study, TREES), dtype=float).to_frame("importance")
    table["low"], table["high"] = resampled.quantile(OUTSIDE), resampled.quantile(1 - OUTSIDE)
    table["best"] = pd.Series(_evaluate_best(study), dtype=float)
    best = pd.DataFrame([_evaluate_best(resample) for resample in resamples])
    table["best_low"], table["best_high"] = best.quantile(OUTSIDE), best.quantile(1 - OUTSIDE)
    return table.sort_values("importance", ascending=False, kind="stable")[COLUMNS]


def _valued(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame, epoch: int) -> list[FrozenTrial]:
    """Return the trials of the search that were measured at an epoch.

    Each has its value at that epoch.
    """
    reported = reported_values(epochs, spec.objective[0].metric)
    rows = trials[is_search(trials)].sort_values("number").to_dict("records")
    drawn = [parameters_from_row(spec.space, row) for row in rows]
    varying = _varying(spec.space.root, drawn)
    return [
        create_trial(
            params={name: _position(parameter, values[name]) for name, parameter in varying.items()},
            distributions={name: _weighed(parameter) for name, parameter in varying.items()},
            value=reported[row["number"]][epoch],
        )
        for row, values in zip(rows, drawn, strict=True)
        if epoch in reported.get(row["number"], {})
    ]


def _varying(space: Mapping[str, Parameter], drawn: list[dict[str, Value]]) -> dict[str, Parameter]:
    """Return the parameters that every trial has, with more than one value."""
    return {
        name: parameter
        for name, parameter in space.items()
        if not isinstance(parameter, Constant)
        and all(name in values for values in drawn)
        and len({str(values[name]) for values in drawn}) > 1
    }


def _position(parameter: Parameter, value: Any) -> Any:
    """Return a value as fANOVA weighs it, which knows no logarithms."""
    is_log = isinstance(parameter, Float | Int) and parameter.log
    return math.log(value) if is_log else to_optuna(parameter, value)


def _weighed(parameter: Parameter) -> BaseDistribution:
    """Return the distribution over which fANOVA weighs a parameter."""
    if isinstance(parameter, Float | Int) and parameter.log:
        low, high = parameter.bounds
        return FloatDistribution(math.log(low), math.log(high))
    return distribution(parameter)


def _evaluate_best(study: optuna.Study) -> dict[str, float]:
    """Return each parameter's share of what makes trials the best, by PED-ANOVA.

    The result is empty if no value varies.
    """
    trials = study.get_trials(deepcopy=False)
    if len({trial.value for trial in trials}) < 2:
        return {}
    share = min(0.5, max(BEST, FEWEST_BEST / len(trials)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because equal values can make all trials the best
        found = PedAnovaImportanceEvaluator(target_quantile=share).evaluate(study)
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}


def _study_of(spec: StudyConfig, trials: list[FrozenTrial]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=spec.objective[0].direction)
    study.add_trials(trials)
    return study


def _evaluate(study: optuna.Study, trees: int) -> dict[str, float]:
    """Return the importance of each parameter over a study's trials.

    The result is empty if no value varies.
    """
    try:  # without `get_param_importances`, because it scales the shares to a sum of 1, or warns
        return FanovaImportanceEvaluator(n_trees=trees, seed=0).evaluate(study)
    except RuntimeError:  # no tree found any variance
        return {}
