"""A damaged study is read as far as it is sound, and what is wrong is said in one line."""

import os
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, find_studies, load_study
from tuner.results.schema import ORDER, Table, schema

NUMBERS = range(3)
"""Each table has one part for each of these trials; the damage is to that of trial 1."""
SPEC = parse_spec(
    {
        "study": "demo",
        "training": {"architecture": "vazquez_base"},
        "space": {"learning_rate": {"float": [1e-4, 1e-1], "log": True}, "batch_size": {"choice": [32, 64]}},
    }
)
FILES = ("study.yaml", "provenance.json")

Damage = Callable[[Path], None]
Frames = dict[Table, pd.DataFrame | StudyError]


@dataclass(frozen=True)
class Variant:
    """One way to damage a study."""

    name: str
    damage: Damage
    tables: Sequence[Table] = ()
    """The tables whose rows of trial 1 may be missing."""
    is_whole_table: bool = False
    """True if these tables may be refused as a whole."""


def rows_of(table: Table, number: int, study: str = "demo") -> pa.Table:
    """Make two rows with a value in each column."""

    def cell(name: str, kind: pa.DataType, row: int) -> Any:
        known = {"study": study, "number": number, "attempt": 1, "state": "COMPLETE", "purpose": "search"}
        if name in known:
            return known[name]
        if pa.types.is_list(kind):
            return [number + 0.5]
        if pa.types.is_timestamp(kind):
            return datetime(2026, 1, 1, number, row, tzinfo=UTC)
        return f"{name}-{row}" if kind == pa.string() else number + row

    columns = schema(table, SPEC.space)
    return pa.Table.from_pylist(
        [{column.name: cell(column.name, column.type, row) for column in columns} for row in range(2)], columns
    )


def write_study(path: Path, spec: StudyConfig = SPEC) -> None:
    folder = StudyFolder(path)
    folder.storage.create()
    folder.write_spec(spec)
    folder.write_provenance({"study": spec.study, "runs": []})
    tables = folder.tables(spec)
    for number in NUMBERS:
        for table in ORDER:
            for row in rows_of(table, number, spec.study).to_pylist():
                tables.append(table, row)
        tables.flush()


def part_of(study: Path, table: Table, number: int = 1) -> Path:
    return sorted((study / table).glob("*.parquet"))[number]


def without_digest(path: Path) -> Path:
    return path.rename(path.with_name(f"{path.name[:25]}-0a1b2c.parquet"))


def read_frames(study: Path) -> tuple[Frames, str]:
    """Read each table. Return the frames, or what was raised instead, and all that was said.

    Nothing may come but a StudyError or warnings, each one line with its place.
    """
    frames: Frames = {}
    said: list[str] = []
    try:
        results = load_study(study)
    except StudyError as error:
        return dict.fromkeys(ORDER, error), str(error)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for table in ORDER:
            try:
                frames[table] = getattr(results, table)
            except StudyError as error:
                frames[table] = error
                said.append(str(error))
    said += [str(warning.message) for warning in caught]
    assert all(line.startswith(str(study)) and line.isprintable() for line in said)
    return frames, "\n".join(said)


def files(study: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(study.rglob("*"))}


# --- ways to damage a study ---------------------------------------------------------------------------------------


def rewrite(change: Callable[[bytearray], bytes], path: Path) -> None:
    path.write_bytes(change(bytearray(path.read_bytes())))


def flip(place: float) -> Callable[[bytearray], bytes]:
    def change(content: bytearray) -> bytes:
        bit = int(place * 8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
        return bytes(content)

    return change


CONTENTS: dict[str, Callable[[bytearray], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no Parquet here",
    "zeros": lambda content: bytes(len(content)),
    "half": lambda content: bytes(content[: len(content) // 2]),
    "without its end": lambda content: bytes(content[:-1]),
    "twice": lambda content: bytes(content + content),
    "longer": lambda content: bytes(content + b"\0" * 64),
}
CHANCE = random.Random(11)
FLIPS = 14 if os.environ.get("TUNER_DAMAGES") == "all" else 4
"""Bits that are flipped, each in both kinds of parts and in both files. `make fuzz` flips more."""
PLACES = sorted(CHANCE.random() ** 0.5 for _ in range(FLIPS))  # mostly in the footer, which is last
CONTENTS |= {f"flip at {place:.3f}": flip(place) for place in PLACES}


def in_part(table: Table, change: Callable[[bytearray], bytes], has_digest: bool) -> Damage:
    def damage(study: Path) -> None:
        path = part_of(study, table)
        rewrite(change, path if has_digest else without_digest(path))

    return damage


def with_rows(table: Table, change: Callable[[pa.Table], pa.Table]) -> Damage:
    def damage(study: Path) -> None:
        path = without_digest(part_of(study, table))
        pq.write_table(change(pq.read_table(path)), path)

    return damage


def retype(rows: pa.Table) -> pa.Table:
    index = rows.column_names.index("number")
    return rows.set_column(index, "number", rows["number"].cast(pa.string()))


def rename(rows: pa.Table) -> pa.Table:
    return rows.rename_columns(["numbes" if name == "number" else name for name in rows.column_names])


def double(rows: pa.Table) -> pa.Table:
    return rows.append_column("number", rows["number"])


def with_parts_of_others(distance: int) -> Damage:
    """Copy a part into each table from the table that stands so far from it."""

    def damage(study: Path) -> None:
        parts = [part_of(study, table) for table in ORDER]
        for at, table in enumerate(ORDER):
            shutil.copy(parts[at - distance], study / table)

    return damage


def with_another_study(study: Path) -> None:
    other = study.with_name(".other")
    write_study(other, SPEC.model_copy(update={"study": "other"}))
    for table in ORDER:
        for path in (other / table).iterdir():
            shutil.move(path, study / table)


def in_each(damage_to: Callable[[Table], Damage]) -> Damage:
    """Damage every table, because the tables are read apart."""

    def damage(study: Path) -> None:
        for table in ORDER:
            damage_to(table)(study)

    return damage


def replaced_by_folder(name: Callable[[Path], Path]) -> Damage:
    def damage(study: Path) -> None:
        path = name(study)
        path.unlink() if path.is_file() else shutil.rmtree(path)
        path.mkdir()

    return damage


def replaced_by_link(name: Callable[[Path], Path]) -> Damage:
    def damage(study: Path) -> None:
        path = name(study)
        path.unlink() if path.is_file() else shutil.rmtree(path)
        path.symlink_to(path.name if path.name == "epochs" else "nowhere")

    return damage


def replaced_by_file(name: str) -> Damage:
    def damage(study: Path) -> None:
        shutil.rmtree(study / name)
        (study / name).write_text("mine")

    return damage


def removed(name: str) -> Damage:
    def damage(study: Path) -> None:
        path = study / name
        path.unlink() if path.is_file() else shutil.rmtree(path)

    return damage


def in_file(name: str, change: Callable[[bytearray], bytes]) -> Damage:
    return lambda study: rewrite(change, study / name)


def variants() -> Iterator[Variant]:
    for how, change in CONTENTS.items():
        for has_digest in (True, False):
            damage = in_each(lambda table, c=change, d=has_digest: in_part(table, c, d))  # type: ignore[misc]
            yield Variant(f"parts: {how}, {'with' if has_digest else 'without'} digest", damage, ORDER)
    for change_rows in (retype, rename, double):
        damage = in_each(lambda table, c=change_rows: with_rows(table, c))  # type: ignore[misc]
        yield Variant(f"parts: {change_rows.__name__}", damage, ORDER)
    for distance in range(1, len(ORDER)):
        yield Variant(f"parts of other tables: {distance}", with_parts_of_others(distance))
    yield Variant("parts of another study", with_another_study)
    folders = in_each(lambda table: replaced_by_folder(lambda study: part_of(study, table)))
    yield Variant("folders for parts", folders, ORDER)
    for table in ORDER:
        one = (table,)
        yield Variant(f"{table}: a link for a part", replaced_by_link(lambda s, t=table: part_of(s, t)), one, True)
        yield Variant(f"{table}: a file", replaced_by_file(table), one, True)
        yield Variant(f"{table}: removed", removed(table), one, True)
        yield Variant(f"{table}: a link", replaced_by_link(lambda s, t=table: s / t), one, True)
    for file in FILES:
        for how, change in CONTENTS.items():
            yield Variant(f"{file}: {how}", in_file(file, change))
        yield Variant(f"{file}: a folder", replaced_by_folder(lambda s, f=file: s / f))
        yield Variant(f"{file}: a link", replaced_by_link(lambda s, f=file: s / f))
        yield Variant(f"{file}: removed", removed(file))
    for how, text in {"a list": "[]", "a text": '"a"', "no runs": "{}", "odd runs": '{"runs": 1}'}.items():
        yield Variant(f"provenance.json: {how}", in_file("provenance.json", lambda _, text=text: text.encode()))


VARIANTS = list(variants())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Frames]:
    """A study and its frames."""
    path = tmp_path_factory.mktemp("sound") / "demo"
    write_study(path)
    frames, said = read_frames(path)
    assert said == ""
    return path, frames


def check_frames(frames: Frames, expected: Frames, variant: Variant) -> None:
    """Check that every sound row is read, and that no row is read with another value."""
    if isinstance(frames["trials"], StudyError) and "study.yaml" in variant.name:
        return
    for table, frame in frames.items():
        if isinstance(frame, StudyError):
            assert variant.is_whole_table
            assert table in variant.tables
            continue
        whole = expected[table]
        assert isinstance(whole, pd.DataFrame)
        missing = set(NUMBERS) - set(frame["number"])
        may_miss = set(NUMBERS) if variant.is_whole_table else {1}
        assert missing <= (may_miss if table in variant.tables else set())
        check_equal(frame, whole[~whole["number"].isin(missing)])


def check_equal(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Compare frames whose parts may have changed their order."""
    if frame.equals(expected):  # because that is the rule, and sorting takes long
        return
    by = list(frame.columns[:4])
    pd.testing.assert_frame_equal(
        frame.sort_values(by, kind="stable", ignore_index=True),
        expected.sort_values(by, kind="stable", ignore_index=True),
    )


def test_there_are_enough_variants() -> None:
    assert sum(len(variant.tables) or 1 for variant in VARIANTS) >= 240
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize(
    "variant",
    # one of sixteen is enough for `make test-fast`
    [pytest.param(each, id=each.name, marks=[pytest.mark.slow] if at % 16 else []) for at, each in enumerate(VARIANTS)],
)
def test_damaged_study_keeps_sound_rows(tmp_path: Path, sound: tuple[Path, Frames], variant: Variant) -> None:
    study, expected = Path(shutil.copytree(sound[0], tmp_path / "demo")), sound[1]
    variant.damage(study)
    damaged = files(study)
    frames, said = read_frames(study)
    check_frames(frames, expected, variant)
    with warnings.catch_warnings(record=True):
        names = [folder.name for folder in find_studies(study.parent)]
    assert names == ["demo"] or "study.yaml" in variant.name
    assert files(study) == damaged, "a reader changed something"

    begin_run(study)
    again, _ = read_frames(study)
    check_frames(again, expected, variant)
    left = files(study)
    for path in damaged.keys() - left.keys():
        is_merged = path.endswith(".parquet") and path not in said
        assert is_merged or damaged[path] in left.values(), f"{path} is lost"


def begin_run(study: Path) -> None:
    """Do what a driver does first; it may refuse in one line."""
    folder = StudyFolder(study)
    refusal = ""
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        try:
            with folder.lock():
                folder.tables(SPEC).compact()
                folder.write_spec(SPEC)
                folder.write_provenance({"runs": []})
        except StudyError as error:
            refusal = str(error)
    assert refusal.isprintable()
