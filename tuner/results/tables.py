"""The tables of a study in Parquet, which its driver writes.

Rows are kept in parts, `<table>/part-<time>-<digest>.parquet`. Each part has the whole schema and
appears whole or not at all. Rows are never changed: a trial's latest row counts, and readers drop
doubled keys, which a compaction that was cut short leaves. Readers change nothing: they pass over
parts that are damaged or misplaced, with a warning. Only `compact` sets a damaged part aside.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tuner.config.space import Space
from tuner.errors import StudyError
from tuner.results.parts import Part, check_bytes, decode_part, encode_part
from tuner.results.schema import KEYS, ORDER, PANDAS_TYPES, Table, schema
from tuner.storage import Storage

MERGED_PARTS = 1000
"""Parts of a table after which a running study merges them."""
SMALL_PART_BYTES = 100_000
"""Bytes below which a running study merges a part."""
MERGED_BYTES = 64_000_000
"""Bytes in memory from which rows are merged into one part, because a driver holds them at once."""
_READ_AT_ONCE = 64
"""Parts that are read at once while a table is merged, because a part of one row takes 40 kB."""
_THREADED_ROWS = 10_000
"""Rows from which threads convert a table, because fewer take longer with them."""


def now() -> datetime:
    """Return the time in UTC, in whole microseconds."""
    return datetime.now(UTC)


class Tables:
    """The tables of one study folder.

    There may be one writer and any number of readers.

    Args:
        storage: The study folder.
        space: Its search space, which defines the parameter columns.
        study: Name of the study, whose rows are read; None: the rows of any study.

    Attributes:
        on_written: Called with the rows of a table after they were written.
    """

    on_written: Callable[[Table, Sequence[dict[str, Any]]], None] | None = None

    def __init__(self, storage: Storage, space: Space, study: str | None = None) -> None:
        self.storage = storage
        self.space = space
        self.study = study
        self._pending: dict[Table, list[dict[str, Any]]] = {table: [] for table in ORDER}
        self._small: dict[Table, list[str]] = {table: [] for table in ORDER}  # written, not merged
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
                if self.on_written:
                    self.on_written(table, rows)
                rows.clear()
        self._flushed_at = time.monotonic()

    def _write(self, table: Table, rows: pa.Table, compression: Literal["snappy", "zstd"]) -> None:
        name, content = encode_part(table, rows, compression)
        self.storage.write(name, content)
        if len(content) < SMALL_PART_BYTES:
            self._small[table].append(name)

    def merge(self) -> None:
        """Merge the small parts that this writer has written.

        Only tables with many such parts are merged. A failure leaves more parts and loses nothing.
        Readers and kills are as in `compact`.
        """
        for table in reversed(ORDER):
            if len(self._small[table]) >= MERGED_PARTS:
                names, self._small[table] = self._small[table], []
                with suppress(OSError, StudyError):
                    parts = self._read_in_turn(table, names)
                    self._merge(table, (part for part in parts if part.problem is None), MERGED_BYTES)
                self._small[table].clear()  # because a merged part stays as it is

    def compact(self) -> None:
        """Set damaged parts aside, and merge the sound ones of each table.

        Only the driver may call this, under the study's lock. A reader in between, or after a kill,
        finds every row at least once.

        Raises:
            StudyError: A part of `trials` is damaged, so that not all trials are known.
            OSError: A part cannot be written or removed; no row is lost.
        """
        for table in reversed(ORDER):
            names = self.part_names(table)
            if len(names) == 1 and check_bytes(names[0], self.storage.read(names[0])):
                continue
            # because no part of `trials` may change if any of them is damaged
            limit = math.inf if table == "trials" else MERGED_BYTES
            self._merge(table, self._sound_parts(table, names), limit)
            self._small[table].clear()

    def _sound_parts(self, table: Table, names: Sequence[str]) -> Iterator[Part]:
        """Read parts one after the other, and set damaged ones aside."""
        try:
            for part in self._read_in_turn(table, names):
                if part.is_damaged:
                    self._set_aside(table, part)
                elif part.problem is None:
                    yield part
        except FileNotFoundError as error:
            raise _missing(error) from None

    def _read_in_turn(self, table: Table, names: Sequence[str]) -> Iterator[Part]:
        """Read parts one after the other, a few at once."""
        for start in range(0, len(names), _READ_AT_ONCE):
            yield from self._read_parts_named(table, names[start : start + _READ_AT_ONCE])

    def _merge(self, table: Table, parts: Iterable[Part], limit: float) -> None:
        """Merge parts in their order.

        Rows are written whenever those in memory reach `limit` bytes.
        """
        names: list[str] = []
        joined: list[pa.Table] = []
        loose: list[pa.Table] = []
        size = 0
        for part in parts:
            names.append(part.name)
            loose.append(part.rows)
            size += part.rows.nbytes
            if len(loose) == _READ_AT_ONCE:
                joined.append(self._join(table, loose).combine_chunks())
                loose = []
            if size >= limit:
                self._replace(table, names, [*joined, *loose])
                names, joined, loose, size = [], [], [], 0
        self._replace(table, names, [*joined, *loose])

    def _replace(self, table: Table, names: Sequence[str], rows: Sequence[pa.Table]) -> None:
        """Write the rows of several parts as one, then remove these parts."""
        if len(names) > 1:
            self._write(table, self._join(table, rows), "zstd")
            self.storage.each(self.storage.remove, names)

    def _set_aside(self, table: Table, part: Part) -> None:
        """Rename a damaged part.

        Raise StudyError if it is a part of `trials`.
        """
        path = self.storage.path(part.name)
        if table == "trials":
            raise StudyError(
                f"{path}: damaged ({part.problem}), so its trials are not known; "
                "restore it from a copy, or remove it to train its trials again"
            )
        self.storage.rename(part.name, f"{part.name}.broken")
        warnings.warn(f"{path} is damaged and is set aside as .broken: {part.problem}", stacklevel=3)

    def history(self, table: Table) -> pd.DataFrame:
        """Read every row of a table once, in the order of time.

        Raises:
            StudyError: The table is missing, or cannot be read.
        """
        return self._to_frame(table, self._read_parts(table))

    def rows_of(self, table: Table, names: Sequence[str]) -> pd.DataFrame:
        """Read the rows of some parts, as `history` reads those of all.

        Raises:
            FileNotFoundError: A part is gone, because a merge has replaced it.
        """
        return self._to_frame(table, self._read_parts_named(table, names))

    def _to_frame(self, table: Table, parts: Sequence[Part]) -> pd.DataFrame:
        """Return the rows of parts, each once, in the order of time."""
        for part in parts:
            if part.problem is not None:
                path = self.storage.path(part.name)
                warnings.warn(f"{path} is passed over: {part.problem}", stacklevel=3)
        rows = self._join(table, (part.rows for part in parts))
        threaded = rows.num_rows >= _THREADED_ROWS
        frame: pd.DataFrame = rows.to_pandas(types_mapper=PANDAS_TYPES.get, use_threads=threaded)
        is_doubled = frame.duplicated(KEYS[table])
        if is_doubled.any():
            frame = frame[~is_doubled].reset_index(drop=True)
        order = {"trials": "updated_at", "epochs": "at", "decisions": "at"}.get(table)
        return frame.sort_values(order, kind="stable", ignore_index=True) if order else frame

    def trials(self) -> pd.DataFrame:
        """Read the latest row of each trial, ordered by number.

        The latest row is that of the last attempt, at its end or where it waits. Times decide only
        between equals, because clocks differ and are set back.
        """
        return latest_rows(self.history("trials"))

    def epochs(self) -> pd.DataFrame:
        """Read one row per trial and epoch.

        Each row is of the latest attempt that reached the epoch. Rows are ordered by number and
        epoch. Epoch 0, if the study has it, is the untrained network.
        """
        return self._latest("epochs", ["number", "epoch"])

    def folds(self) -> pd.DataFrame:
        """Read one row per trial, epoch and fold.

        Each row is of the latest attempt that reached the epoch.
        """
        return self._latest("folds", ["number", "epoch", "fold"])

    def steps(self) -> pd.DataFrame:
        """Read one row per trial and line of its step log.

        Each row is of the latest attempt that wrote the line.
        """
        return self._latest("steps", ["number", "step"])

    def predictions(self) -> pd.DataFrame:
        """Read one row per trial, split and image, of the latest attempt.

        Rows keep the order of their parts. Parts of earlier versions have no attempt.
        """
        frame = self.history("predictions")
        by_attempt = frame.sort_values("attempt", kind="stable", na_position="first")
        latest = by_attempt.drop_duplicates(["number", "split", "index"], keep="last")
        return latest.sort_index().reset_index(drop=True)

    def classes(self) -> pd.DataFrame:
        """Read one row per trial, split and class, of the latest attempt."""
        return self._latest("classes", ["number", "split", "class"])

    def _latest(self, table: Table, key: list[str]) -> pd.DataFrame:
        frame = self.history(table)
        frame = frame.sort_values([*key, "attempt"], kind="stable", na_position="first")
        return frame.drop_duplicates(key, keep="last", ignore_index=True)

    def _join(self, table: Table, rows: Iterable[pa.Table]) -> pa.Table:
        empty = schema(table, self.space).empty_table()
        try:
            return pa.concat_tables([empty, *rows], promote_options="permissive")
        except pa.ArrowException as error:  # because columns of a newer version may differ in type
            raise StudyError(f"{self.storage.path(table)}: its parts differ: {error}") from None

    def _read_parts(self, table: Table) -> list[Part]:
        names = self.part_names(table)
        while True:
            try:
                return self._read_parts_named(table, names)
            except FileNotFoundError as error:
                before, names = names, self.part_names(table)
                if names == before:  # or else a merge has replaced them
                    raise _missing(error) from None

    def _read_parts_named(self, table: Table, names: Sequence[str]) -> list[Part]:
        columns = schema(table, self.space)

        def read(name: str) -> Part:
            return decode_part(name, self.storage.read(name), table, columns, self.study)

        return self.storage.each(read, names)

    def part_names(self, table: Table) -> list[str]:
        """List the parts of a table.

        They are listed once more where a part has gone meanwhile, because a listing of many files
        may miss a part that is merged and the part that it is merged into.
        """
        before, names = [""], self.storage.names(table, ".parquet")
        while not {*before} <= {*names}:
            before, names = names, self.storage.names(table, ".parquet")
        if not names:
            self._check_missing(table)
        return names

    def _check_missing(self, table: Table) -> None:
        """Raise StudyError if a table is missing that the other tells of."""
        if table not in ("trials", "epochs") or self.storage.exists(table):
            return
        if table == "trials":
            is_missing = bool(self.storage.names("epochs", ".parquet"))
        else:
            parts = self._read_parts("trials")
            epochs_run = self._join("trials", (part.rows for part in parts))["epochs_run"]
            is_missing = bool((pc.max(epochs_run).as_py() or 0) > 0)
        if is_missing:
            other = "epochs" if table == "trials" else "trials"
            raise StudyError(
                f"{self.storage.path(table)}: missing, although `{other}` has rows; "
                "restore it from a copy, or start over with --fresh"
            )


def _missing(error: FileNotFoundError) -> StudyError:
    return StudyError(f"{error.filename}: listed, but cannot be found")


def latest_rows(history: pd.DataFrame) -> pd.DataFrame:
    """Return the latest row of each trial, see `Tables.trials`."""
    keys = history[["number", "attempt", "updated_at"]].reset_index(drop=True)  # because all columns take longer
    keys.insert(2, "stage", history["state"].map({"RUNNING": 0, "PAUSED": 1}).fillna(2).to_numpy())
    keys = keys.sort_values([*keys], kind="stable", na_position="first")
    latest = keys.drop_duplicates("number", keep="last").index.to_numpy()
    return history.take(latest).reset_index(drop=True)
