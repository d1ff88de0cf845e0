"""Reports of running trials: the rows that they add, and those that they change."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tuner.config.study import StudyConfig
from tuner.results.schema import COLUMNS
from tuner.results.tables import now
from tuner.study.observer import Row
from tuner.study.writer import Writer

_LATEST = (
    "val_accuracy",
    "val_loss",
    "deviation",
    "test_accuracy",
    "test_loss",
    "train_seconds",
    "parameters_count",
    "device",
)


def append_report(writer: Writer, row: Row, report: Row, result: dict[str, Any]) -> None:
    """Append the rows of a report to the tables.

    These are its folds, epoch, steps, predictions and classes. All but the epoch are removed from
    `result`, because Tune keeps a trial's last result.

    Args:
        writer: Writes the rows.
        row: The trial's row.
        report: The cells of the epoch's row.
        result: What the worker has sent.
    """
    attempt = {name: row[name] for name in ("study", "number", "attempt")}
    if untrained := result.get("untrained"):
        first = {"epoch": 0, "parameters_count": result["parameters_count"]}
        writer.append("epochs", {**attempt, **first, **untrained, "at": now()})
    for fold, cells in enumerate(result.pop("folds", ()), 1):
        measured = {name: value for name, value in cells.items() if name in COLUMNS["folds"]}
        writer.append("folds", {**attempt, **measured, "fold": fold})
    writer.append("epochs", {**attempt, **report, "at": now()})
    for line in result.pop("steps", ()):
        writer.append("steps", {**attempt, "epoch": report["epoch"], **line})
    for split, columns in result.pop("predictions", {}).items():
        for cell in _rows(columns):
            writer.append("predictions", {**attempt, "split": split, **cell})
    for split, columns in result.pop("classes", {}).items():
        for cell in _rows(columns):
            writer.append("classes", {**attempt, "epoch": report["epoch"], "split": split, **cell})


def apply_report(spec: StudyConfig, row: Row, report: Mapping[str, Any], epochs: Mapping[int, Row]) -> None:
    """Bring a trial's row up to an epoch.

    `value` is always the last epoch's.

    Args:
        spec: The study.
        row: The trial's row.
        report: The epoch.
        epochs: All epochs of the trial so far, in the order of their reports.
    """
    row.update({name: report[name] for name in _LATEST if report.get(name) is not None})
    row["epochs_run"] = report["epoch"]
    row["seconds"] = sum(epoch["seconds"] for epoch in epochs.values())
    metrics = [objective.metric for objective in spec.objective]
    if all(report.get(metric) is not None for metric in metrics):
        values = [float(report[metric]) for metric in metrics]
        row["value"], row["values"] = values[0], values
        row["best_epoch"] = _best_epoch(spec, epochs) or report["epoch"]


def out_of_time(row: Row) -> Row:
    """Make the verdict on a trial that has run out of time."""
    at = {"rung": float(row["epochs_run"]), "epoch": row["epochs_run"], "value": row["value"]}
    return {"number": row["number"], "bracket": 0, **at, "verdict": "time"}


def _best_epoch(spec: StudyConfig, epochs: Mapping[int, Row]) -> int | None:
    """Return the epoch with the best first objective, the earliest of equals."""
    metric, sign = spec.objective[0].metric, spec.objective[0].sign
    measured = [(epoch.get(metric), at) for at, epoch in epochs.items()]
    ranked = ((-sign * value, at) for value, at in measured if value is not None)
    return min(ranked, default=(0.0, None))[1]


def _rows(columns: Mapping[str, Iterable[Any]]) -> Iterator[Row]:
    """Yield the rows of a report's columns."""
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))
