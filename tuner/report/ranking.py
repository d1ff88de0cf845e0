"""Sections that list trials: the leaderboard, the rungs, all trials, and failures."""

from typing import Any

import pandas as pd

from tuner.analysis.leaderboard import leaderboard as rank_board
from tuner.report.blocks import Block, Column, Kind, fate, metric_kind, table, text
from tuner.report.context import Context, parameter_kind

MOST_ROWS = 200
"""Rows of a table in the page at most."""
_HALVES = {"repeats_mean": "repeats_half", "test_mean": "test_half"}


def leaderboard(context: Context) -> list[Block]:
    """Rank the completed trials."""
    board = rank_board(context.study)
    if board.empty:
        is_outside = bool((context.study.trials["state"] == "COMPLETE").any())
        said = "No completed trial is inside the constraints." if is_outside else "No trial is complete yet."
        return [text(context.id("no_board"), said)]
    is_front = len(context.study.spec.objective) > 1
    noun = "trials on the Pareto front" if is_front else "completed trials"
    cells = _board_columns(board.head(MOST_ROWS), context.metric)
    return [table(context.id("board"), "", cells, total=len(board), noun=noun)]


def _board_columns(board: pd.DataFrame, metric: str) -> list[Column]:
    """Return the columns of a leaderboard.

    A mean and its interval share one column.
    """
    titles = {"repeats_mean": f"{metric}, mean of repeats", "test_mean": "test accuracy, mean of repeats"}
    hidden = {"repeats_std", *_HALVES.values()}
    found = []
    for name in (name for name in map(str, board.columns) if name not in hidden):
        cells = board[name].tolist()
        if name == "number":
            found.append(Column("trial", "trial", cells))
        elif name in _HALVES:
            pairs = list(zip(cells, board[_HALVES[name]].tolist(), strict=True))
            found.append(Column(titles[name], "interval", pairs))
        else:
            found.append(Column(name, _board_kind(name, board[name]), cells))
    return found


def _board_kind(name: str, cells: "pd.Series[Any]") -> Kind:
    if pd.api.types.is_integer_dtype(cells):
        return "whole"
    if not pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells):
        return "text"
    return metric_kind(name)


def rungs(context: Context) -> list[Block]:
    """Count the trials that each rung judged, stopped and kept waiting."""
    decisions = context.study.decisions
    latest = decisions[decisions["verdict"] != "time"].drop_duplicates(["number", "rung"], keep="last")
    if latest.empty:
        return []
    marked = latest.assign(stop=latest["verdict"] == "stop", wait=latest["verdict"] == "wait")
    rows = marked.groupby("rung").agg(
        reached=("number", "size"), stop=("stop", "sum"), wait=("wait", "sum"), cutoff=("cutoff", "last")
    )
    cells = [
        Column("rung (epoch)", "number", rows.index.tolist()),
        Column("trials judged", "whole", rows["reached"].tolist()),
        Column("stopped", "whole", rows["stop"].tolist()),
        Column("not promoted", "whole", rows["wait"].tolist()),
        Column(f"last cutoff of {context.metric}", metric_kind(context.metric), rows["cutoff"].tolist()),
    ]
    return [table(context.id("rung_table"), "Rungs", cells, noun="rungs")]


def trials(context: Context) -> list[Block]:
    """List the trials and repeats, the best completed ones first."""
    found = context.study.trials
    if found.empty:
        return []
    keys = {"incomplete": found["state"] != "COMPLETE", "worse": found["value"] * -context.study.spec.objective[0].sign}
    shown = found.assign(**keys).sort_values(list(keys), kind="stable").head(MOST_ROWS)
    cells = [
        Column("trial", "trial", shown["number"].tolist()),
        Column("fate", "fate", shown["state"].map(fate).tolist()),
        Column(context.metric, metric_kind(context.metric), shown["value"].tolist()),
        Column("epochs trained", "whole", shown["epochs_run"].tolist()),
        Column("epochs planned", "whole", shown["epochs_planned"].tolist()),
        Column("time", "seconds", shown["seconds"].tolist()),
        Column("origin", "text", shown["origin"].tolist()),
    ]
    cells += [
        Column(name, parameter_kind(each), shown[f"param_{name}"].tolist()) for name, each in context.parameters.items()
    ]
    return [table(context.id("all_trials"), "", cells, total=len(found), noun="trials")]


def failures(context: Context) -> list[Block]:
    """List the failed trials with their reasons."""
    trials = context.study.trials
    failed = trials[trials["state"] == "FAILED"]
    if failed.empty:
        return [text(context.id("no_failures"), "No trial failed.")]
    kinds = failed["error_kind"].fillna("unknown").value_counts()
    said = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items())
    shown = failed.head(MOST_ROWS)
    cells = [
        Column("trial", "trial", shown["number"].tolist()),
        Column("kind", "text", shown["error_kind"].tolist()),
        Column("epochs", "whole", shown["epochs_run"].fillna(0).tolist()),
        Column("attempts", "whole", shown["attempt"].tolist()),
        Column("reason", "text", shown["error"].tolist()),
    ]
    lead = text(context.id("failures"), f"{len(failed):,} of {len(trials):,} trials failed ({said}).")
    return [lead, table(context.id("failed"), "", cells, total=len(failed), noun="failed trials")]
