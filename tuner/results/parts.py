"""Parts of a table: names, digests of bytes, and checks of contents."""

import hashlib
import io
import re
import time
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tuner.errors import StudyError, first_line
from tuner.results.schema import Table, table_of

_THREADED_BYTES = 1_000_000
"""Bytes of a part from which threads read it, because a small part waits longer for them."""
_DIGEST = re.compile(r"part-\d{20}-([0-9a-f]{32})\.parquet$")
"""Name of a part with the digest of its bytes, which older parts lack."""


@dataclass(frozen=True)
class Part:
    """A part that was read: name, rows and problem."""

    name: str
    rows: pa.Table
    problem: str | None = None
    """One line; rows that are not usable are left out."""
    is_damaged: bool = False
    """True if the checksum or the format is wrong, and not only the table or the study."""


class _DamagedError(Exception):
    """A part whose bytes or columns are not those that were written."""


class _MisplacedError(Exception):
    """A part of another table or another study."""


def encode_part(table: Table, rows: pa.Table, compression: Literal["snappy", "zstd"]) -> tuple[str, bytes]:
    """Write rows as Parquet.

    Return the part's name, which has a digest, and its content.
    """
    content = io.BytesIO()
    pq.write_table(rows, content, compression=compression, write_page_checksum=True)
    name = f"{table}/part-{time.time_ns():020d}-{_digest(content.getvalue())}.parquet"
    return name, content.getvalue()


def decode_part(name: str, content: bytes, table: Table, expected: pa.Schema, study: str | None) -> Part:
    """Read the rows of a part that belong to one table.

    With `study`, rows of other studies are left out.

    Args:
        name: Name of the part, with or without a digest.
        content: Its bytes.
        table: The table that it should belong to.
        expected: The columns of that table.
        study: Name of the study; None: rows of any study.

    Raises:
        StudyError: The part does not fit into memory.
    """
    nothing = expected.empty_table()
    try:
        rows = _decode(name, content)
        _check_table(rows, table)
        _check_columns(rows, expected, has_digest=_DIGEST.search(name) is not None)
        return _select_study(name, rows, study)
    except MemoryError:
        raise StudyError(
            f"{name}: {len(content)} bytes do not fit into memory; free memory, or read elsewhere"
        ) from None
    except _DamagedError as error:
        return Part(name, nothing, first_line(error), is_damaged=True)
    except _MisplacedError as error:
        return Part(name, nothing, first_line(error))


def check_bytes(name: str, content: bytes) -> bool:
    """Return True if the digest in a part's name is right.

    Return False for a name without a digest.
    """
    named = _DIGEST.search(name)
    return named is not None and named[1] == _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _decode(name: str, content: bytes) -> pa.Table:
    has_digest = _DIGEST.search(name) is not None
    if has_digest and not check_bytes(name, content):
        raise _DamagedError("its checksum is wrong")
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        rows = file.read(use_threads=len(content) >= _THREADED_BYTES)
        if not has_digest:  # because Parquet has no checksum of its footer
            rows.validate(full=True)
            _check_count(rows.num_rows, file.metadata.num_rows)
    except MemoryError:
        raise
    except Exception as error:  # because flipped bits raise errors of many kinds
        raise _DamagedError(first_line(error)) from error
    return rows


def _check_count(rows: int, expected: int) -> None:
    if rows != expected:
        raise _DamagedError(f"found {rows} of {expected} rows")


def _check_table(rows: pa.Table, table: Table) -> None:
    actual = table_of(rows.column_names)
    if actual != table:
        raise _MisplacedError(f"it is a part of `{actual}`" if actual else "its columns are those of no table")


def _check_columns(rows: pa.Table, expected: pa.Schema, *, has_digest: bool) -> None:
    """Refuse a part with a column of another type or name."""
    if rows.schema.equals(expected):
        return
    names = rows.column_names
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise _DamagedError(f"found two columns '{doubled[0]}'")
    for column in rows.schema:
        index = expected.get_field_index(column.name)
        if index >= 0 and column.type not in (expected.field(index).type, pa.null()):
            allowed = expected.field(index).type
            raise _DamagedError(f"column '{column.name}': found {column.type}; allowed: {allowed}")
    missing, unknown = set(expected.names) - set(names), set(names) - set(expected.names)
    if missing and unknown and not has_digest:
        raise _DamagedError(f"found an unknown column '{min(unknown)}', and no column '{min(missing)}'")


def _select_study(name: str, rows: pa.Table, study: str | None) -> Part:
    """Keep the rows of one study, and those that name no study."""
    if study is None or "study" not in rows.column_names:
        return Part(name, rows)
    others = sorted(set(rows["study"].unique().to_pylist()) - {None, study})
    if not others:
        return Part(name, rows)
    own = rows.filter(pc.fill_null(pc.equal(rows["study"], study), True))
    return Part(name, own, f"it has rows of the study '{others[0]:.80}'")
