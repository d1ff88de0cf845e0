"""Sections of values over epochs and time: best so far, learning curves, and fronts."""

import pandas as pd

from tuner.analysis.front import front, hypervolume_by_epochs
from tuner.analysis.leaderboard import best_by_epochs, best_by_time
from tuner.analysis.sampling import spread
from tuner.report import specs
from tuner.report.blocks import FATES, Block, figure, text
from tuner.report.context import Context, drawn_sentence
from tuner.report.encodings import scale_of
from tuner.results.ranking import rank_confirmed

MOST_MEASURES, MOST_FRONT = 20_000, 1_000
"""Epochs of all drawn curves, and trials beside a front, at most."""
UNITS = (("seconds", 1, 180), ("minutes", 60, 180 * 60), ("hours", 3_600, 72 * 3_600), ("days", 86_400, float("inf")))
"""Units of time, with their seconds and the seconds up to which they are used."""


def progress(context: Context) -> list[Block]:
    """Draw the best value so far by epochs and by time."""
    by_epochs, by_time = best_by_epochs(context.study), best_by_time(context.study)
    if by_epochs.empty:
        return []
    unit, size, _ = next(each for each in UNITS if not by_time["seconds"].max() > each[2])
    epochs = context.add("by_epochs", _thin(context, by_epochs))
    time = context.add("by_time", _thin(context, by_time.assign(time=by_time["seconds"] / size)))
    spec_of_epochs = specs.best_so_far(epochs, "epochs", "epochs of all trials", context.metric)
    spec_of_time = specs.best_so_far(time, "time", f"time that the study ran ({unit})", context.metric)
    drawn = int(by_epochs["number"].isin(context.points["number"]).sum())
    points = f"{drawn_sentence(drawn, len(by_epochs), 'completed trials')} The line is the best value so far."
    pauses = "Time between runs does not count."
    return [
        figure(context.id("best_by_epochs"), "Best so far, by epochs", spec_of_epochs, points, width="half"),
        figure(context.id("best_by_time"), "Best so far, by time", spec_of_time, pauses, width="half"),
    ]


def _thin(context: Context, reached: pd.DataFrame) -> pd.DataFrame:
    """Keep the drawn trials, and those that improve the best value."""
    is_drawn = reached["number"].isin(context.points["number"])
    kept = reached[is_drawn | (reached["best"] != reached["best"].shift())]
    return kept.rename(columns={"number": "trial"})


def learning_curves(context: Context) -> list[Block]:
    """Draw learning curves by fate, with the rungs."""
    known = context.study.epochs[["number", "epoch", context.metric]].dropna()
    drawn = context.lines[context.lines["number"].isin(known["number"])]
    if drawn.empty:
        return []
    curves, step = _curves(context, known, drawn)
    ends = curves[~curves.duplicated("trial", keep="last")]
    rungs = pd.DataFrame({"rung": sorted(context.study.decisions["rung"].dropna().unique())}, dtype=float)
    names = context.add("curves", curves), context.add("ends", ends), context.add("rungs", rungs)
    total = int(context.searched["number"].isin(known["number"]).sum())
    said = [drawn_sentence(len(drawn), total, "trials")]
    said += ["The thick line is the best trial."] if curves["is_best"].any() else []
    said += [f"One epoch in {step} is drawn."] if step > 1 else []
    said += ["Dotted lines are rungs, where trials are judged."] if len(rungs) else []
    legend = [(fate, fate) for fate in FATES.values() if fate in {*curves["fate"]}]
    spec = specs.learning_curves(*names, context.metric, scale_of(context.metric, curves["value"]))
    return [figure(context.id("learning_curves"), "", spec, " ".join(said), legend=legend)]


def _curves(context: Context, known: pd.DataFrame, drawn: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the epochs of the drawn curves, and their step.

    One epoch in each step is drawn, and the first and last epoch of each curve.
    """
    rows = known[known["number"].isin(drawn["number"])].sort_values(["number", "epoch"])
    step = -(-len(rows) // MOST_MEASURES)
    is_end = ~rows.duplicated("number", keep="last")
    rows = rows[(rows["epoch"] % step == 0) | (rows["epoch"] == 1) | is_end]
    states = drawn.set_index("number")["state"].map(lambda state: FATES[state])
    best = rank_confirmed(context.study.spec, context.study.trials)["number"].head(1)
    columns = {"number": "trial", context.metric: "value"}
    fates = {"fate": rows["number"].map(states), "is_best": rows["number"].isin(best)}
    return rows.rename(columns=columns).assign(**fates), step


def fronts(context: Context) -> list[Block]:
    """Draw the Pareto front of several objectives, and the hypervolume below it."""
    first, *others = [objective.metric for objective in context.study.spec.objective]
    found = front(context.study) if others else pd.DataFrame()
    if found.empty:
        return [text(context.id("no_front"), "No trial is complete yet, so there is no front.")] if others else []
    kept = found[found["is_front"] | (spread(found["number"]).rank() <= MOST_FRONT)]
    said = drawn_sentence(len(kept), len(found), "completed trials")
    caption = f"{said} {int(found['is_front'].sum()):,} are on the front of all objectives."
    legend = [("on the front", "complete"), ("other trials", "stopped")]
    blocks = []
    for index, other in enumerate(others):
        rows = kept.rename(columns={"number": "trial", other: "a", first: "b"})[["trial", "a", "b", "is_front"]]
        scales = scale_of(other, rows["a"]), scale_of(first, rows["b"])
        spec = specs.pareto(context.add(f"front_{index}", rows), (other, first), scales)
        block = figure(
            context.id(f"front_{index}"), f"{first} against {other}", spec, caption, width="half", legend=legend
        )
        blocks.append(block)
    return [*blocks, _hypervolume(context)]


def _hypervolume(context: Context) -> Block:
    rows = hypervolume_by_epochs(context.study)[["epochs", "hypervolume"]]
    caption = "Each objective is scaled to its range. A trial that is best in everything has 1."
    spec = specs.hypervolume(context.add("hypervolume", rows))
    return figure(context.id("hypervolume"), "Hypervolume below the front", spec, caption, width="half")
