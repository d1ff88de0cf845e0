"""Plots of values by parameters: one, or two at a time."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from numpy.typing import NDArray

from tuner.analysis.formatting import number_text
from tuner.analysis.parameters import cell_edges, cell_names, choice_values, medians
from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.errors import UserError, shorten
from tuner.plots.search import scatter
from tuner.plots.style import (
    INK,
    AxisName,
    Numbers,
    apply_style,
    drawable,
    in_words,
    measure,
    new_axes,
    numbers,
    require_columns,
    set_log,
    show_text,
    tick_in_percent,
)
from tuner.results.schema import is_search


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
        set_parameter(apply_style(axes), "x", parameter)
        scatter(axes, positions_of(active, name, parameter), active)
        axes.set_xlabel(_label(name), parse_math=False)
        if axes.get_subplotspec().is_first_col():
            measure(axes.yaxis, metric)
    handles = {name: each for axes in grid for each, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if len(handles) > 1:
        look: dict[str, Any] = {"ncols": len(handles), "frameon": False, "fontsize": 9, "labelcolor": INK}
        grid[0].figure.legend(handles.values(), handles.keys(), loc="outside upper right", **look)
    return grid


def _label(name: str) -> str:
    return drawable(name.replace("_", " "))


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


def set_parameter(axes: Axes, axis: AxisName, parameter: Choice | Float | Int) -> None:
    """Set ticks at the values of a choice, or a logarithmic axis."""
    if not isinstance(parameter, Choice):
        if parameter.log:
            set_log(axes, axis, *map(float, parameter.bounds))
        return
    names = [drawable(shorten(number_text(value), 18)) for value in choice_values(parameter)]
    limits = (-0.6, len(names) - 0.4)
    if axis == "y":
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_ylim(limits)
        return
    is_wide = sum(map(len, names)) > 24
    aslant: dict[str, Any] = {"rotation": 20, "ha": "right", "rotation_mode": "anchor"} if is_wide else {}
    axes.set_xticks(range(len(names)), names, parse_math=False, **aslant)
    axes.set_xlim(limits)


def positions_of(trials: pd.DataFrame, name: str, parameter: Choice | Float | Int) -> Numbers:
    """Return each trial's position on the axis of a parameter: (N,)."""
    cells = trials[f"param_{name}"]
    if not isinstance(parameter, Choice):
        return numbers(cells)
    values = choice_values(parameter)
    # Multiples of the golden ratio spread any number of trials evenly, and each keeps its position.
    aside = (numbers(trials["number"]) * 0.618 % 1 - 0.5) * 0.4
    return np.array([values.index(cell) for cell in cells], dtype=float) + aside


def heat_map(
    trials: pd.DataFrame,
    parameters: Mapping[str, Parameter],
    metric: str = "val_accuracy",
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the median value of the search's trials over two parameters.

    Cells without a trial stay blank. Points are the trials.

    Args:
        trials: `StudyResults.trials`.
        parameters: Two searched parameters: that of the horizontal axis, and that of the vertical one.
        metric: Metric of the objective.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing, or there are not two searched parameters.
    """
    searched = {name: each for name, each in parameters.items() if not isinstance(each, Constant)}
    if len(searched) != 2:
        raise UserError(f"parameters: found {len(searched)} that are searched; allowed: two of them")
    require_columns("trials", trials, "number", "value", "purpose", *(f"param_{name}" for name in searched))
    axes = new_axes(ax)
    valued = trials[is_search(trials)].dropna(subset=["value", *(f"param_{name}" for name in searched)])
    if valued.empty:
        return show_text(axes, "no trial with a value")
    mesh = _draw_cells(axes, valued, searched)
    places = [positions_of(valued, name, parameter) for name, parameter in searched.items()]
    look: dict[str, Any] = {"color": "white", "markersize": 3, "markeredgecolor": INK, "markeredgewidth": 0.5}
    axes.plot(*places, "o", **look)
    axes.grid(visible=False)
    _colour_bar(axes, mesh, metric)
    return axes


def _draw_cells(axes: Axes, valued: pd.DataFrame, parameters: Mapping[str, Choice | Float | Int]) -> QuadMesh:
    """Draw the medians over two parameters, with their axes."""
    (across, horizontal), (down, vertical) = parameters.items()
    columns, rows = _edges(horizontal), _edges(vertical)
    values = np.full((len(rows) - 1, len(columns) - 1), np.nan)
    cells = medians(valued, parameters)
    values[cells["y"], cells["x"]] = cells["median"]
    mesh = axes.pcolormesh(columns, rows, values, cmap="viridis")
    set_parameter(axes, "x", horizontal)
    set_parameter(axes, "y", vertical)
    axes.set(xlim=(columns[0], columns[-1]), ylim=(rows[0], rows[-1]))
    axes.set_xlabel(_label(across), parse_math=False)
    axes.set_ylabel(_label(down), parse_math=False)
    return mesh


def _edges(parameter: Parameter) -> list[float]:
    """Return the edges of a parameter's cells."""
    if isinstance(parameter, Choice):
        return [index - 0.5 for index in range(len(cell_names(parameter)) + 1)]
    return cell_edges(parameter)


def _colour_bar(axes: Axes, mesh: Any, metric: str) -> None:
    """Draw the scale of colours beside the Axes."""
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(which="both", length=0, labelsize=9, labelcolor=INK)
    bar.set_label(f"median {' '.join(in_words(metric)).strip()}", color=INK, fontsize=9)
    if metric.endswith("accuracy"):
        tick_in_percent(bar.ax.yaxis)
