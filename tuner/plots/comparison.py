"""Published numbers against those measured here."""

from string import ascii_lowercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tuner.plots.style import (
    BLUE,
    GREY,
    INK,
    Numbers,
    need,
    need_one,
    new_axes,
    numbers,
    say_nothing_to_draw,
    tick_in_percent,
)


def reported_against_reproduced(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Published numbers to the right, what was measured here upwards; on the diagonal both are the same.

    Rows far off the diagonal have a letter and are named beside the axes: those that differ by more than twice their
    spread and by more than three times as much as the row in the middle, eight at most. Rows that were not measured are
    left out.

    Args:
        table: What `tuner.reproduction.table` gives, of one unit: `reported`, `reproduced`, `spread` (sample deviation
            over the seeds, NaN for one), `row` (what it is called), `unit`.
        ax: Where to draw.

    Raises:
        UserError: A column is missing, or there are several units.
    """
    need("table", table, "reported", "reproduced", "spread", "row", "unit")
    need_one("table", table, "unit")
    known = table.dropna(subset=["reported", "reproduced"])
    x, y, spread = numbers(known["reported"]), numbers(known["reproduced"]), np.nan_to_num(numbers(known["spread"]))
    far = dict(zip(ascii_lowercase, _far(np.abs(y - x), spread), strict=False))
    names = [f"{letter}  {known['row'].iloc[place]}" for letter, place in far.items()]
    axes = new_axes(ax, width=5.2 + 0.07 * max(map(len, names), default=0), height=5.0)
    if known.empty:
        return say_nothing_to_draw(axes, "nothing to compare yet")
    axes.axline((x[0], x[0]), slope=1, color=GREY, linewidth=1, zorder=2)
    axes.errorbar(x, y, spread, fmt="o", color=BLUE, markersize=5, elinewidth=1.2)
    _same_scale(axes, np.concatenate([x, y - spread, y + spread]))
    for letter, place in far.items():
        aside = (-10, 3) if y[place] > x[place] else (6, -3)
        axes.annotate(letter, (x[place], y[place]), aside, textcoords="offset points", va="center", fontsize=9)
    axes.text(1.03, 1, "\n".join(names), transform=axes.transAxes, va="top", fontsize=8.5, linespacing=1.6, color=INK)
    unit = known["unit"].iloc[0]
    for axis, name in ((axes.xaxis, "reported"), (axes.yaxis, "reproduced")):
        axis.set_label_text(f"{name} ({'%' if unit == 'share' else unit})")
        if unit == "share":
            tick_in_percent(axis)
    return axes


def _far(difference: Numbers, spread: Numbers) -> list[int]:
    """Places of the rows worth a name, the farthest first."""
    if not len(difference):
        return []
    far = (difference > 3 * np.median(difference)) & (difference > 2 * spread)
    return [int(place) for place in np.argsort(-difference, kind="stable") if far[place]][:8]


def _same_scale(axes: Axes, values: Numbers) -> None:
    """One range for both axes, so that the diagonal is one; room for the names stays to the right."""
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin), aspect="equal", anchor="W")
