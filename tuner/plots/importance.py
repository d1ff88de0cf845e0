"""Plots of all parameters at once: their importance, and the trials across them."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import NDArray

from tuner.analysis.formatting import metric_text, number_text
from tuner.analysis.parameters import choice_values, positions
from tuner.config.parameters import Choice, Constant, Parameter
from tuner.config.registry import METRICS
from tuner.errors import shorten
from tuner.plots.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    Numbers,
    drawable,
    in_words,
    legend,
    new_axes,
    numbers,
    require_columns,
    show_text,
)
from tuner.results.schema import is_search

LONGEST_NAME = 20
"""Characters of a parameter's or a choice's name."""
ROW_CHARACTERS = 30
"""Characters that fit along a row of narrow Axes."""
LIGHTEST = 0.85
"""End of the part of the colour map that shows on white."""


def importance(shares: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how much each parameter matters, with 90 % intervals.

    Args:
        shares: `tuner.search.importance.importance(spec, trials, epochs)`.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    require_columns("shares", shares, "importance", "low", "high", "best", "best_low", "best_high")
    axes = new_axes(ax)
    if shares.empty:
        return show_text(axes, "fewer than two trials with different values")
    rows = np.arange(len(shares), dtype=float)
    for aside, colour, marker, name, (share, low, high) in (
        (-0.14, BLUE, "o", "all trials", ("importance", "low", "high")),
        (0.14, ORANGE, "s", "the best trials", ("best", "best_low", "best_high")),
    ):
        interval: dict[str, Any] = {"color": colour, "alpha": 0.55, "linewidth": 2}
        axes.hlines(rows + aside, numbers(shares[low]), numbers(shares[high]), **interval)
        axes.plot(numbers(shares[share]), rows + aside, marker, color=colour, markersize=5.5, label=name)
    axes.set_yticks(rows, [_spaced(str(name)) for name in shares.index], parse_math=False)
    axes.set(xlabel="share", ylim=(len(shares) - 0.5, -0.5))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.grid(visible=False, axis="y")
    legend(axes, "lower right")
    return axes


def parallel_coordinates(
    trials: pd.DataFrame,
    parameters: Mapping[str, Parameter],
    metric: str = "val_accuracy",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the search's trials as lines across a row per parameter.

    The last row is the value. The darker a line, the better its value. Trials that did not
    complete are pale. A line has a gap where a trial lacks a parameter.

    Args:
        trials: `StudyResults.trials`, or some of its rows.
        parameters: The space, `study.spec.space.root`, or a part of it. Constants are left out.
        metric: Metric of the objective.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    searched = {name: each for name, each in parameters.items() if not isinstance(each, Constant)}
    require_columns("trials", trials, "number", "state", "value", "purpose", *(f"param_{name}" for name in searched))
    axes = new_axes(ax, height=max(2.5, 0.55 * (len(searched) + 1)))
    valued = trials[is_search(trials) & trials["value"].notna()]
    if valued.empty or not searched:
        return show_text(axes, "no trial with a value" if searched else "no searched parameter")
    values = numbers(valued["value"])
    low, high = float(values.min()), float(values.max())
    places = [positions(valued[f"param_{name}"], each) for name, each in searched.items()]
    places.append((values - low) / ((high - low) or 1.0))
    _draw_lines(axes, np.stack(places, axis=1), values, (valued["state"] == "COMPLETE").to_numpy(bool), metric)
    rows = [_ticks(each) for each in searched.values()] + [
        {0.0: metric_text(metric, low), 1.0: metric_text(metric, high)}
    ]
    for row, ticks in enumerate(rows):
        _draw_axis(axes, row, ticks)
    names = [*map(_spaced, searched), _spaced(" ".join(in_words(metric)).partition(" (")[0].strip())]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlim=(-0.04, 1.04), ylim=(len(names) - 0.45, -0.25), xticks=[])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    return axes


def _is_minimized(metric: str) -> bool:
    return metric in METRICS and METRICS[metric].direction == "minimize"


def _draw_lines(axes: Axes, places: Numbers, values: Numbers, is_complete: NDArray[np.bool_], metric: str) -> None:
    """Draw a line per trial from row to row, the best last.

    Args:
        axes: The Axes to draw on.
        places: Position of each trial in each row, 0 to 1.
        values: Value of each trial.
        is_complete: True for trials that are coloured by their value.
        metric: Metric of the values.
    """
    sign = 1 if _is_minimized(metric) else -1
    known = sign * values[is_complete]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    badness = ((sign * values - low) / ((high - low) or 1.0)).clip(0, 1)
    rows = np.broadcast_to(np.arange(places.shape[1]), places.shape)
    points = np.stack([places, rows], axis=2)
    order = np.argsort(-badness, kind="stable")
    pale, shown = (order[is_complete[order] == complete] for complete in (False, True))
    shades = mpl.colormaps["viridis"](LIGHTEST * badness[shown])
    axes.add_collection(LineCollection(list(points[pale]), colors=PALE, linewidths=0.6, zorder=2))
    axes.add_collection(LineCollection(list(points[shown]), colors=shades, linewidths=1.4, zorder=3))


def _ticks(parameter: Parameter) -> dict[float, str]:
    """Return the texts along a parameter's axis by their height."""
    if isinstance(parameter, Choice):
        values = choice_values(parameter)
        longest = max(ROW_CHARACTERS // len(values), 4)
        ticks = {
            i / max(len(values) - 1, 1): drawable(shorten(number_text(value), longest))
            for i, value in enumerate(values)
        }
        return {place: text for place, text in ticks.items() if longest > 4 or place in (0.0, 1.0)}
    assert not isinstance(parameter, Constant)
    low, high = parameter.bounds
    return {0.0: number_text(low), 1.0: number_text(high)}


def _draw_axis(axes: Axes, row: int, ticks: Mapping[float, str]) -> None:
    """Draw a horizontal line with texts below it."""
    axes.plot([0, 1], [row, row], color=GREY, linewidth=0.9, zorder=4)
    box: dict[str, Any] = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    look: dict[str, Any] = {"fontsize": 8, "color": INK, "bbox": box, "zorder": 5, "parse_math": False}
    for place, text in ticks.items():
        side = "left" if place == 0 else "right" if place == 1 else "center"
        axes.text(place, row + 0.09, text, ha=side, va="top", **look)


def _spaced(name: str) -> str:
    return drawable(shorten(name.replace("_", " "), LONGEST_NAME))
