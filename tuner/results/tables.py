"""The tables of a study in Parquet, appended while it runs and compacted at its end.

Rows are kept in parts, `<table>/part-<time>.parquet`. Each part has the whole schema and appears
whole or not at all. Rows are never changed: a trial's latest row counts, and readers drop doubled
keys, which a compaction that was cut short leaves.
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
from tuner.errors import first_line
from tuner.results.schema import KEYS, ORDER, PANDAS_TYPES, Table, schema
from tuner.storage import Storage


def now() -> datetime:
    """Return the time in UTC, in whole microseconds."""
    return datetime.now(UTC)


class Tables:
    """The tables of one study folder, for one writer and any number of readers.

    Args:
        storage: The study folder.
        space: Its search space, which defines the parameter columns.
    """

    def __init__(self, storage: Storage, space: Space) -> None:
        self.storage = storage
        self.space = space
        self._pending: dict[Table, list[dict[str, Any]]] = {table: [] for table in ORDER}
        self._flushed_at = time.monotonic()

    def append(self, table: Table, row: dict[str, Any]) -> None:
        """Keep a row for the next flush."""
        self._pending[table].append(row)

    def flush(self, if_older_than: float = 0.0) -> None:
        """Write the pending rows, those of `trials` last.

        Raises:
            OSError: Rows cannot be written; they stay pending.
        """
        if if_older_than and time.monotonic() - self._flushed_at < if_older_than:
            return
        for table, rows in self._pending.items():
            if rows:
                part = pa.Table.from_pylist(rows, schema=schema(table, self.space))
                self._write(table, part, "snappy")  # because zstd takes longer than the rest
                rows.clear()
        self._flushed_at = time.monotonic()

    def _write(self, table: Table, part: pa.Table, compression: Literal["snappy", "zstd"]) -> None:
        content = io.BytesIO()
        pq.write_table(part, content, compression=compression, write_page_checksum=True)
        name = f"{table}/part-{time.time_ns():020d}-{uuid.uuid4().hex[:6]}.parquet"
        self.storage.write(name, content.getvalue())

    def compact(self) -> None:
        """Merge the parts of each table into one.

        A reader in between, or after a kill, finds every row at least once.
        """
        for table in self._pending:
            parts = self.storage.names(table, ".parquet")
            if len(parts) > 1:
                self._write(table, self._read_arrow(table), "zstd")
                self.storage.each(self.storage.remove, parts)

    def history(self, table: Table) -> pd.DataFrame:
        """Read every row of a table once, in the order of time."""
        frame: pd.DataFrame = self._read_arrow(table).to_pandas(types_mapper=PANDAS_TYPES.get)
        frame = frame.drop_duplicates(KEYS[table], ignore_index=True)
        order = {"trials": "updated_at", "epochs": "at", "decisions": "at"}.get(table)
        return frame.sort_values(order, kind="stable", ignore_index=True) if order else frame

    def trials(self) -> pd.DataFrame:
        """Read the latest row of each trial, ordered by number."""
        frame = self.history("trials")
        return frame.drop_duplicates("number", keep="last").sort_values("number", ignore_index=True)

    def epochs(self) -> pd.DataFrame:
        """Read one row per trial and epoch, of the latest attempt that reached it.

        Rows are ordered by number and epoch. Epoch 0, if the study has it, is the untrained network.
        """
        return self._latest("epochs", "epoch")

    def steps(self) -> pd.DataFrame:
        """Read one row per trial and line of its step log, of the latest attempt."""
        return self._latest("steps", "step")

    def _latest(self, table: Table, count: str) -> pd.DataFrame:
        frame = self.history(table).sort_values(["number", count, "attempt"], kind="stable")
        return frame.drop_duplicates(["number", count], keep="last", ignore_index=True)

    def _read_arrow(self, table: Table) -> pa.Table:
        empty = schema(table, self.space).empty_table()
        while True:
            try:
                parts = self.storage.each(self._read_part, self.storage.names(table, ".parquet"))
            except FileNotFoundError:  # because a compaction has replaced the parts
                continue
            return pa.concat_tables([empty, *(part for part in parts if part is not None)], promote_options="default")

    def _read_part(self, name: str) -> pa.Table | None:
        """Read one part; set a broken part aside with a warning."""
        content = self.storage.read(name)
        try:
            return pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:  # raised for flipped bits
            broken = error
        try:
            self.storage.rename(name, f"{name}.broken")
            where = "set aside as .broken"
        except OSError:
            where = "passed over"
        warnings.warn(f"{self.storage.path(name)} cannot be read and is {where}: {first_line(broken)}", stacklevel=2)
        return None
