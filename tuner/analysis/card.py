"""A study in a few lines of HTML, as notebooks show it."""

from collections.abc import Iterator
from html import escape
from typing import Any

import pandas as pd

from tuner.analysis.formatting import join_intervals, metric_text, number_text
from tuner.analysis.leaderboard import counts_by_state, leaderboard
from tuner.errors import printable, shorten
from tuner.results.folder import StudyResults

ROWS, LONGEST = 5, 60
"""Rows of the leaderboard, and characters of a text."""


def study_card(study: StudyResults) -> str:
    """Write a study as HTML: objectives, counts, and its best trials."""
    goals = ", ".join(f"{objective.direction} {objective.metric}" for objective in study.spec.objective)
    counts = ", ".join(f"{n} {state.lower()}" for state, n in counts_by_state(study.trials).items() if n)
    lines = [f"<b>{_text(study.spec.study)}</b>: {_text(goals)}", _text(counts or "no trials")]
    if study.spec.protocol != "clean":
        lines.append("as published: selection may have seen test images")
    board = leaderboard(study, ROWS)
    if len(board):
        lines.append(_best(study))
    return f"<div>{'<br>'.join(lines)}{_table(study, board) if len(board) else ''}</div>"


def _best(study: StudyResults) -> str:
    metric = study.spec.objective[0].metric
    row = study.best
    confirmed = "" if pd.isna(row["confirmed"]) else f", mean of repeats {metric_text(metric, row['confirmed'])}"
    return f"best: trial {row['number']}, {_text(metric)} {metric_text(metric, row['value'])}{confirmed}"


def _table(study: StudyResults, board: pd.DataFrame) -> str:
    """Write rows of a leaderboard as a table."""
    shown = join_intervals(board, study.spec.objective[0].metric).drop(columns="train_seconds")
    shown = shown.rename(columns={"number": "trial"})
    heads = "".join(f"<th>{_text(str(name).replace('_', ' '))}</th>" for name in shown)
    rows = "".join(f"<tr>{''.join(_cells(study, row))}</tr>" for row in shown.to_dict("records"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(study: StudyResults, row: dict[Any, Any]) -> Iterator[str]:
    for name, value in row.items():
        is_metric = isinstance(value, float) and name not in study.spec.space
        yield f"<td>{_text(metric_text(str(name), value) if is_metric else number_text(value))}</td>"


def _text(text: str) -> str:
    """Escape a text of the study, and shorten it."""
    return escape(shorten(printable(text), LONGEST))
