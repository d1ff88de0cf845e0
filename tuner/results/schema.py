"""Every table's columns, and the records that become their rows."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import pandas as pd
import pyarrow as pa

from tuner.config.parameters import Kind, Value
from tuner.config.space import Space

Table = Literal["epochs", "steps", "decisions", "predictions", "trials"]
State = Literal["RUNNING", "COMPLETE", "PRUNED", "FAILED"]
FINISHED: tuple[State, ...] = ("COMPLETE", "PRUNED", "FAILED")

_TIME = pa.timestamp("us", tz="UTC")
_TEXT, _INT, _FLOAT = pa.string(), pa.int64(), pa.float64()

_COLUMNS: dict[Table, dict[str, pa.DataType]] = {
    "trials": {
        "study": _TEXT,
        "number": _INT,
        "attempt": _INT,
        "state": _TEXT,
        "value": _FLOAT,
        "values": pa.list_(_FLOAT),
        "best_epoch": _INT,
        "epochs_run": _INT,
        "epochs_planned": _INT,
        "val_accuracy": _FLOAT,
        "val_loss": _FLOAT,
        "test_accuracy": _FLOAT,
        "test_loss": _FLOAT,
        "train_seconds": _FLOAT,
        "seconds": _FLOAT,
        "parameters_count": _INT,
        "seed": _INT,
        "protocol": _TEXT,
        "purpose": _TEXT,
        "repeat_of": _INT,
        "origin": _TEXT,
        "sampler_attrs": _TEXT,
        "node": _TEXT,
        "device": _TEXT,
        "code": _TEXT,
        "error": _TEXT,
        "started_at": _TIME,
        "updated_at": _TIME,
    },
    "epochs": {
        "study": _TEXT,
        "number": _INT,
        "attempt": _INT,
        "epoch": _INT,
        "train_loss": _FLOAT,
        "train_accuracy": _FLOAT,
        "val_loss": _FLOAT,
        "val_accuracy": _FLOAT,
        "learning_rate": _FLOAT,
        "train_seconds": _FLOAT,
        "parameters_count": _INT,
        "seconds": _FLOAT,
        "images_per_second": _FLOAT,
        "peak_memory_bytes": _INT,
        "at": _TIME,
    },
    "steps": {
        "study": _TEXT,
        "number": _INT,
        "attempt": _INT,
        "epoch": _INT,
        "step": _INT,
        "train_loss": _FLOAT,
        "val_loss": _FLOAT,
        "val_accuracy": _FLOAT,
    },
    "decisions": {
        "study": _TEXT,
        "number": _INT,
        "attempt": _INT,
        "bracket": _INT,
        "rung": _FLOAT,
        "epoch": _INT,
        "value": _FLOAT,
        "cutoff": _FLOAT,
        "rank": _INT,
        "of": _INT,
        "verdict": _TEXT,
        "at": _TIME,
    },
    "predictions": {
        "study": _TEXT,
        "number": _INT,
        "attempt": _INT,
        "split": _TEXT,
        "index": _INT,
        "label": _INT,
        "predicted": _INT,
        "probability": _FLOAT,
    },
}

_CONTEXT = ("study", "number", "attempt", "at")

EPOCH_COLUMNS = tuple(name for name in _COLUMNS["epochs"] if name not in _CONTEXT)
"""Columns of `epochs` that a report contains; the recorder adds study, number, attempt and time."""

ORDER: tuple[Table, ...] = ("epochs", "steps", "decisions", "predictions", "trials")
"""The order of writing: a finished trial's row comes last."""

KEYS: dict[Table, list[str]] = {
    "trials": ["number", "attempt", "state", "updated_at"],
    "epochs": ["number", "attempt", "epoch"],
    "steps": ["number", "attempt", "step"],
    "decisions": ["number", "attempt", "bracket", "rung"],
    "predictions": ["number", "attempt", "split", "index"],
}

_ARROW: dict[Kind, pa.DataType] = {"bool": pa.bool_(), "int": _INT, "float": _FLOAT, "text": _TEXT, "json": _TEXT}
PANDAS_TYPES = {_INT: pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def schema(table: Table, space: Space) -> pa.Schema:
    """Return the columns of a table; `trials` has one per parameter of the space."""
    columns = dict(_COLUMNS[table])
    if table == "trials":
        columns |= {f"param_{name}": _ARROW[parameter.kind] for name, parameter in space.root.items()}
    return pa.schema(list(columns.items()))


def table_of(columns: Iterable[str]) -> Table | None:
    """Return the table that shares most columns with a part, or None if none does."""
    names = set(columns)
    shared = {table: len(names & set(own)) for table, own in _COLUMNS.items() if "number" in names}
    return max(shared, key=lambda table: shared[table], default=None)


def parameters_to_row(space: Space, parameters: Mapping[str, Value]) -> dict[str, Any]:
    """Make the `param_*` cells of a trial; lists and mixed choices become JSON text."""
    return {
        f"param_{name}": json.dumps(parameters[name]) if space[name].kind == "json" else parameters[name]
        for name in parameters
        if name in space
    }


def parameters_from_row(space: Space, row: Mapping[Any, Any]) -> dict[str, Value]:
    """Read the parameters of a trial from its row; inverse of `parameters_to_row`."""
    parameters: dict[str, Value] = {}
    for name, parameter in space.root.items():
        cell = row.get(f"param_{name}")
        if cell is None or pd.isna(cell):
            continue
        plain = cell.item() if hasattr(cell, "item") else cell
        parameters[name] = parameter.canonical(json.loads(plain) if parameter.kind == "json" else plain)
    return parameters


@dataclass(frozen=True)
class StepResult:
    """A line of the step log, measured within an epoch."""

    step: int
    """Steps since the training started."""
    train_loss: float
    """Mean over the steps since the previous line."""
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class EpochResult:
    """Measurements of one epoch. Losses are means over images in nats, accuracies 0 to 1."""

    epoch: int
    """Counts from 1."""
    train_loss: float
    """Mean over the epoch's steps, with dropout, augmentation and label smoothing."""
    train_accuracy: float
    val_loss: float
    """Plain cross-entropy."""
    val_accuracy: float
    learning_rate: float
    """Learning rate of the epoch's last step."""
    seconds: float
    """Seconds of the whole epoch, evaluation included."""
    train_seconds: float
    """Seconds of the training part of the epoch."""
    images_per_second: float
    """Training images per second of `train_seconds`."""
    peak_memory_bytes: int | None
    """Peak memory of tensors on a CUDA device during the epoch; None on a CPU."""
    steps: tuple[StepResult, ...] = ()
    """Lines of the step log, empty unless the study keeps one."""


@overload
def is_search(row: pd.DataFrame) -> "pd.Series[bool]": ...
@overload
def is_search(row: Mapping[Any, Any]) -> bool: ...
def is_search(row: Any) -> Any:
    """Return True if a trial belongs to the search, for one row or for each row of a frame."""
    return row["purpose"] == "search"


def outcome(report: Mapping[str, Any]) -> State:
    """Derive a trial's final state from its last report."""
    if report.get("error"):
        return "FAILED"
    return "COMPLETE" if report.get("epoch", 0) >= report.get("epochs_planned", float("inf")) else "PRUNED"
