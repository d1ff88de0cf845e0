"""Trials that are drawn where all of them would be too many."""

import pandas as pd

from tuner.config.study import StudyConfig
from tuner.results.schema import is_search

GOLDEN = 0.6180339887498949


def spread(numbers: "pd.Series[int]") -> "pd.Series[float]":
    """Spread trials evenly between 0 and 1, each at a fixed place.

    Multiples of the golden ratio spread any number of trials.
    """
    return numbers.astype(float) * GOLDEN % 1


def sample_trials(spec: StudyConfig, trials: pd.DataFrame, most: int) -> pd.DataFrame:
    """Choose the trials of the search to draw.

    A fifth of these trials are the best completed ones. The rest is a fair sample: each state has
    its share, and at least one trial. The choice depends only on numbers and values, so a growing
    study keeps most of its sample.

    Returns:
        Rows of `trials` in the order of their numbers, all of them if they are few.
    """
    searched = trials[is_search(trials)].sort_values("number")
    if len(searched) <= most:
        return searched
    complete = searched[searched["state"] == "COMPLETE"]
    ascending = spec.objective[0].direction == "minimize"
    best = complete.sort_values("value", ascending=ascending, kind="stable").head(most // 5)
    rest = searched.drop(best.index)
    order = spread(rest["number"])
    rank = order.groupby(rest["state"]).rank(method="first")
    sizes = rest["state"].map(rest["state"].value_counts())
    share = (most - len(best)) / len(rest)
    kept = rest[rank <= (sizes * share).clip(lower=1)]
    return pd.concat([best, kept]).sort_values("number")
