"""Plots of best values by cost, and of the time of the slots."""

import pandas as pd
from matplotlib.axes import Axes

from tuner.analysis.formatting import format_duration
from tuner.analysis.ledger import Ledger
from tuner.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    SKY,
    VERMILION,
    legend,
    measure,
    new_axes,
    numbers,
    require_columns,
    show_text,
    tick_in_percent,
    whole_ticks,
)

UNITS = (
    ("seconds", 1.0, 180.0),
    ("minutes", 60.0, 10_800.0),
    ("hours", 3600.0, 259_200.0),
    ("days", 86400.0, float("inf")),
)
"""Units of time, their seconds, and the longest time that is drawn in them."""
_COLOURS = {
    "completed": BLUE,
    "stopped": SKY,
    "waiting": ORANGE,
    "failed": VERMILION,
    "lost": VERMILION,
    "evaluation": GREEN,
    "checkpoints": GREY,
    "start-up": GREY,
    "idle": PALE,
}


def best_so_far(reached: pd.DataFrame, metric: str = "val_accuracy", *, ax: Axes | None = None) -> Axes:
    """Draw the best value of the search by epochs or time.

    Points are the completed trials.

    Args:
        reached: `best_by_epochs(study)` or `best_by_time(study)` of `tuner.analysis.leaderboard`.
        metric: Metric of the objective.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    across = "seconds" if "seconds" in reached else "epochs"
    require_columns("reached", reached, "number", "value", "best", across)
    axes = new_axes(ax)
    if reached.empty:
        return show_text(axes, "no completed trial")
    x = numbers(reached[across])
    if across == "seconds":
        unit, size = next((unit, size) for unit, size, longest in UNITS if x.max() < longest)
        x = x / size
        axes.set_xlabel(f"time of the study ({unit})")
    else:
        axes.set_xlabel("epochs of all trials")
        whole_ticks(axes.xaxis, 5)
    axes.plot(x, numbers(reached["value"]), "o", color=GREY, markersize=4, label="completed trial")
    axes.step(x, numbers(reached["best"]), where="post", color=BLUE, linewidth=2.2, label="best so far", zorder=4)
    measure(axes.yaxis, metric)
    legend(axes, "best")  # because completed trials may lie anywhere
    return axes


def time_ledger(ledger: Ledger, *, ax: Axes | None = None) -> Axes:
    """Draw the time of the slots as one bar per entry.

    Args:
        ledger: `tuner.analysis.ledger.ledger(study)`.
        ax: The Axes to draw on.
    """
    axes = new_axes(ax)
    spent = {name: seconds for name, seconds in ledger.seconds.items() if seconds}
    if not spent:
        return show_text(axes, "no time recorded")
    shares = [seconds / ledger.slot_seconds for seconds in spent.values()]
    bars = axes.barh(list(spent), shares, color=[_COLOURS[name] for name in spent], height=0.65)
    texts = [format_duration(seconds) for seconds in spent.values()]
    axes.bar_label(bars, texts, padding=3, fontsize=9, color=INK)
    axes.invert_yaxis()
    axes.set(xlabel="time of the slots (%)", xlim=(0, 1.22 * max(shares)))
    tick_in_percent(axes.xaxis)
    axes.grid(visible=False, axis="y")
    return axes
