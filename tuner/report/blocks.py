"""Blocks that a page is made of, and their data as plain columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from tuner.analysis.formatting import is_missing
from tuner.errors import printable
from tuner.results.schema import State

FATES: dict[State, str] = {
    "COMPLETE": "complete",
    "PRUNED": "stopped",
    "FAILED": "failed",
    "PAUSED": "waiting",
    "RUNNING": "running",
}
"""States of trials in the words of the page, in the order of its legends."""
DIGITS = 5
"""Significant digits of numbers in a page."""

Block = dict[str, Any]
Columns = dict[str, list[Any]]
Kind = Literal["text", "trial", "whole", "number", "share", "percent", "seconds", "interval", "fate", "time"]
Width = Literal["wide", "half", "third"]


class Column(NamedTuple):
    """A column of a table: its title, kind and cells.

    The kind says how the cells are written.
    """

    title: str
    kind: Kind
    cells: Sequence[Any]


def plain(value: Any) -> Any:
    """Turn a cell into what JSON holds: rounded numbers, text, or None."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if is_missing(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, str):
        return printable(value)
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float):
        return float(f"{number:.{DIGITS}g}")
    return number if isinstance(number, bool | int) else printable(str(number))


def columns(frame: pd.DataFrame) -> Columns:
    """Turn a data frame into columns of plain cells."""
    return {str(name): [plain(cell) for cell in column.tolist()] for name, column in frame.items()}


def text(key: str, *lines: str) -> Block:
    """Make a paragraph per line."""
    return {"kind": "text", "id": key, "lines": [*map(printable, lines)]}


def facts(key: str, *items: tuple[str, str, str]) -> Block:
    """Make a row of numbers that stand out.

    Each item is a label, a number and a note.
    """
    return {"kind": "facts", "id": key, "items": [list(item) for item in items]}


def table(key: str, title: str, cells: Sequence[Column], *, total: int | None = None, noun: str = "rows") -> Block:
    """Make a table that can be sorted and copied.

    Args:
        key: Its name within the page.
        title: Its heading.
        cells: The columns.
        total: Number of rows if not all are in the page.
        noun: What a row is, in the plural.
    """
    rows = len(cells[0].cells) if cells else 0
    return {
        "kind": "table",
        "id": key,
        "title": printable(title),
        "noun": noun,
        "left_out": (rows if total is None else total) - rows,
        "columns": [
            {"title": printable(column.title), "kind": column.kind, "cells": [plain(cell) for cell in column.cells]}
            for column in cells
        ],
    }


def figure(
    key: str,
    title: str,
    spec: Mapping[str, Any],
    caption: str = "",
    *,
    width: Width = "wide",
    least: int = 0,
    legend: Sequence[tuple[str, str]] = (),
) -> Block:
    """Make a figure.

    Args:
        key: Its name within the page.
        title: Its heading.
        spec: A Vega-Lite specification that names its data and the colours of the page.
        caption: A sentence on what it draws.
        width: Its share of the page's width.
        least: Pixels of width below which it is moved sideways, because its texts need the room.
        legend: Names and the page's colours of what it draws.
    """
    said = {"title": printable(title), "caption": printable(caption)}
    drawn = {"kind": "figure", "id": key, **said, "width": width, "least": least}
    return {**drawn, "legend": [list(entry) for entry in legend], "spec": dict(spec)}


def metric_kind(metric: str) -> Kind:
    """Return how cells of a metric are written."""
    if metric.endswith(("accuracy", "_auroc", "_f1", "_ece")):
        return "share"
    if metric.endswith("seconds"):
        return "seconds"
    return "whole" if metric.endswith(("count", "bytes")) else "number"


def fate(state: Any) -> str:
    """Name a state of a trial in the words of the page."""
    return FATES.get(state, "running")
