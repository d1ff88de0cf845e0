"""Tables and a figure of many simulated searches."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from tuner.plots.style import PALETTE, apply_style

RESAMPLES = 1000
"""Resamples of the seeds from which an interval is read."""
LEAST = 0.003
"""Regret below which the figure shows no difference, because its axis is logarithmic."""
MOST_COLUMNS = 4
"""Panels side by side."""
KEY = ["task", "workers", "seed"]


def by_search(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the regrets of the seeds that every search has run, one column per search."""
    return rows.pivot_table("regret", KEY, "search").dropna()


def interval(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Return mean, low and high of each column, with 95 % intervals from resampled seeds.

    The seeds of each task are resampled by themselves, because the tasks are not drawn.
    """
    draw = np.random.default_rng(seed)
    cells = [group.to_numpy() for _, group in table.groupby(["task", "workers"])]
    means = [
        np.mean([np.mean(c[draw.integers(len(c), size=len(c))], axis=0) for c in cells], axis=0)
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    mean = np.mean([np.mean(c, axis=0) for c in cells], axis=0)
    return pd.DataFrame({"mean": mean, "low": low, "high": high}, index=table.columns)


def overview(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean regret and mean rank of each search at each budget, with intervals."""
    parts = []
    for (unit, budget, chosen), some in rows.groupby(["unit", "budget", "chosen"]):
        table = by_search(some)
        for measure, values in (("regret", table), ("rank", table.rank(axis=1))):
            made = interval(values).rename_axis("search").reset_index()
            parts.append(made.assign(measure=measure, unit=unit, budget=budget, chosen=chosen))
    return pd.concat(parts, ignore_index=True)


def markdown(rows: pd.DataFrame, budgets: list[int]) -> str:
    """Return the tables as Markdown: all tasks together, then task by task."""
    reported = rows[(rows["chosen"] == "reported") & rows["budget"].isin(budgets)]
    text = [_facts(reported), ""]
    names = {"used": "at equal epochs", "seconds": "at equal simulated time"}
    for unit, title in names.items():
        text += [f"Regret · rank, {title}:", "", _overall(reported, unit, budgets), ""]
    complete = rows[(rows["chosen"] == "complete") & rows["budget"].isin(budgets)]
    text += ["Regret · rank, where only completed trials are chosen:", ""]
    text += [_overall(complete, "used", budgets), "", "Regret by task, at equal epochs:", ""]
    text += [_by_task(reported[reported["unit"] == "used"], budgets), ""]
    return "\n".join(text)


def _facts(rows: pd.DataFrame) -> str:
    one = rows[rows["unit"] == "used"]
    seeds = by_search(one[one["budget"] == one["budget"].max()]).groupby(["task", "workers"]).size()
    count = f"{seeds.min()}" if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}"
    workers = ", ".join(map(str, sorted(rows["workers"].unique())))
    versions = ", ".join(sorted(rows["versions"].unique()))
    tasks = rows["task"].nunique()
    return f"{tasks} tasks, {workers} workers, {count} seeds; {versions}."


def _overall(rows: pd.DataFrame, unit: str, budgets: list[int]) -> str:
    made = overview(rows[rows["unit"] == unit]).set_index(["search", "budget", "measure"])
    order = made.xs("rank", level="measure").groupby("search")["mean"].mean().sort_values().index
    lines = ["| search | " + " | ".join(map(str, budgets)) + " |", "|---" * (len(budgets) + 1) + "|"]
    for name in order:
        cells = [
            f"{_cell(made.loc[(name, b, 'regret')], 3)} · {_cell(made.loc[(name, b, 'rank')], 1)}" for b in budgets
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: pd.Series, digits: int) -> str:
    mean, low, high = (f"{row[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]"


def _by_task(rows: pd.DataFrame, budgets: list[int]) -> str:
    whole = rows.groupby("budget", group_keys=True).apply(by_search, include_groups=False)
    table = whole.groupby(["task", "budget"]).mean().T
    tasks = list(dict.fromkeys(table.columns.get_level_values("task")))
    lines = ["| search | " + " | ".join(tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for name in table.mean(axis=1).sort_values().index:
        cells = [" · ".join(f"{table.loc[name, (t, b)]:.3f}" for b in budgets) for t in tasks]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: pd.DataFrame, path: Path) -> None:
    """Draw the mean regret by epochs, one panel per task."""
    shown = rows[(rows["unit"] == "used") & (rows["chosen"] == "reported")]
    tasks = sorted(shown["task"].unique())
    columns = min(len(tasks), MOST_COLUMNS)
    lines = -(-len(tasks) // columns)
    size = (3.2 * columns, 2.6 * lines + 0.8)
    figure, panels = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    names = list(shown.groupby("search")["regret"].mean().sort_values().index)
    for task, axes in zip(tasks, panels.flat, strict=False):
        _draw_task(axes, shown[shown["task"] == task], names)
        axes.set_title(task, fontsize=10)
    for axes in panels.flat[len(tasks) :]:
        axes.remove()
    figure.supylabel("regret (median configuration: 1)", fontsize=10)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_task(axes: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    apply_style(axes)
    means = rows.groupby(["search", "budget"])["regret"].mean()
    for index, name in enumerate(names):
        line = means.loc[name].clip(lower=LEAST)
        style = "-" if index < len(PALETTE) else "--"
        axes.plot(line.index, line, style, color=PALETTE[index % len(PALETTE)], label=name, linewidth=1.5)
    axes.set(xscale="log", xlabel="epochs of all trials", yscale="log" if (means > 0).any() else "linear")
    axes.set_xticks([30, 100, 300, 1000], ["30", "100", "300", "1,000"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(rows["budget"].min() * 0.9, rows["budget"].max() * 1.1)
