"""Reported against reproduced, number by number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from tuner.analysis.formatting import is_missing
from tuner.reproduction import reported
from tuner.reproduction.runs import Runs
from tuner.reproduction.verdicts import (
    CLOSE,
    COUNTED,
    DIFFERS,
    EXACT,
    FAILED,
    FAR,
    NOT_REPORTED,
    NOT_RUN,
    judge,
    margin,
)

Line = dict[Any, Any]

COLUMNS = [
    *("report", "table", "row", "quantity", "unit", "reported", "reproduced", "spread", "seeds"),
    *("difference", "low", "high", "margin", "verdict", "decimals"),
    *("study", "trial", "epoch", "step", "metric", "scale", "source"),
]
MISSING = (NOT_RUN, FAILED)
"""Verdicts on numbers that have no value here."""


def table(name: str, results: str | Path, protocol: str = "as_published") -> pd.DataFrame:
    """Compare every number of a report with its measurement here.

    One row per number, in the order of the report. Columns:

    - `report, table, row, quantity, unit`: the number.
    - `reported`, `reproduced`: in the report's unit. `reproduced` is the mean over the seeds.
    - `spread`, `seeds`: sample deviation over the seeds, and their number.
    - `difference`, `low`, `high`: `reproduced` less `reported`, and its 90 % interval.
    - `margin`: the difference that does not matter for this kind of number.
    - `verdict`: a word of `tuner.reproduction.verdicts.RULES`. It is empty for times.
    - `decimals`: digits that the report prints.
    - `study, trial, epoch, step, metric, scale`: origin of the measurement.
    - `source`: its page or table in the report.

    Shapes are text. All other values are numbers.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory. Numbers of a missing study are 'not run'.
        protocol: `as_published` or `clean`.

    Raises:
        UserError: There is no such report or protocol.
    """
    runs = Runs(results)
    lines = reported.lines(name, protocol).assign(report=name).to_dict("records")
    rows = [line | (_measure_shape(line, runs) if line["unit"] == "shape" else _measure(line, runs)) for line in lines]
    return pd.DataFrame([row | _judge(row) for row in rows])[COLUMNS]


def _measure_shape(line: Line, runs: Runs) -> Line:
    return {"reproduced": runs.shape(line), "seeds": 0, "margin": None, "failed": False}


def _measure(line: Line, runs: Runs) -> Line:
    """Return the reported value as a number with mean and spread here."""
    values, reported_number = runs.values(line), float(line["reported"] or "nan")
    low = high = float("nan")
    middle, spread = values.mean(), values.std()
    if line["step"] == "all":
        middle, spread = values.median(), values.max() - values.min()
        low, high = values.min() - reported_number, values.max() - reported_number
    return {
        "reported": reported_number,
        "reproduced": middle,
        "difference": middle - reported_number,
        "spread": spread,
        "margin": margin(reported_number, line["unit"]),
        "low": low,
        "high": high,
        "seeds": values.index.nunique(),
        "failed": runs.failed(line),
    }


def _judge(row: Line) -> Line:
    """Return the verdict on a row, and the interval behind it."""
    if is_missing(row["reproduced"]):
        return {"verdict": FAILED if row["failed"] else NOT_RUN}
    if is_missing(row["reported"]):
        return {"verdict": NOT_REPORTED}
    if row["unit"] in COUNTED:
        return {"verdict": EXACT if row["reproduced"] == row["reported"] else DIFFERS}
    if is_missing(row["margin"]):
        return {"verdict": ""}
    rounding = 0.5 * 10.0 ** -row["decimals"]
    if row["step"] == "all":
        inside = row["low"] - rounding <= 0 <= row["high"] + rounding
        return {"verdict": CLOSE if inside else FAR}
    return judge(row["difference"], row["spread"], row["seeds"], row["margin"], rounding)._asdict()


def pivot(compared: pd.DataFrame) -> pd.DataFrame:
    """Arrange a comparison for display, one row per row of the report.

    All cells are text. The index has `table` and `row`. Each quantity has the columns `reported`,
    `reproduced` (or 'not run', 'failed'), `spread`, `difference` and `verdict`. `seeds` stands once.
    Numbers have the digits that the report prints. Empty columns are left out.

    Args:
        compared: Rows of `table`.
    """
    keys = [compared["table"], compared["row"]]
    index = pd.MultiIndex.from_frame(compared[["table", "row"]].drop_duplicates())
    seeds = compared.groupby(keys, sort=False)["seeds"].max()
    columns: dict[tuple[str, str], pd.Series[str]] = {}
    for (quantity, unit), rows in compared.groupby(["quantity", "unit"], sort=False):
        heading = f"{quantity} ({unit})" if unit in ("%", "s", "nats") else str(quantity)
        texts = pd.DataFrame([_texts(row) for row in rows.to_dict("records")], index=[rows["table"], rows["row"]])
        columns |= {(heading, str(field)): texts[field].reindex(index) for field in texts}
    columns["seeds", ""] = seeds.astype(str).where(seeds > 0, "").reindex(index)
    shown = pd.DataFrame(columns, index=index).fillna("")
    return shown.loc[:, (shown != "").any()]


def _texts(row: Mapping[Any, Any]) -> dict[str, str]:
    """Format the cells of one number with the digits of the report."""

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
    """Return the reported values by epoch or step.

    One row per epoch or step, one column per metric in the unit of the studies' tables.
    `tuner.plots` takes the frame as `reported`. Numbers whose epoch or step the report does not
    give are left out.

    Args:
        compared: Rows of `table` for one of the report's tables.
        by: Unit of the rows.
    """
    positions, values = pd.to_numeric(compared[by], errors="coerce"), compared["reported"].astype(float)
    lines = pd.DataFrame({by: positions, "metric": compared["metric"], "value": values / compared["scale"]}).dropna()
    return lines.pivot(index=by, columns="metric", values="value").rename_axis(columns=None).reset_index()
