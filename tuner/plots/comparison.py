"""Plot of published numbers against reproduced ones."""

from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tuner.plots.style import (
    BLUE,
    GREY,
    INK,
    Numbers,
    new_axes,
    numbers,
    require_columns,
    require_one_value,
    show_text,
    tick_in_percent,
)


def reported_against_reproduced(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw published numbers to the right and reproduced ones upwards.

    On the diagonal both are equal. Rows far off it have a letter and are named beside the axes. They differ by
    more than twice their spread and by more than three times the median difference. At most eight are named.
    Rows that were not measured are left out.

    Args:
        table: Rows of one unit from `tuner.reproduction.table`: `reported`, `reproduced`, `spread` (sample
            deviation over the seeds, NaN for one seed), `row` (its name), `unit`.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing, or there are several units.
    """
    require_columns("table", table, "reported", "reproduced", "spread", "row", "unit")
    require_one_value("table", table, "unit")
    known = table.dropna(subset=["reported", "reproduced"])
    x, y, spread = numbers(known["reported"]), numbers(known["reproduced"]), np.nan_to_num(numbers(known["spread"]))
    far = dict(zip(ascii_lowercase, _far(np.abs(y - x), spread), strict=False))
    names = [f"{letter}  {known['row'].iloc[index]}" for letter, index in far.items()]
    axes = new_axes(ax, width=5.2 + 0.07 * max(map(len, names), default=0), height=5.0)
    if known.empty:
        return show_text(axes, "nothing to compare yet")
    axes.axline((x[0], x[0]), slope=1, color=GREY, linewidth=1, zorder=2)
    axes.errorbar(x, y, spread, fmt="o", color=BLUE, markersize=5, elinewidth=1.2)
    _same_scale(axes, np.concatenate([x, y - spread, y + spread]))
    for letter, index in far.items():
        aside = (-10, 3) if y[index] > x[index] else (6, -3)
        axes.annotate(letter, (x[index], y[index]), aside, textcoords="offset points", va="center", fontsize=9)
    axes.text(1.03, 1, "\n".join(names), transform=axes.transAxes, va="top", fontsize=8.5, linespacing=1.6, color=INK)
    unit = known["unit"].iloc[0]
    for axis, name in ((axes.xaxis, "reported"), (axes.yaxis, "reproduced")):
        axis.set_label_text(f"{name} ({'%' if unit == 'share' else unit})")
        if unit == "share":
            tick_in_percent(axis)
    return axes


def _far(difference: Numbers, spread: Numbers) -> list[int]:
    """Return the indices of rows to be named, the farthest first."""
    if not len(difference):
        return []
    far = (difference > 3 * np.median(difference)) & (difference > 2 * spread)
    return [int(index) for index in np.argsort(-difference, kind="stable") if far[index]][:8]


def _same_scale(axes: Axes, values: Numbers) -> None:
    """Give both axes one range, with room for names on the right."""
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal", anchor="W")
