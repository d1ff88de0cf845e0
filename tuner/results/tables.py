"""The tables of a study in Parquet: their columns, appended while the study runs, compacted at its end, read by anyone.

Rows are kept in parts, `<table>/part-<time>.parquet`, each carrying the whole schema. A part appears at once or not at
all. Rows are only ever added: a trial's latest row counts, and keys that stand twice (a compaction that was cut short)
are dropped by the readers.
"""

import io
import time
import uuid
import warnings
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tuner.config.space import Space
from tuner.results.schema import KEYS, ORDER, PANDAS_TYPES, Table, schema
from tuner.storage import Storage


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
        frame: pd.DataFrame = self._read_arrow(table).to_pandas(types_mapper=PANDAS_TYPES.get)
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
