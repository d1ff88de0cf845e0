"""Reported against reproduced, number by number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tuner.analysis.formatting import is_missing
from tuner.reproduction import reported
from tuner.reproduction.runs import Runs
from tuner.reproduction.verdicts import EXACT, POINTS, Deviation, borrowed, interval, verdict

Line = dict[Any, Any]

COLUMNS = [
    *("report", "table", "row", "quantity", "unit", "reported", "reproduced", "spread", "seeds", "difference"),
    *("low", "high", "verdict", "decimals", "study", "trial", "epoch", "step", "metric", "scale", "source"),
]
MISSING = ("not run", "failed")
"""Verdicts of numbers that were not measured here."""


def table(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """Every number of a report beside what was measured here, one row each, in the order of the report.

    Columns: `report, table, row, quantity, unit`; `reported` and `reproduced` (the mean over the search's trial and its
    repeats), in the report's unit; `spread` (sample deviation over the seeds), `seeds` (how many); `difference`
    (reproduced - reported); `low`, `high` (where one more run is expected); `verdict` (in words, by the rules of
    `tuner.reproduction.verdicts`; 'not run', 'failed' or 'not reported' where there is nothing to compare, empty for
    losses and times); `decimals` (as printed); `study, trial, epoch, step, metric, scale` (where it was measured);
    `source`. Shapes are text; everything else is a number.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory with the report's studies; those that are not there are 'not run'.
        protocol: `as_published` or `clean`.

    Raises:
        UserError: There is no such report or protocol.
    """
    runs = Runs(results)
    lines = reported.lines(name, protocol).assign(report=name).to_dict("records")
    rows = [line | _measured_shape(line, runs) if line["unit"] == "shape" else _measured(line, runs) for line in lines]
    measured = pd.DataFrame(rows)
    by_seed = measured[measured["step"] != "all"].groupby(["table", "quantity"])
    deviations = {key: borrowed(zip(part["spread"], part["seeds"], strict=True)) for key, part in by_seed}
    judged = [row | _judged(row, deviations.get((row["table"], row["quantity"]))) for row in rows]
    return pd.DataFrame(judged)[COLUMNS]


def _measured_shape(line: Line, runs: Runs) -> Line:
    return {"reproduced": runs.shape(line), "seeds": 0, "failed": False}


def _measured(line: Line, runs: Runs) -> Line:
    """A line with its numbers as such, and what the seeds measured of it."""
    values, reported_number = runs.values(line), float(line["reported"] or "nan")
    if line["step"] == "all":
        middle, low, high = values.median(), values.min(), values.max()
        spread = high - low
    else:
        middle, spread, low, high = values.mean(), values.std(), float("nan"), float("nan")
    return line | {
        "reported": reported_number,
        "reproduced": middle,
        "difference": middle - reported_number,
        "spread": spread,
        "low": low,
        "high": high,
        "seeds": values.index.nunique(),
        "failed": runs.failed(line),
    }


def _judged(row: Line, others: Deviation | None) -> Line:
    """The verdict on a row, and where there is none yet the interval that it rests on."""
    if is_missing(row["reproduced"]):
        return {"verdict": "failed" if row["failed"] else "not run"}
    if is_missing(row["reported"]):
        return {"verdict": "not reported"}
    if row["unit"] in EXACT:
        return {"verdict": "equal" if row["reproduced"] == row["reported"] else "not equal"}
    if row["unit"] not in POINTS:
        return {"verdict": ""}
    low, high = row["low"], row["high"]
    if row["step"] != "all":
        low, high = interval(row["reproduced"], row["spread"], row["seeds"], row["unit"], others)
    word = verdict(row["reported"], row["reproduced"], low, high, row["unit"], row["decimals"])
    return {"low": low, "high": high, "verdict": word}


def wide(compared: pd.DataFrame) -> pd.DataFrame:
    """A comparison as people read it: a row for each row of the report's tables, everything as text.

    The index has `table` and `row`, the columns have a quantity with its unit and, below it, `reported`, `reproduced`
    (or 'not run', 'failed'), `spread`, `difference` and `verdict`; `seeds` stands once. Numbers have the digits that
    the report prints. Columns with nothing in them are left out.

    Args:
        compared: What `table` gives, or some of its rows.
    """
    places = [compared["table"], compared["row"]]
    index = pd.MultiIndex.from_frame(compared[["table", "row"]].drop_duplicates())
    seeds = compared.groupby(places, sort=False)["seeds"].max()
    columns: dict[tuple[str, str], pd.Series[str]] = {}
    for (quantity, unit), rows in compared.groupby(["quantity", "unit"], sort=False):
        heading = f"{quantity} ({unit})" if unit in ("%", "s", "nats") else str(quantity)
        texts = pd.DataFrame([_texts(row) for row in rows.to_dict("records")], index=[rows["table"], rows["row"]])
        columns |= {(heading, str(field)): texts[field].reindex(index) for field in texts}
    columns["seeds", ""] = seeds.astype(str).where(seeds > 0, "").reindex(index)
    shown = pd.DataFrame(columns, index=index).fillna("")
    return shown.loc[:, (shown != "").any()]


def _texts(row: Mapping[Any, Any]) -> dict[str, str]:
    """The cells of one number, with the digits of the report."""

    def text(value: Any, sign: str = "") -> str:
        if is_missing(value) or isinstance(value, str):
            return "" if is_missing(value) else value
        digits, comma = row["decimals"], "," if row["unit"] == "parameters" else ""
        return f"{round(value, digits) + 0.0:{sign}{comma}.{digits}f}"  # 0.0 turns -0.0 into 0.0

    missing = row["verdict"] in MISSING
    return {
        "reported": text(row["reported"]),
        "reproduced": row["verdict"] if missing else text(row["reproduced"]),
        "spread": text(row["spread"]),
        "difference": text(row["difference"], sign="+"),
        "verdict": "" if missing else row["verdict"],
    }


def printed(compared: pd.DataFrame, by: Literal["epoch", "step"]) -> pd.DataFrame:
    """What a report printed by epoch or step, in the units of the studies' tables: `reported` of `tuner.plots`.

    A row for each epoch or step, a column for each metric. Numbers of which the report does not say the epoch or the
    step are left out.

    Args:
        compared: What `table` gives, the rows of one of the report's tables.
        by: What the rows count.
    """
    places, values = pd.to_numeric(compared[by], errors="coerce"), compared["reported"].astype(float)
    lines = pd.DataFrame({by: places, "metric": compared["metric"], "value": values / compared["scale"]}).dropna()
    return lines.pivot(index=by, columns="metric", values="value").rename_axis(columns=None).reset_index()
