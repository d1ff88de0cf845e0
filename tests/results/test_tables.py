"""The tables: every row that was written is read, once, in its order, whatever happened to the parts."""

import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner.config.space import Space
from tuner.config.values import Value
from tuner.errors import StudyError
from tuner.results import tables as tables_module
from tuner.results.parts import Part, decode_part
from tuner.results.schema import KEYS, ORDER, Table, outcome, parameters_from_row, parameters_to_row, schema
from tuner.results.tables import Tables, now
from tuner.storage import Storage

SPACE = Space.model_validate(
    {
        "architecture": {"choice": ["lenet5", "alexnet"]},
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "batch_size": {"choice": [32, 64]},
        "epsilon": {"choice": [1, 0.5]},
        "shuffle": {"choice": [True, False]},
        "widths": {"choice": [[32, 64], [128]]},
        "mixed": {"choice": [1, 1.5, True, "1", [1]]},
        "dropout": {"float": [0, 0.5], "when": {"architecture": ["alexnet"]}},
        "epochs": 3,
    }
)
LENET: dict[str, Value] = {"architecture": "lenet5", "learning_rate": 0.01, "batch_size": 32, "epochs": 3}
ALEXNET: dict[str, Value] = LENET | {"architecture": "alexnet", "dropout": 0.25, "widths": [128]}
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
COMPACTING = """
import sys
from tuner.results import tables as tables_module
from tuner.results.tables import Tables, now
from tuner.config.space import Space
from tuner.storage import Storage

tables = Tables(Storage(sys.argv[1]), Space.model_validate({}))
for number in range(100_000):
    tables.append("epochs", {"study": "s", "number": number, "attempt": 1, "epoch": 1, "at": now()})
    tables.append("trials", {"study": "s", "number": 0, "attempt": 1, "state": "RUNNING"})
    tables.flush()
    if number % 3 == 2:
        tables.compact()
    if number == 3:
        print("begun", flush=True)
"""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(Storage(tmp_path / "study"), SPACE)


def trial(number: int, state: str = "RUNNING", second: int = 0, **cells: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=second)
    return {"study": "s", "number": number, "attempt": 1, "state": state, "updated_at": at, **cells}


def epoch(number: int, epoch: int, attempt: int = 1, **cells: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=10 * attempt + epoch)
    return {"study": "s", "number": number, "attempt": attempt, "epoch": epoch, "at": at, **cells}


def write(tables: Tables, table: Table, *rows: dict[str, Any]) -> Path:
    """Each call makes one part."""
    for row in rows:
        tables.append(table, row)
    tables.flush()
    return tables.storage.path(tables.storage.names(table, ".parquet")[-1])


def parts(tables: Tables, table: Table) -> list[str]:
    return tables.storage.names(table, ".parquet")


@pytest.mark.parametrize("table", ORDER)
def test_empty_table_has_its_columns(tables: Tables, table: Table) -> None:
    frame = tables.history(table)
    assert frame.empty
    assert list(frame.columns) == schema(table, SPACE).names
    assert set(KEYS[table]) <= set(frame.columns)


def test_part_has_the_whole_schema(tables: Tables) -> None:
    part = pq.read_schema(write(tables, "trials", trial(0)))  # not one parameter is set in this row
    assert part.equals(schema("trials", SPACE))
    assert {name: str(part.field(f"param_{name}").type) for name in SPACE.root} == {
        "architecture": "string",
        "learning_rate": "double",
        "batch_size": "int64",
        "epsilon": "double",
        "shuffle": "bool",
        "widths": "string",
        "mixed": "string",
        "dropout": "double",
        "epochs": "int64",
    }
    assert str(part.field("updated_at").type) == "timestamp[us, tz=UTC]"


@pytest.mark.parametrize(
    "parameters",
    [
        LENET,
        ALEXNET,
        {},
        *({"epsilon": value} for value in (1, 0.5)),
        *({"shuffle": value} for value in (True, False)),
        *({"widths": value} for value in ([32, 64], [128])),
        *({"mixed": value} for value in (1, 1.5, True, "1", [1])),
    ],
)
def test_parameters_survive_parquet(tables: Tables, parameters: dict[str, Value]) -> None:
    write(tables, "trials", trial(0, **parameters_to_row(SPACE, parameters)), trial(1))
    frame = tables.trials()
    for first, second in (frame.to_dict("records"), [dict(row) for _, row in frame.iterrows()]):
        found = parameters_from_row(SPACE, first)
        assert repr(sorted(found.items())) == repr(sorted(parameters.items()))  # 1, 1.0 and True apart
        assert parameters_from_row(SPACE, second) == {}


def test_mixed_parameters_are_json_text(tables: Tables) -> None:
    path = write(tables, "trials", trial(0, **parameters_to_row(SPACE, {"widths": [32, 64], "mixed": "1"})))
    assert pq.read_table(path).select(["param_widths", "param_mixed"]).to_pylist() == [
        {"param_widths": "[32, 64]", "param_mixed": '"1"'}
    ]


def test_times_are_utc_microseconds(tables: Tables) -> None:
    assert now().tzinfo is UTC
    write(tables, "trials", trial(0, started_at=START))
    frame = tables.trials()
    assert str(frame["started_at"].dtype) == "datetime64[us, UTC]"
    assert frame["started_at"][0] == START


def test_trials_keeps_latest_row_by_number(tables: Tables) -> None:
    write(tables, "trials", trial(1, "COMPLETE", 5, value=0.5), trial(0))  # parts need not come in the order of time
    write(tables, "trials", trial(1), trial(2, "FAILED", 3), trial(2, "RUNNING", 3, attempt=2))
    frame = tables.trials()
    assert list(zip(frame["number"], frame["state"], frame["attempt"], strict=True)) == [
        (0, "RUNNING", 1),
        (1, "COMPLETE", 1),
        (2, "RUNNING", 2),
    ]
    assert len(tables.history("trials")) == 5
    assert tables.history("trials")["updated_at"].is_monotonic_increasing


def test_trials_ignores_a_clock_that_was_set_back(tables: Tables) -> None:
    hour = 3600
    write(tables, "trials", trial(0, "RUNNING", hour), trial(1, "RUNNING", hour), trial(2, "FAILED", hour))
    write(tables, "trials", trial(0, "RUNNING", 1, attempt=2), trial(0, "COMPLETE", 2, attempt=2))
    write(tables, "trials", trial(1, "PRUNED", 3), trial(2, "RUNNING", 4, attempt=2))
    write(tables, "trials", trial(3, "COMPLETE", 5), trial(3, "RUNNING", 6))
    write(tables, "trials", trial(4, "PAUSED", 7), trial(4, "RUNNING", 8))
    write(tables, "trials", trial(5, "PRUNED", 9), trial(5, "PAUSED", 10))
    for _ in range(2):
        frame = tables.trials()
        assert list(zip(frame["number"], frame["state"], frame["attempt"], strict=True)) == [
            (0, "COMPLETE", 2),
            (1, "PRUNED", 1),
            (2, "RUNNING", 2),
            (3, "COMPLETE", 1),
            (4, "PAUSED", 1),
            (5, "PRUNED", 1),
        ]
        tables.compact()


def test_predictions_keeps_latest_attempt(tables: Tables) -> None:
    def image(index: int, label: int, attempt: int | None) -> dict[str, Any]:
        return {"study": "s", "number": 0, "attempt": attempt, "split": "test", "index": index, "label": label}

    write(tables, "trials", trial(0))
    write(tables, "predictions", image(1, 20, 2), image(0, 21, 2))
    write(tables, "predictions", image(0, 10, 1), image(1, 11, 1))
    write(tables, "predictions", image(0, 30, None), image(2, 31, None))
    frame = tables.predictions()
    assert list(zip(frame["index"], frame["label"], strict=True)) == [(1, 20), (0, 21), (2, 31)]


def test_predictions_of_earlier_versions_are_read(tables: Tables) -> None:
    path = without_digest(write(tables, "predictions", {"study": "s", "number": 0, "split": "test", "index": 0}))
    pq.write_table(pq.read_table(path).drop_columns("attempt"), path)
    write(tables, "predictions", {"study": "s", "number": 1, "attempt": 1, "split": "test", "index": 0})
    assert list(tables.predictions()["number"]) == [0, 1]
    write(tables, "trials", trial(0))
    tables.compact()
    assert list(tables.predictions()["attempt"].fillna(0)) == [0, 1]


def test_epochs_keeps_latest_attempt(tables: Tables) -> None:
    write(tables, "epochs", *(epoch(0, e, 2, val_loss=2.0) for e in (1, 2)))
    write(tables, "epochs", epoch(1, 1, val_loss=5.0), *(epoch(0, e, 1, val_loss=1.0) for e in (1, 2, 3)))
    frame = tables.epochs()
    assert list(zip(frame["number"], frame["epoch"], frame["val_loss"], strict=True)) == [
        (0, 1, 2.0),
        (0, 2, 2.0),
        (0, 3, 1.0),
        (1, 1, 5.0),
    ]
    assert len(tables.history("epochs")) == 6


@pytest.mark.parametrize("table", ORDER)
def test_history_drops_doubled_keys(tables: Tables, table: Table) -> None:
    row = {
        key: {"state": "RUNNING", "updated_at": START, "split": "test", "verdict": "go"}.get(key, 1)
        for key in KEYS[table]
    }
    write(tables, table, row, row)
    write(tables, table, row)
    assert len(tables.history(table)) == 1


def test_tables_can_grow_columns(tables: Tables) -> None:
    older = Tables(tables.storage, Space.model_validate({"batch_size": {"choice": [32, 64]}}))
    write(older, "trials", trial(0, param_batch_size=32))
    write(tables, "trials", trial(1, **parameters_to_row(SPACE, ALEXNET)))
    assert parameters_from_row(SPACE, dict(tables.trials().iloc[0])) == {"batch_size": 32}
    assert parameters_from_row(SPACE, dict(older.trials().iloc[1]))["batch_size"] == 32


@pytest.mark.parametrize(("table", "earlier"), [(table, ORDER[:index]) for index, table in enumerate(ORDER)])
def test_flush_keeps_order_and_pending_rows(tables: Tables, table: Table, earlier: tuple[Table, ...]) -> None:
    rows: dict[Table, dict[str, Any]] = {"trials": trial(0), "epochs": epoch(0, 1)}
    for each in reversed(ORDER):
        tables.append(each, rows.get(each, {"study": "s", "number": 0}))
    tables.storage.create()
    tables.storage.path(table).touch()  # a file where the folder belongs
    with pytest.raises(OSError, match="exists"):
        tables.flush()
    assert [each for each in ORDER if each != table and parts(tables, each)] == list(earlier)
    tables.storage.path(table).unlink()
    for _ in range(2):
        tables.flush()
    assert [len(parts(tables, each)) for each in ORDER] == [1] * len(ORDER)


def test_flush_can_be_delayed(tables: Tables) -> None:
    tables.append("trials", trial(0))
    tables.flush(if_older_than=1e9)
    assert parts(tables, "trials") == []
    time.sleep(0.02)
    tables.flush(if_older_than=0.01)
    assert len(parts(tables, "trials")) == 1
    assert list(tables.storage.root.rglob(".tmp-*")) == []


def test_compact_keeps_every_row(tables: Tables) -> None:
    for number in range(5):
        write(tables, "trials", trial(number), trial(number, "COMPLETE", number, **parameters_to_row(SPACE, ALEXNET)))
        write(tables, "epochs", *(epoch(number, e) for e in (1, 2)))
    before = {table: tables.history(table) for table in ORDER}
    for _ in range(2):  # once more changes nothing
        tables.compact()
        assert {table: len(parts(tables, table)) for table in ("trials", "epochs", "decisions")} == {
            "trials": 1,
            "epochs": 1,
            "decisions": 0,
        }
        for table in ORDER:
            pd.testing.assert_frame_equal(tables.history(table), before[table])
    assert pq.read_schema(tables.storage.path(parts(tables, "trials")[0])).equals(schema("trials", SPACE))


@pytest.mark.slow
def test_history_during_compaction_is_whole(tmp_path: Path) -> None:
    reader = Tables(Storage(tmp_path), Space.model_validate({}))
    with subprocess.Popen([sys.executable, "-c", COMPACTING, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        seen, reads = 0, 0
        try:
            while reads <= 50 or seen <= 50:
                assert writer.poll() is None
                numbers = list(reader.history("epochs")["number"])
                assert numbers == list(range(len(numbers)))
                assert len(numbers) >= seen
                seen, reads = len(numbers), reads + 1
        finally:
            writer.kill()


class KilledError(BaseException):
    """The end of a process, which no code may catch."""


class KillingStorage(Storage):
    """A storage whose process is killed before or after a change of files."""

    steps = 10**6

    def _count(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise KilledError

    def write(self, name: str, content: bytes) -> None:
        self._count()
        super().write(name, content)
        self._count()

    def remove(self, name: str) -> None:
        self._count()
        super().remove(name)
        self._count()


def rows_by_key(tables: Tables, table: Table) -> pd.DataFrame:
    return tables.history(table).sort_values(KEYS[table], ignore_index=True)


def write_small_parts(tables: Tables, parts: int = 4) -> None:
    for number in range(parts):
        write(tables, "trials", trial(number), trial(number, "COMPLETE", number))
        write(tables, "epochs", *(epoch(number, e) for e in (1, 2)))


@pytest.mark.parametrize("merge", [Tables.merge, Tables.compact])
@pytest.mark.slow
def test_killed_merge_loses_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: Callable[[Tables], None]
) -> None:
    monkeypatch.setattr(tables_module, "MERGED_PARTS", 3)
    written: tuple[Table, ...] = ("trials", "epochs")
    for step in range(100):
        tables = Tables(KillingStorage(tmp_path / str(step)), SPACE)
        write_small_parts(tables, 3)
        before = {table: rows_by_key(tables, table) for table in written}
        tables.storage.steps = step
        try:
            merge(tables)
        except KilledError:
            pass
        else:
            break
        after = Tables(Storage(tmp_path / str(step)), SPACE)
        for _ in range(2):  # and the next run compacts what is left
            for table in written:
                pd.testing.assert_frame_equal(rows_by_key(after, table), before[table])
            after.compact()
    assert step == 2 * (2 + 2 * 3)  # each change of both tables was cut short once
    assert [len(parts(tables, table)) for table in written] == [1, 1]


def test_merge_waits_for_many_parts(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "MERGED_PARTS", 3)
    for merged, left in ((0, 2), (1, 0), (1, 2), (2, 0)):
        write_small_parts(tables, left - len(parts(tables, "epochs")) + merged if left else 1)
        before = rows_by_key(tables, "trials")
        tables.merge()
        assert len(parts(tables, "trials")) == merged + left
        pd.testing.assert_frame_equal(rows_by_key(tables, "trials"), before)


def test_merge_leaves_what_is_not_its_own(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "MERGED_PARTS", 3)
    write_small_parts(Tables(tables.storage, SPACE), 2)  # of an earlier run
    others = parts(tables, "epochs")
    monkeypatch.setattr(tables_module, "SMALL_PART_BYTES", 0)
    write_small_parts(tables, 5)
    tables.merge()
    assert len(parts(tables, "epochs")) == 7  # large parts cost more to merge than they save
    monkeypatch.setattr(tables_module, "SMALL_PART_BYTES", 10**6)
    spoilt = write(tables, "epochs", epoch(8, 1))
    write_small_parts(tables, 5)
    spoil(spoilt, "half")
    tables.merge()
    assert {*others, str(spoilt.relative_to(tables.storage.root))} < {*parts(tables, "epochs")}
    assert len(parts(tables, "epochs")) == 7 + 1 + 1


@pytest.mark.slow
@pytest.mark.parametrize("merge", [Tables.merge, Tables.compact])
def test_merge_reads_few_parts_at_once(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, merge: Callable[[Tables], None]
) -> None:
    monkeypatch.setattr(tables_module, "MERGED_PARTS", 10)
    monkeypatch.setattr(tables_module, "_READ_AT_ONCE", 4)
    write_small_parts(tables, 10)
    before = {table: tables.history(table) for table in ORDER}
    held: list[int] = []
    parts_read: list[weakref.ref[Part]] = []
    read = decode_part

    def reading(*arguments: Any) -> Part:
        held.append(sum(kept() is not None for kept in parts_read))
        part = read(*arguments)
        parts_read.append(weakref.ref(part))
        return part

    monkeypatch.setattr(tables_module, "decode_part", reading)
    merge(tables)
    monkeypatch.undo()
    assert len(held) == 2 * 10
    assert max(held) <= min(held) + 4
    assert [len(parts(tables, table)) for table in ("trials", "epochs")] == [1, 1]
    for table in ORDER:
        pd.testing.assert_frame_equal(tables.history(table), before[table])


def test_compacted_parts_have_bounded_memory(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    write_small_parts(tables, 12)
    (first, *_) = parts(tables, "epochs")
    rows = pq.read_table(tables.storage.path(first), schema=schema("epochs", SPACE))
    monkeypatch.setattr(tables_module, "MERGED_BYTES", 4 * rows.nbytes)
    before = rows_by_key(tables, "epochs")
    tables.compact()
    merged = parts(tables, "epochs")
    assert len(merged) == 3
    assert {pq.read_metadata(tables.storage.path(name)).num_rows for name in merged} == {4 * rows.num_rows}
    tables.compact()
    assert 1 < len(parts(tables, "epochs")) <= 3  # joined rows take a little less memory
    pd.testing.assert_frame_equal(rows_by_key(tables, "epochs"), before)


@pytest.mark.parametrize("listing", [1, 2, 3])
def test_reader_outlasts_a_merge_while_listing(tmp_path: Path, listing: int) -> None:
    """A listing may miss both the merged parts, which have gone, and the part that replaces them."""
    writer = Tables(Storage(tmp_path / "study"), SPACE)
    write_small_parts(writer)
    before = rows_by_key(writer, "trials")

    class Listing(Storage):
        calls = 0

        def names(self, folder: str, suffix: str = "") -> list[str]:
            found = super().names(folder, suffix)
            self.calls += 1
            if self.calls == listing:
                writer.compact()
                return [name for name in found if name in super(Listing, self).names(folder, suffix)]
            return found

    reader = Tables(Listing(tmp_path / "study"), SPACE)
    pd.testing.assert_frame_equal(rows_by_key(reader, "trials"), before)
    pd.testing.assert_frame_equal(rows_by_key(reader, "trials"), before)
    assert len(parts(writer, "trials")) == 1


def spoil(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "half":
        content = content[: len(content) // 2]
    elif how == "one byte":  # of the column of states, whose bytes are in the file as they are
        content[content.index(b"PRUNED")] ^= 0xFF
    path.write_bytes({"empty": b"", "text": b"no Parquet here", "zeros": bytes(len(content))}.get(how, bytes(content)))


HOW = ["half", "empty", "text", "zeros", "one byte"]


def without_digest(path: Path) -> Path:
    """Rename a part as earlier versions named it."""
    return path.rename(path.with_name(f"{path.name[:25]}-0a1b2c.parquet"))


def files(tables: Tables) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in tables.storage.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("has_digest", [True, False])
@pytest.mark.parametrize("how", HOW)
def test_reader_passes_over_damaged_part(tables: Tables, how: str, has_digest: bool) -> None:
    write(tables, "trials", trial(0))
    path = write(tables, "trials", trial(1, "PRUNED"))
    path = path if has_digest else without_digest(path)
    write(tables, "trials", trial(2))
    spoil(path, how)
    before = files(tables)
    with pytest.warns(UserWarning, match=rf"{path.name} is passed over: .") as caught:
        assert list(tables.trials()["number"]) == [0, 2]
    assert "\n" not in str(caught[0].message)
    assert files(tables) == before


@pytest.mark.parametrize("how", HOW)
def test_compact_sets_damaged_part_aside(tables: Tables, how: str) -> None:
    write(tables, "trials", trial(0))
    write(tables, "epochs", epoch(0, 1))
    path = write(tables, "epochs", epoch(0, 2, train_loss=1.0))
    write(tables, "epochs", epoch(0, 3))
    spoil(path, how if how != "one byte" else "half")
    spoilt = path.read_bytes()
    with pytest.warns(UserWarning, match=rf"{path.name} is damaged and is set aside as \.broken: ."):
        tables.compact()
    assert path.with_name(f"{path.name}.broken").read_bytes() == spoilt
    tables.compact()
    assert list(tables.epochs()["epoch"]) == [1, 3]  # and no further warning


@pytest.mark.parametrize("how", HOW)
def test_compact_stops_at_damaged_trials(tables: Tables, how: str) -> None:
    path = write(tables, "trials", trial(1, "PRUNED"))
    write(tables, "trials", trial(2))
    spoil(write(tables, "epochs", epoch(1, 1)), "half")
    spoil(path, how)
    before = files(tables)
    with pytest.raises(StudyError, match=rf"^{path}: damaged \(.+\), so its trials are not known; ") as caught:
        tables.compact()
    assert "\n" not in str(caught.value)
    assert files(tables) == before


@pytest.mark.slow
def test_no_flipped_bit_goes_unnoticed(tables: Tables) -> None:
    path = write(tables, "trials", *(trial(number, "COMPLETE", value=number / 7) for number in range(3)))
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 997):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.warns(UserWarning, match="is passed over: its checksum is wrong"):
            assert tables.trials().empty


def test_reader_short_of_memory_changes_nothing(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    path = without_digest(write(tables, "trials", trial(0)))
    before = files(tables)

    def fail(*_: Any, **__: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 1000000 failed")

    monkeypatch.setattr(pq.ParquetFile, "read", fail)
    with pytest.raises(StudyError, match=rf"{path.name}: \d+ bytes do not fit into memory; "):
        tables.trials()
    with pytest.raises(StudyError, match="do not fit into memory"):
        tables.compact()
    assert files(tables) == before


@pytest.mark.parametrize("table", ORDER)
@pytest.mark.parametrize("other", ORDER)
def test_part_of_another_table_is_passed_over(tables: Tables, table: Table, other: Table) -> None:
    row = {
        key: {"state": "COMPLETE", "updated_at": START, "split": "test", "verdict": "go"}.get(key, 1)
        for key in KEYS[table]
    }
    write(tables, "trials", trial(1))
    write(tables, table, row)
    before = len(tables.history(table))
    stray = write(tables, other, {"number": 7})
    if other == table:
        return
    target = tables.storage.path(table) / stray.name
    content = stray.read_bytes()
    target.write_bytes(content)
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"{stray.name} is passed over: it is a part of `{other}`$"):
            assert len(tables.history(table)) == before
        tables.compact()
    assert target.read_bytes() == content


def test_part_of_another_study_is_passed_over(tables: Tables) -> None:
    own = Tables(tables.storage, SPACE, "s")
    write(own, "trials", trial(0))
    stray = write(own, "trials", trial(1) | {"study": "other"})
    for _ in range(2):
        with pytest.warns(UserWarning, match=rf"{stray.name} is passed over: it has rows of the study 'other'$"):
            assert list(own.trials()["number"]) == [0]
        own.compact()
    assert stray.exists()


def test_rows_of_two_studies_are_told_apart(tables: Tables) -> None:
    own = Tables(tables.storage, SPACE, "s")
    mixed = write(tables, "trials", trial(0), trial(1) | {"study": "other"}, trial(2) | {"study": None})
    with pytest.warns(UserWarning, match="it has rows of the study 'other'"):
        assert list(own.trials()["number"]) == [0, 2]
    write(own, "trials", trial(3))
    write(own, "trials", trial(4))
    own.compact()
    assert mixed.exists()
    with pytest.warns(UserWarning, match="it has rows of the study 'other'"):
        assert list(own.trials()["number"]) == [0, 2, 3, 4]


def test_column_of_another_type_is_refused(tables: Tables) -> None:
    write(tables, "trials", trial(0))
    path = without_digest(write(tables, "trials", trial(1, value=0.5)))
    rows = pq.read_table(path)
    index = rows.column_names.index("value")
    pq.write_table(rows.set_column(index, "value", rows["value"].cast(pa.string())), path)
    said = "is passed over: column 'value': found string; allowed: double$"
    with pytest.warns(UserWarning, match=said):
        assert list(tables.trials()["number"]) == [0]
    with pytest.raises(StudyError, match="column 'value': found string; allowed: double"):
        tables.compact()


def test_table_that_is_a_file_is_refused(tables: Tables) -> None:
    write(tables, "trials", trial(0))
    for table in ("epochs", "decisions"):
        tables.storage.path(table).write_text("mine")
        with pytest.raises(StudyError, match=rf"/{table}: found a file; allowed: a folder; "):
            tables.history(table)
        with pytest.raises(StudyError, match=": found a file; allowed: a folder; "):
            tables.compact()
        assert tables.storage.path(table).read_text() == "mine"
        tables.storage.path(table).unlink()


def test_missing_table_is_refused(tables: Tables) -> None:
    write(tables, "trials", trial(0, epochs_run=0))
    write(tables, "epochs", epoch(0, 1))
    shutil.rmtree(tables.storage.path("epochs"))
    assert tables.epochs().empty  # no epoch was reported
    write(tables, "trials", trial(0, second=1, epochs_run=1))
    for read in (tables.epochs, tables.compact):
        with pytest.raises(StudyError, match=r"/epochs: missing, although `trials` has rows; restore it"):
            read()
    assert list(tables.trials()["number"]) == [0]
    write(tables, "epochs", epoch(0, 1))
    shutil.rmtree(tables.storage.path("trials"))
    for read in (tables.trials, tables.compact):
        with pytest.raises(StudyError, match=r"/trials: missing, although `epochs` has rows; restore it"):
            read()


def test_dangling_part_is_refused_at_once(tables: Tables) -> None:
    path = write(tables, "trials", trial(0))
    path.with_name("part-1.parquet").symlink_to("nowhere.parquet")
    with pytest.raises(StudyError, match=r"part-1\.parquet: listed, but cannot be found$"):
        tables.trials()


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ({"epoch": 3, "epochs_planned": 3}, "COMPLETE"),
        ({"epoch": 2, "epochs_planned": 3}, "PRUNED"),
        ({"epoch": 3, "epochs_planned": 3, "error": "NotFiniteError: …"}, "FAILED"),
        ({}, "PRUNED"),
    ],
)
def test_outcome_depends_on_last_report(report: dict[str, Any], state: str) -> None:
    assert outcome(report) == state
