"""The tables of a study in Parquet: their columns, appended while the study runs, compacted at its end, read by anyone.

Rows are kept in parts, `<table>/part-<time>.parquet`, each carrying the whole schema. A part appears at once or not at
all. Rows are only ever added: a trial's latest row counts, and keys that stand twice (a compaction that was cut short)
are dropped by the readers.
"""

import io
import json
import time
import uuid
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tuner.config.space import Kind, Space, Value
from tuner.storage import Storage

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
        "split": _TEXT,
        "index": _INT,
        "label": _INT,
        "predicted": _INT,
        "probability": _FLOAT,
    },
}

ORDER: tuple[Table, ...] = ("epochs", "steps", "decisions", "predictions", "trials")
"""A finished trial's row is written last."""

KEYS: dict[Table, list[str]] = {
    "trials": ["number", "attempt", "state", "updated_at"],
    "epochs": ["number", "attempt", "epoch"],
    "steps": ["number", "attempt", "step"],
    "decisions": ["number", "attempt", "bracket", "rung"],
    "predictions": ["number", "split", "index"],
}

_ARROW: dict[Kind, pa.DataType] = {"bool": pa.bool_(), "int": _INT, "float": _FLOAT, "text": _TEXT, "json": _TEXT}
_PANDAS = {_INT: pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


def schema(table: Table, space: Space) -> pa.Schema:
    """The columns of a table; `trials` has one for each parameter of the space, of the parameter's own type."""
    columns = dict(_COLUMNS[table])
    if table == "trials":
        columns |= {f"param_{name}": _ARROW[parameter.kind] for name, parameter in space.root.items()}
    return pa.schema(list(columns.items()))


def parameters_to_row(space: Space, parameters: Mapping[str, Value]) -> dict[str, Any]:
    """The `param_*` cells of a trial; lists and mixed choices as JSON text, null where a parameter is not active."""
    return {
        f"param_{name}": json.dumps(parameters[name]) if space[name].kind == "json" else parameters[name]
        for name in parameters
        if name in space
    }


def parameters_from_row(space: Space, row: Mapping[Any, Any]) -> dict[str, Value]:
    """The parameters of a trial from its row: the way back from `parameters_to_row`."""
    parameters: dict[str, Value] = {}
    for name, parameter in space.root.items():
        cell = row.get(f"param_{name}")
        if cell is None or pd.isna(cell):
            continue
        plain = cell.item() if hasattr(cell, "item") else cell
        parameters[name] = parameter.canonical(json.loads(plain) if parameter.kind == "json" else plain)
    return parameters


def now() -> datetime:
    """The time, UTC, in whole microseconds."""
    return datetime.now(UTC)


class Tables:
    """The tables of one study folder, for the one process that writes them and for any that read.

    Args:
        storage: The study folder.
        space: Its search space, from which the parameter columns come.
    """

    def __init__(self, storage: Storage, space: Space) -> None:
        self.storage = storage
        self.space = space
        self._waiting: dict[Table, list[dict[str, Any]]] = {table: [] for table in ORDER}
        self._flushed_at = time.monotonic()

    def append(self, table: Table, row: dict[str, Any]) -> None:
        """Remember a row for the next flush."""
        self._waiting[table].append(row)

    def flush(self, if_older_than: float = 0.0) -> None:
        """Write the rows that wait: epochs, then decisions, then trials, so that a finished trial has all its rows.

        Rows that cannot be written keep waiting, and OSError is raised.
        """
        if if_older_than and time.monotonic() - self._flushed_at < if_older_than:
            return
        for table, rows in self._waiting.items():
            if rows:
                part = pa.Table.from_pylist(rows, schema=schema(table, self.space))
                self._write(table, part, "snappy")  # zstd takes longer than all the rest of a small part
                rows.clear()
        self._flushed_at = time.monotonic()

    def _write(self, table: Table, part: pa.Table, compression: Literal["snappy", "zstd"]) -> None:
        content = io.BytesIO()
        pq.write_table(part, content, compression=compression, write_page_checksum=True)
        name = f"{table}/part-{time.time_ns():020d}-{uuid.uuid4().hex[:6]}.parquet"
        self.storage.write(name, content.getvalue())

    def compact(self) -> None:
        """Turn the parts of each table into one; a reader or a kill in between meets every row at least once."""
        for table in self._waiting:
            parts = self.storage.names(table, ".parquet")
            if len(parts) > 1:
                self._write(table, self._read_arrow(table), "zstd")
                self.storage.each(self.storage.remove, parts)

    def history(self, table: Table) -> pd.DataFrame:
        """Every row of a table once, in the order of time."""
        frame: pd.DataFrame = self._read_arrow(table).to_pandas(types_mapper=_PANDAS.get)
        frame = frame.drop_duplicates(KEYS[table], ignore_index=True)
        order = {"trials": "updated_at", "epochs": "at", "decisions": "at"}.get(table)
        return frame.sort_values(order, kind="stable", ignore_index=True) if order else frame

    def trials(self) -> pd.DataFrame:
        """One row a trial, its latest, ordered by number."""
        frame = self.history("trials")
        return frame.drop_duplicates("number", keep="last").sort_values("number", ignore_index=True)

    def epochs(self) -> pd.DataFrame:
        """One row for each trial and epoch, of the latest attempt that reached it, ordered by number and epoch.

        Epoch 0, where a study asked for it, is the untrained network.
        """
        return self._latest("epochs", "epoch")

    def steps(self) -> pd.DataFrame:
        """One row for each trial and line of its step log, of the latest attempt, ordered by number and step."""
        return self._latest("steps", "step")

    def _latest(self, table: Table, count: str) -> pd.DataFrame:
        frame = self.history(table).sort_values(["number", count, "attempt"], kind="stable")
        return frame.drop_duplicates(["number", count], keep="last", ignore_index=True)

    def _read_arrow(self, table: Table) -> pa.Table:
        empty = schema(table, self.space).empty_table()
        while True:
            try:
                parts = self.storage.each(self._read_part, self.storage.names(table, ".parquet"))
            except FileNotFoundError:  # a compaction replaced the parts that were listed
                continue
            return pa.concat_tables([empty, *(part for part in parts if part is not None)], promote_options="default")

    def _read_part(self, name: str) -> pa.Table | None:
        """One part; a broken one is set aside with a warning."""
        content = self.storage.read(name)
        try:
            return pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:  # what flipped bits were seen to raise
            broken = error
        try:
            self.storage.rename(name, f"{name}.broken")
            where = "set aside as .broken"
        except OSError:
            where = "passed over"
        reason = str(broken).splitlines()[0]
        warnings.warn(f"{self.storage.path(name)} cannot be read and is {where}: {reason}", stacklevel=2)
        return None


def outcome(report: Mapping[str, Any]) -> State:
    """How a trial ended, from its last report: with an error, at its planned end, or stopped before it."""
    if report.get("error"):
        return "FAILED"
    return "COMPLETE" if report.get("epoch", 0) >= report.get("epochs_planned", float("inf")) else "PRUNED"
