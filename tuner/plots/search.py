"""Plots of a search: values by trial, and trials stopped early."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tuner.errors import UserError, suggest
from tuner.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    SKY,
    VERMILION,
    Numbers,
    legend,
    measure,
    new_axes,
    numbers,
    require_columns,
    show_text,
    whole_ticks,
)
from tuner.results.schema import is_search

_LOOKS: dict[str, Mapping[str, Any]] = {
    "COMPLETE": {"linestyle": "", "marker": "o", "color": BLUE, "markersize": 5.5, "zorder": 4},
    "PRUNED": {"linestyle": "", "marker": "x", "color": GREY, "markersize": 5, "zorder": 3},
    "FAILED": {"linestyle": "", "marker": "v", "color": VERMILION, "markersize": 6, "zorder": 4},
}


def optimization_history(
    trials: pd.DataFrame,
    direction: Literal["maximize", "minimize"],
    metric: str = "val_accuracy",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the value of each trial, and the best value as steps.

    Pruned trials are drawn with their last value. Failed trials without a value are marked at the bottom.

    Args:
        trials: `StudyResults.trials`.
        direction: Direction of the objective.
        metric: Metric of the objective.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing, or there is no such direction.
    """
    require_columns("trials", trials, "number", "state", "value", "purpose")
    if direction not in ("maximize", "minimize"):
        raise UserError(f"direction: found '{direction}'; {suggest(direction, ('maximize', 'minimize'))}")
    axes = new_axes(ax)
    searched = trials[is_search(trials)].sort_values("number")
    if not (searched["state"] == "COMPLETE").any():
        return show_text(axes, "no completed trial")
    best = _best_so_far(searched, direction)
    axes.step(numbers(best["number"]), numbers(best["value"]), where="post", color=BLUE, label="best so far")
    scatter(axes, numbers(searched["number"]), searched)
    lost = searched[(searched["state"] == "FAILED") & searched["value"].isna()]
    if not lost.empty:
        bottom = axes.get_xaxis_transform()
        axes.plot(
            numbers(lost["number"]),
            np.full(len(lost), 0.02),
            transform=bottom,
            label="failed, no value",
            **_LOOKS["FAILED"],
        )
    axes.set_xlabel("trial")
    whole_ticks(axes.xaxis)
    measure(axes.yaxis, metric)
    legend(axes, "above")  # stopped trials may lie anywhere
    return axes


def _best_so_far(trials: pd.DataFrame, direction: str) -> pd.DataFrame:
    """Return `number` and the best completed `value` up to it."""
    complete = trials["value"].where(trials["state"] == "COMPLETE")
    best = complete.cummax() if direction == "maximize" else complete.cummin()
    return trials[["number"]].assign(value=best.ffill()).dropna()


def scatter(axes: Axes, x: Numbers, trials: pd.DataFrame) -> None:
    """Draw the trials' values with the markers of their states."""
    for state, look in _LOOKS.items():
        drawn = ((trials["state"] == state) & trials["value"].notna()).to_numpy(bool)
        if drawn.any():
            axes.plot(x[drawn], numbers(trials["value"])[drawn], label=state.lower(), **look)


def rungs(decisions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many trials went on, waited and stopped at each rung.

    Brackets are counted together.

    Args:
        decisions: `StudyResults.decisions`.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    require_columns("decisions", decisions, "number", "rung", "verdict")
    axes = new_axes(ax)
    if decisions.empty:
        return show_text(axes, "no trial has reached a rung")
    counts = _rung_counts(decisions)
    positions, bottom = np.arange(len(counts)), np.zeros(len(counts))
    for name, colour in (("went on", BLUE), ("waited", SKY), ("stopped", PALE)):
        if counts[name].any() or name != "waited":
            bars = axes.bar(positions, counts[name], bottom=bottom, color=colour, width=0.6, label=name)
            bottom = bottom + counts[name].to_numpy()
    if len(counts) <= 8:  # more would overlap
        texts = [_rung_text(row) for row in counts.to_dict("records")]
        axes.bar_label(bars, texts, padding=3, fontsize=9, color=INK)
    axes.set_xticks(positions, [f"{rung:g}" for rung in counts.index])
    axes.set(xlabel="rung (epoch)", ylabel="trials")
    whole_ticks(axes.yaxis)
    axes.margins(x=0.08)
    axes.set_ylim(0, 1.3 * counts["reached"].max())
    axes.grid(visible=False, axis="x")
    legend(axes, "upper right")
    return axes


def _rung_counts(decisions: pd.DataFrame) -> pd.DataFrame:
    """Count the trials of each rung.

    Columns: `reached`, `went on`, `waited` and `stopped`. Each trial counts once, by its
    latest verdict of the stopping rule.
    """
    latest = decisions[decisions["verdict"] != "time"].drop_duplicates(["number", "rung"], keep="last")
    waits, stops = ((latest["verdict"] == verdict).groupby(latest["rung"]) for verdict in ("wait", "stop"))
    counts = pd.DataFrame({"reached": stops.size(), "waited": waits.sum(), "stopped": stops.sum()})
    return counts.assign(**{"went on": counts["reached"] - counts["waited"] - counts["stopped"]})


def _rung_text(counts: Mapping[Any, int]) -> str:
    """Write in two lines how many trials a rung held back."""
    name = "waited" if counts["waited"] > counts["stopped"] else "stopped"
    return f"{counts[name]} of {counts['reached']}\n{name}"
