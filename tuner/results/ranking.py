"""Completed trials, ranked by the search and by their repeats with other seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tuner.config.constraints import is_outside
from tuner.config.study import StudyConfig
from tuner.results.schema import PARAMETERS_AT_FAULT, is_search, is_untried


def rank(spec: StudyConfig, trials: pd.DataFrame) -> pd.DataFrame:
    """Sort the search's completed trials by the first objective, best first.

    Equals keep the order of their numbers. Trials outside of a constraint are left out.
    """
    complete = trials[(trials["state"] == "COMPLETE") & is_search(trials)]
    if spec.constraints:
        allowed = [is_allowed(spec, row) for row in complete.to_dict("records")]
        complete = complete[np.array(allowed, dtype=bool)]
    ascending = spec.objective[0].direction == "minimize"
    return complete.sort_values("value", ascending=ascending, kind="stable", ignore_index=True)


def is_allowed(spec: StudyConfig, row: Mapping[Any, Any]) -> bool:
    """Return True if a completed trial is inside all constraints."""
    if not spec.constraints:
        return True
    objectives = (objective.metric for objective in spec.objective)
    return not is_outside(spec.constraints, {**row, **dict(zip(objectives, row["values"], strict=True))})


def count_searched(spec: StudyConfig, trials: pd.DataFrame) -> int:
    """Count the trials of the search that have begun.

    Those that a constraint kept from training count only in a grid, which has no other points.
    """
    searched = is_search(trials)
    return int((searched if spec.search.sampler == "grid" else searched & ~is_untried(trials)).sum())


def summarize_repeats(trials: pd.DataFrame) -> pd.DataFrame:
    """Summarize the repeats of each repeated trial.

    Returns:
        One row per repeated trial, by its number: `seeds` (completed repeats), `failed`, `diverged`
        (repeats that failed by their parameters), and `mean` (of the first objective).
    """
    repeats = trials[trials["repeat_of"].notna()]
    is_complete, is_failed = repeats["state"] == "COMPLETE", repeats["state"] == "FAILED"
    rows = pd.DataFrame(
        {
            "seeds": is_complete.astype(int),
            "failed": is_failed.astype(int),
            "diverged": (is_failed & repeats["error_kind"].isin(PARAMETERS_AT_FAULT)).astype(int),
        }
    )
    counts = rows.groupby(repeats["repeat_of"].astype(int)).sum()
    means = repeats[is_complete].groupby("repeat_of")["value"].mean().astype(float)
    return counts.assign(mean=means)


def rank_confirmed(spec: StudyConfig, trials: pd.DataFrame) -> pd.DataFrame:
    """Sort the search's completed trials by their repeats, best first.

    Trials with repeats stand first. Among them a smaller share of diverged repeats counts before the
    mean. Then come the trials without repeats by their value. Those whose repeats all diverged are last.

    Returns:
        Their rows, with the column `confirmed`: the mean of the repeats, missing without a completed one.
    """
    ranked = rank(spec, trials)
    found = summarize_repeats(trials).reindex(ranked["number"])
    mean, diverged = found["mean"].to_numpy(), found["diverged"].fillna(0).to_numpy()
    share = diverged / (diverged + found["seeds"].fillna(0).to_numpy()).clip(min=1)
    place = np.where(np.isfinite(mean), 0, np.where(diverged > 0, 2, 1))
    better = np.nan_to_num(-spec.objective[0].sign * mean)
    order = np.lexsort((better, np.where(place == 0, share, 0), place))
    return ranked.assign(confirmed=mean).iloc[order].reset_index(drop=True)
