"""The best configurations of a search, judged by their repeats with other seeds."""

import math
from collections.abc import Sequence

import pandas as pd
from scipy import stats

from tuner.config.study import StudyConfig
from tuner.results.folder import rank

CONFIDENCE = 0.95
"""Confidence of the intervals."""


def confirmed(
    spec: StudyConfig, trials: pd.DataFrame, metrics: Sequence[str] = ("val_accuracy", "test_accuracy")
) -> pd.DataFrame:
    """Average each repeated configuration over its repeats, the best one first.

    The order is that of the search. The run of the search does not count, because it was chosen for
    its high value.

    Args:
        spec: The study.
        trials: `StudyResults.trials`.
        metrics: Columns of the trials to average.

    Returns:
        One row per configuration: `number` (of the trial), `seeds` (completed repeats), `failed`
        (repeats without a value), and for each metric `METRIC` (the mean) and `METRIC_half`
        (half of its 95 % interval by Student, missing for one seed).
    """
    ranked = rank(spec, trials)
    repeats = trials[trials["repeat_of"].isin(ranked["number"])]
    by_state = repeats.groupby(["repeat_of", "state"]).size().unstack(fill_value=0)
    counts = by_state.reindex(columns=["COMPLETE", "FAILED"], fill_value=0).set_axis(["seeds", "failed"], axis=1)
    table = ranked.loc[ranked["number"].isin(counts.index), ["number"]].join(counts, on="number")
    values = repeats[repeats["state"] == "COMPLETE"].groupby("repeat_of")
    for metric in metrics:
        means = values[metric].agg(["mean", "std"]).astype(float)
        half = means["std"] * values.size().map(_factor)
        table = table.join(pd.DataFrame({metric: means["mean"], f"{metric}_half": half}), on="number")
    return table.reset_index(drop=True)


def _factor(seeds: int) -> float:
    """Return half of the interval of a mean, in sample deviations."""
    if seeds < 2:
        return math.nan
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, seeds - 1)) / math.sqrt(seeds)
