"""Plots of a search with several objectives: its Pareto front, and the volume below it."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from tuner.plots.style import (
    BLUE,
    GREY,
    legend,
    new_axes,
    numbers,
    require_columns,
    set_scale,
    show_text,
    whole_ticks,
)


def pareto_front(values: pd.DataFrame, metrics: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Draw completed trials by two objectives, and the front among them.

    With two objectives the front is joined by a dotted line. With more it is that of all of them.
    An axis is logarithmic where its values span decades.

    Args:
        values: `tuner.analysis.front.front(study)`.
        metrics: Objective of the vertical axis, and that of the horizontal one.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    vertical, horizontal = metrics[:2]
    require_columns("values", values, vertical, horizontal, "is_front")
    axes = new_axes(ax)
    if values.empty:
        return show_text(axes, "no completed trial")
    rest = values[~values["is_front"]]
    best = values[values["is_front"]].sort_values([horizontal, vertical])
    is_whole = len(values.columns) == 4  # number, two objectives and is_front
    axes.plot(numbers(rest[horizontal]), numbers(rest[vertical]), "o", color=GREY, markersize=5, label="completed")
    style = "o:" if is_whole else "o"
    axes.plot(numbers(best[horizontal]), numbers(best[vertical]), style, color=BLUE, label="front", zorder=4)
    set_scale(axes, "x", horizontal, numbers(values[horizontal]))
    set_scale(axes, "y", vertical, numbers(values[vertical]))
    legend(axes, "above")
    return axes


def hypervolume(by_epochs: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the hypervolume of the front by the epochs trained.

    Args:
        by_epochs: `tuner.analysis.front.hypervolume_by_epochs(study)`.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    require_columns("by_epochs", by_epochs, "epochs", "hypervolume")
    axes = new_axes(ax)
    if by_epochs.empty:
        return show_text(axes, "no completed trial")
    axes.step(numbers(by_epochs["epochs"]), numbers(by_epochs["hypervolume"]), where="post", color=BLUE)
    axes.set(xlabel="epochs of all trials", ylabel="hypervolume", ylim=(0, 1.05))
    whole_ticks(axes.xaxis)
    return axes
