"""Plots of a search: values by trial and by parameter, and trials stopped early."""

from collections.abc import Mapping
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from tuner.analysis.parameters import choice_values
from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.errors import UserError, suggest
from tuner.plots.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILION,
    Numbers,
    apply_style,
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
    _scatter(axes, numbers(searched["number"]), searched)
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


def slices(
    trials: pd.DataFrame, parameters: Mapping[str, Parameter], metric: str = "val_accuracy"
) -> NDArray[np.object_]:
    """Draw the values of the search's trials against each searched parameter.

    Axes are logarithmic if the study draws over the logarithm. The values of a choice stand side by side, their
    points spread a little. Pruned trials are drawn with their last value.

    Args:
        trials: `StudyResults.trials`.
        parameters: The space, `study.spec.space.root`, or a part of it. Constants are left out.
        metric: Metric of the objective.

    Returns:
        The Axes, one per parameter. If there is nothing to draw, a single one with the reason.

    Raises:
        UserError: A column is missing.
    """
    searched = {name: each for name, each in parameters.items() if not isinstance(each, Constant)}
    require_columns("trials", trials, "number", "state", "value", "purpose", *(f"param_{name}" for name in searched))
    valued = trials[is_search(trials) & trials["value"].notna()]
    if not searched or not (valued["state"] == "COMPLETE").any():
        text = "no completed trial" if searched else "no searched parameter"
        return np.array([show_text(new_axes(None), text)], dtype=object)
    grid = _grid(len(searched))
    for axes, (name, parameter) in zip(grid, searched.items(), strict=True):
        active = valued.dropna(subset=[f"param_{name}"])
        _scale(apply_style(axes), parameter)
        _scatter(axes, _positions(active, name, parameter), active)
        axes.set_xlabel(name.replace("_", " "))
        if axes.get_subplotspec().is_first_col():
            measure(axes.yaxis, metric)
    handles = {name: each for axes in grid for each, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        look: dict[str, Any] = {"ncols": len(handles), "frameon": False, "fontsize": 9, "labelcolor": INK}
        grid[0].figure.legend(handles.values(), handles.keys(), loc="outside upper right", **look)
    return grid


def _grid(count: int) -> NDArray[np.object_]:
    """Make Axes in rows of three that share the vertical axis."""
    columns = min(3, count)
    rows = -(-count // columns)
    size = (max(6.0, 2.7 * columns), max(4.0, 2.6 * rows))
    figure, grid = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for spare in grid.flat[count:]:
        figure.delaxes(spare)
    drawn: NDArray[np.object_] = grid.flatten()[:count]
    return drawn


def _scale(axes: Axes, parameter: Choice | Float | Int) -> None:
    """Set ticks at the values of a choice, or a logarithmic axis."""
    if isinstance(parameter, Choice):
        names = [str(value) for value in choice_values(parameter)]
        is_wide = sum(map(len, names)) > 24
        aslant: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if is_wide else {}
        axes.set_xticks(range(len(names)), names, **aslant)
        axes.set_xlim(-0.6, len(names) - 0.4)
    elif parameter.log:
        low, high = parameter.bounds
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _positions(trials: pd.DataFrame, name: str, parameter: Choice | Float | Int) -> Numbers:
    """Return each trial's position on the axis of a parameter: (N,)."""
    cells = trials[f"param_{name}"]
    if not isinstance(parameter, Choice):
        return numbers(cells)
    values = choice_values(parameter)
    # Multiples of the golden ratio spread any number of trials evenly, and each keeps its position.
    aside = (numbers(trials["number"]) * 0.618 % 1 - 0.5) * 0.4
    return np.array([values.index(cell) for cell in cells], dtype=float) + aside


def _scatter(axes: Axes, x: Numbers, trials: pd.DataFrame) -> None:
    """Draw the trials' values with the markers of their states."""
    for state, look in _LOOKS.items():
        drawn = ((trials["state"] == state) & trials["value"].notna()).to_numpy(bool)
        if drawn.any():
            axes.plot(x[drawn], numbers(trials["value"])[drawn], label=state.lower(), **look)


def rungs(decisions: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many trials reached each rung, and were stopped there.

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
    continued, positions = counts["reached"] - counts["stopped"], np.arange(len(counts))
    axes.bar(positions, continued, color=BLUE, width=0.6, label="went on")
    stopped = axes.bar(positions, counts["stopped"], bottom=continued, color=PALE, width=0.6, label="stopped")
    if len(counts) <= 8:  # more would overlap
        texts = [f"{few} of {many}\nstopped" for many, few in counts.to_numpy()]
        axes.bar_label(stopped, texts, padding=3, fontsize=9, color=INK)
    axes.set_xticks(positions, [f"{rung:g}" for rung in counts.index])
    axes.set(xlabel="rung (epoch)", ylabel="trials")
    whole_ticks(axes.yaxis)
    axes.margins(x=0.08, y=0.16)
    axes.grid(visible=False, axis="x")
    legend(axes, "upper right")
    return axes


def _rung_counts(decisions: pd.DataFrame) -> pd.DataFrame:
    """Count `reached` and `stopped` by rung.

    Each trial counts once, by its latest verdict of the stopping rule.
    """
    latest = decisions[decisions["verdict"] != "time"].drop_duplicates(["number", "rung"], keep="last")
    stopped = (latest["verdict"] == "stop").groupby(latest["rung"])
    return pd.DataFrame({"reached": stopped.size(), "stopped": stopped.sum()})
