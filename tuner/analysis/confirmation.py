"""The best configurations of a search, judged by their repeats with other seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # not scipy.stats, because that takes most of a second

from tuner.analysis.formatting import metric_text
from tuner.config.study import StudyConfig
from tuner.results.ranking import rank_confirmed, summarize_repeats
from tuner.results.schema import is_search

CONFIDENCE = 0.95
"""Confidence of the intervals."""
ERROR = 1 - CONFIDENCE
"""Share of wrong verdicts that one configuration is ahead of the others, at most."""


def confirmed(
    spec: StudyConfig, trials: pd.DataFrame, metrics: Sequence[str] = ("val_accuracy", "test_accuracy")
) -> pd.DataFrame:
    """Average each repeated configuration over its repeats, the best one first.

    The order is that of `rank_confirmed`. The run of the search does not count, because it was chosen
    for its high value.

    Args:
        spec: The study.
        trials: `StudyResults.trials`.
        metrics: Columns of the trials to average.

    Returns:
        One row per configuration: `number` (of the trial), `seeds` (completed repeats), `failed`
        (repeats without a value), `diverged` (those of them that its parameters are at fault for), and for each
        metric `METRIC` (the mean) and `METRIC_half` (half of its 95 % interval by Student, missing
        for one seed).
    """
    ranked = rank_confirmed(spec, trials)
    counts = summarize_repeats(trials).drop(columns="mean")
    table = ranked.loc[ranked["number"].isin(counts.index), ["number"]].join(counts, on="number")
    values = trials[trials["repeat_of"].notna() & (trials["state"] == "COMPLETE")].groupby("repeat_of")
    for metric in metrics:
        means = values[metric].agg(["mean", "std"]).astype(float)
        half = means["std"] * values.size().map(interval_factor)
        table = table.join(pd.DataFrame({metric: means["mean"], f"{metric}_half": half}), on="number")
    return table.reset_index(drop=True)


def repeated_values(spec: StudyConfig, trials: pd.DataFrame) -> list[NDArray[np.float64]]:
    """Return the values of the repeats of each configuration.

    The values are those of the first objective. The order is that of `confirmed`.
    """
    by_trial = dict(list(trials[trials["state"] == "COMPLETE"].groupby("repeat_of")["value"]))
    numbers = confirmed(spec, trials, ["value"]).dropna(subset="value")["number"]
    return [by_trial[number].to_numpy(float) for number in numbers]


@dataclass(frozen=True)
class Winner:
    """The configuration with the best repeats, and how sure it is.

    Attributes:
        number: The trial.
        mean: Mean of the first objective over its completed repeats.
        low: Lower end of the mean's 95 % interval, see `winner_interval`.
        high: Upper end of that interval.
        seeds: Completed repeats.
        diverged: Repeats that failed by their parameters.
        compared: Configurations with completed repeats, itself included.
        error: Error at which it is ahead of all others, see `error_ahead`.
        nearest: The configuration that is hardest to tell from it, None without another.
    """

    number: int
    mean: float
    low: float
    high: float
    seeds: int
    diverged: int
    compared: int
    error: float
    nearest: int | None

    @property
    def is_ahead(self) -> bool:
        """True if it is ahead of all others.

        That is wrong in 5 % of studies at most.
        """
        return self.error < ERROR


def find_winner(spec: StudyConfig, trials: pd.DataFrame) -> Winner | None:
    """Return the configuration with the best repeats, None without a completed repeat."""
    ranked = confirmed(spec, trials, ["value"]).dropna(subset="value")
    if ranked.empty:
        return None
    sign = spec.objective[0].sign
    values = [sign * each for each in repeated_values(spec, trials)]
    low, high = sorted(sign * end for end in winner_interval(values))
    most = 1.0 if sign > 0 else math.inf  # because every metric that is maximized is a share
    errors = [error_above(values[0], other) for other in values[1:]]
    number, seeds, diverged = (int(ranked[name].iloc[0]) for name in ("number", "seeds", "diverged"))
    return Winner(
        number=number,
        mean=float(ranked["value"].iloc[0]),
        low=max(low, 0.0),
        high=min(high, most),
        seeds=seeds,
        diverged=diverged,
        compared=len(values),
        error=error_ahead(values),
        nearest=int(ranked["number"].iloc[1 + int(np.argmax(errors))]) if errors else None,
    )


def winner_interval(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the 95 % interval of the mean with the best repeats.

    The lower end is farther than Student's if more than two were compared, because the mean was
    chosen for being the highest. Both ends are NaN for one seed.

    Args:
        values: The repeats of each configuration, the winner first. A higher value is better.
    """
    best, compared = values[0], len(values)
    if len(best) < 2:
        return math.nan, math.nan
    error, tail = float(best.std(ddof=1)) / math.sqrt(len(best)), ERROR / 2
    down, up = (float(stdtrit(len(best) - 1, 1 - share)) for share in (min(tail, ERROR / compared), tail))
    return float(best.mean()) - down * error, float(best.mean()) + up * error


def error_ahead(values: Sequence[NDArray[np.float64]]) -> float:
    """Return the error at which the first mean is above all others.

    The means are compared by Welch's test. The error is twice the largest of the one-sided errors,
    because the first mean was chosen for being the best. No other correction is needed, because the
    first mean has to be above each other mean (Gutmann and Maymin 1987). The error is NaN without
    another configuration, with one seed of any, or without any spread.

    Args:
        values: The repeats of each configuration, the winner first. A higher value is better.
    """
    errors = [error_above(values[0], other) for other in values[1:]]
    return float(np.minimum(1, 2 * np.max(errors))) if errors else math.nan


def error_above(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the one-sided error at which one mean is above another."""
    # equal values are compared, because rounding gives them a tiny variance
    if min(len(one), len(other)) < 2 or np.ptp(one) == np.ptp(other) == 0:
        return math.nan
    first, second = one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)
    freedom = (first + second) ** 2 / (first**2 / (len(one) - 1) + second**2 / (len(other) - 1))
    return float(stdtr(freedom, (other.mean() - one.mean()) / math.sqrt(first + second)))


def winner_lines(spec: StudyConfig, trials: pd.DataFrame) -> list[str]:
    """Describe the winner of the repeats in short sentences, none without repeats."""
    winner = find_winner(spec, trials)
    if winner is None:
        return []
    metric = spec.objective[0].metric
    searched = trials.set_index("number")["value"][winner.number]
    mean, low, high, chosen = (metric_text(metric, value) for value in (winner.mean, winner.low, winner.high, searched))
    interval = f", 95 % interval {low} to {high}" if low else ""
    diverged = f", {winner.diverged} more diverged" if winner.diverged else ""
    seeds = f"{winner.seeds} seed{'s' if winner.seeds > 1 else ''}"
    tried = int(is_search(trials).sum())
    said = f"Best by its repeats: trial {winner.number}, {metric} {mean}{interval} ({seeds}{diverged})"
    bias = f"In the search it had {chosen}, which is too good, because it was chosen among {tried} trials"
    return [said, *([bias] if tried > 1 else []), *_verdict(winner)]


def _verdict(winner: Winner) -> list[str]:
    """Describe whether the winner is ahead of the other configurations."""
    if winner.compared == 1:
        return []
    error = error_text(winner.error)
    if math.isnan(winner.error):
        return ["It cannot be compared, because that takes two seeds of each, and values that differ"]
    if winner.is_ahead:
        others = f"trial {winner.nearest}" if winner.compared == 2 else f"the {winner.compared - 1} others"
        return [f"It is ahead of {others} ({error}, {winner.compared} compared)"]
    return [f"It cannot be told from trial {winner.nearest} ({error}, {winner.compared} compared)"]


def error_text(error: float) -> str:
    """Write the error of a verdict: `p = 0.03`."""
    return "p < 0.001" if error < 0.001 else f"p = {error:.2g}"


def interval_factor(seeds: int) -> float:
    """Return half of the interval of a mean, in sample deviations."""
    if seeds < 2:
        return math.nan
    return float(stdtrit(seeds - 1, (1 + CONFIDENCE) / 2)) / math.sqrt(seeds)
