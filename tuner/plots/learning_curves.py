"""Plots of a training: metrics by epoch and by optimizer step."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tuner.config.registry import METRICS
from tuner.errors import UserError
from tuner.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PALETTE,
    SKY,
    VERMILION,
    corner,
    in_words,
    legend,
    measure,
    new_axes,
    numbers,
    require_columns,
    require_one_value,
    show_text,
    whole_ticks,
)

_LOOKS: dict[str, Mapping[str, Any]] = {
    "best": {"color": BLUE, "linewidth": 2.2, "zorder": 4},
    "COMPLETE": {"color": SKY, "linewidth": 1.2, "zorder": 3},
    "RUNNING": {"color": GREEN, "linewidth": 1.2, "zorder": 3, "linestyle": "--"},
    "PAUSED": {"color": ORANGE, "linewidth": 1.0, "zorder": 2, "linestyle": "--"},
    "PRUNED": {"color": PALE, "linewidth": 1.0, "zorder": 2},
    "FAILED": {"color": VERMILION, "linewidth": 1.0, "zorder": 2, "linestyle": ":"},
}


def learning_curves(
    epochs: pd.DataFrame,
    metric: str = "val_accuracy",
    trials: pd.DataFrame | None = None,
    decisions: pd.DataFrame | None = None,
    *,
    best: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric by epoch, one line per trial.

    A line ends in a dot. The best trial is coloured.

    Args:
        epochs: `StudyResults.epochs`.
        metric: One of its columns.
        trials: `StudyResults.trials`, or some of its rows. Only these are drawn, coloured by their state.
            None: every trial counts as complete.
        decisions: `StudyResults.decisions`, whose rungs are drawn as dotted lines. None: no rungs.
        best: Number of the best trial. None: the completed trial whose last epoch is best in the metric's
            direction, the earliest of equals.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    require_columns("epochs", epochs, "number", "epoch", metric)
    axes = new_axes(ax)
    known = epochs.dropna(subset=[metric]).sort_values(["number", "epoch"])
    states = dict.fromkeys(known["number"], "COMPLETE")
    if trials is not None:
        require_columns("trials", trials, "number", "state")
        states = dict(zip(trials["number"], trials["state"], strict=True))
        known = known[known["number"].isin(list(states))]
    if known.empty:
        return show_text(axes, "no epoch yet")
    kinds = {number: states[number] for number in known["number"].unique()}
    if best is None:
        best = _best(known[known["number"].map(kinds) == "COMPLETE"], metric)
    if best in kinds:
        kinds[best] = "best"
    for number, line in known.groupby("number"):
        look = _LOOKS[kinds[number]]
        axes.plot(numbers(line["epoch"]), numbers(line[metric]), marker=".", markevery=[-1], label=number, **look)
    _measure_by_epoch(axes, metric)
    if decisions is not None:
        require_columns("decisions", decisions, "rung")
        for rung in decisions["rung"].dropna().unique():
            axes.axvline(rung, color=GREY, linewidth=0.9, linestyle=":", zorder=1)
    if len(kinds) > 1:
        names = {"best": f"trial {best}, the best", "COMPLETE": "trial" if trials is None else "complete"}
        names["PAUSED"] = "waiting"
        drawn = [kind for kind in _LOOKS if kind in kinds.values()]
        handles = [Line2D([], [], **_LOOKS[kind]) for kind in drawn]
        legend(axes, corner(metric), handles, [names.get(kind, kind.lower()) for kind in drawn])
    return axes


def _best(epochs: pd.DataFrame, metric: str) -> Any:
    """Return the trial whose last epoch is best, if there is one."""
    last = epochs.groupby("number")[metric].last()
    if last.empty or metric not in METRICS:
        return None
    return last.idxmax() if METRICS[metric].direction == "maximize" else last.idxmin()


def curves(
    epochs: pd.DataFrame,
    metrics: Sequence[str],
    labels: Sequence[str] | None = None,
    reported: pd.DataFrame | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw several metrics of one trial by epoch.

    Reports 003 and 004 have such curves.

    Args:
        epochs: The rows of one trial.
        metrics: At most six columns of one unit: `["train_loss", "val_loss"]`.
        labels: Their names in the legend. None: training, validation.
        reported: Published values, drawn as hollow markers: `epoch`, and the metrics that were published, in the
            units of `epochs`.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing, the metrics have several units, or there are rows of several trials.
    """
    require_columns("epochs", epochs, "number", "epoch", *metrics)
    require_one_value("epochs", epochs, "number")
    quantities = {in_words(metric)[1] for metric in metrics}
    if len(quantities) > 1:
        raise UserError(f"metrics: found {', '.join(sorted(quantities))}; allowed: metrics of one unit")
    axes = new_axes(ax)
    known = epochs.dropna(subset=list(metrics), how="all").sort_values("epoch")
    if known.empty:
        return show_text(axes, "no epoch yet")
    names = labels or [in_words(metric)[0] or metric for metric in metrics]
    colours = dict(zip(metrics, PALETTE, strict=False))
    for metric, name in zip(metrics, names, strict=True):
        line = known.dropna(subset=[metric])
        look: dict[str, Any] = {"color": colours[metric], "linewidth": 1.8, "marker": ".", "label": name}
        axes.plot(numbers(line["epoch"]), numbers(line[metric]), **look)
    if reported is not None:
        _draw_reported(axes, reported, "epoch", colours)
    _measure_by_epoch(axes, metrics[0], quantities.pop() if len(metrics) > 1 else None)
    legend(axes, "best")  # a validation loss may rise into any corner
    return axes


def step_log(steps: pd.DataFrame, metric: str, reported: pd.DataFrame | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw a metric by optimizer step, as report 000 does.

    Each study and trial has a line.

    Args:
        steps: `StudyResults.steps` of one study, or of several, concatenated.
        metric: One of its columns.
        reported: Published values, drawn as hollow markers: `step` and the metric. Rows without a step are left out.
        ax: The Axes to draw on.

    Raises:
        UserError: A column is missing.
    """
    require_columns("steps", steps, "study", "number", "step", metric)
    axes = new_axes(ax)
    known = steps.dropna(subset=[metric]).sort_values("step")
    if known.empty:
        return show_text(axes, "no step logged")
    several = known["study"].nunique() > 1
    for index, ((study, number), line) in enumerate(known.groupby(["study", "number"])):
        name = f"{study}, trial {number}" if several else f"trial {number}"
        look: dict[str, Any] = {"color": PALETTE[index % len(PALETTE)], "linewidth": 1.4, "marker": ".", "label": name}
        axes.plot(numbers(line["step"]), numbers(line[metric]), **look)
    if reported is not None:
        _draw_reported(axes, reported, "step", {metric: INK})
    axes.set_xlabel("optimizer step")
    whole_ticks(axes.xaxis)
    measure(axes.yaxis, metric)
    if len(axes.lines) > 1:
        legend(axes, corner(metric))
    return axes


def _draw_reported(axes: Axes, reported: pd.DataFrame, x: str, colours: Mapping[str, str]) -> None:
    """Draw hollow markers in each metric's colour, with one legend line."""
    published = [metric for metric in colours if metric in reported]
    require_columns("reported", reported, x, *(published or colours))
    hollow: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 6.5, "markerfacecolor": "none", "zorder": 4}
    for metric in published:
        points = reported.dropna(subset=[x, metric])
        axes.plot(numbers(points[x]), numbers(points[metric]), color=colours[metric], label="_reported", **hollow)
    axes.plot([], [], color=INK, label="reported", **hollow)


def _measure_by_epoch(axes: Axes, metric: str, label: str | None = None) -> None:
    axes.set_xlabel("epoch")
    whole_ticks(axes.xaxis)
    measure(axes.yaxis, metric, label)
