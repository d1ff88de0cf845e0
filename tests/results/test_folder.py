"""A study's folder: one process runs it, everyone reads it, and what is no study is refused."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.object_store import BUCKET
from tuner.cli.tables import show_studies
from tuner.config.study import StudyConfig, parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, find_studies, load_study
from tuner.results.schema import ORDER, parameters_to_row

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
HOLDING = """
import sys
from tuner.results.folder import StudyFolder

with StudyFolder(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def study(direction: str = "maximize", metric: str = "val_accuracy") -> StudyConfig:
    return parse_spec(
        {
            "study": "demo",
            "training": {"architecture": "vazquez_base"},
            "objective": {direction: metric},
            "space": {
                "batch_size": {"choice": [32, 64]},
                "optimizer": {"choice": ["adam", "sgd"]},
                "momentum": {"float": [0.5, 0.9], "when": {"optimizer": "sgd"}},
            },
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "results" / "demo")
    folder.storage.create()
    return folder


def write_trials(folder: StudyFolder, spec: StudyConfig, *rows: tuple[int, str, float | None], **cells: Any) -> None:
    folder.write_spec(spec)
    tables = folder.tables(spec)
    for second, (number, state, value) in enumerate(rows):
        at = START + timedelta(seconds=second)
        row = {"number": number, "attempt": 1, "state": state, "value": value, "purpose": "search", "updated_at": at}
        tables.append("trials", row | cells)
    tables.flush()


@contextmanager
def holder(folder: StudyFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the study."""
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_lock_is_free_once_holder_dies(folder: StudyFolder) -> None:
    with holder(folder) as process:
        with pytest.raises(StudyError) as caught, folder.lock():
            pass
        assert str(caught.value).startswith(f"{folder}: this study is being run by process {process.pid} on ")
        assert "\n" not in str(caught.value)
        process.kill()
        process.wait()
        with folder.lock(), pytest.raises(StudyError, match="is being run by process"), StudyFolder(str(folder)).lock():
            pass
    with folder.lock():  # free again
        assert folder.storage.names("") == ["/.holder", "/.lock"]


@pytest.mark.slow
def test_lock_is_free_after_an_error(folder: StudyFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.lock():
        raise ZeroDivisionError
    with holder(folder):
        pass


def test_spec_is_read_as_written(folder: StudyFolder) -> None:
    assert not folder.holds_a_study
    folder.write_spec(study())
    assert folder.holds_a_study
    assert folder.spec() == load_study(str(folder)).spec == study()


def test_spec_is_read_without_its_images(folder: StudyFolder) -> None:
    spec = parse_spec(study().to_dict() | {"dataset": {"name": "photos"}})
    folder.write_spec(spec)
    assert load_study(str(folder)).spec == spec


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"study: [", ":1:9: broken YAML: expected the node content"),
        (b"", ": a mapping with `study:` and `space:` is needed, found NoneType"),
        (b"\xff\xfe\x00", ": not a text file"),
        (b"study: demo\nspace: {}\ntraining: {architecture: vgg}\n", ": training.architecture: found 'vgg'; allowed: "),
    ],
)
def test_spec_refuses_broken_file(folder: StudyFolder, content: bytes, message: str) -> None:
    folder.storage.write("study.yaml", content)
    with pytest.raises(StudyError) as caught:
        load_study(str(folder))
    assert str(caught.value).startswith(f"{folder}/study.yaml{message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["", "absent", "file"])
def test_load_study_refuses_folder_without_study(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError, match=r"no study here \(no study\.yaml\); `tuner ls` shows the studies there are$"):
        load_study(tmp_path / place)


def test_provenance_is_read_as_written(folder: StudyFolder) -> None:
    assert folder.provenance() == {}
    folder.write_provenance({"runs": [{"seed": 0, "host": "ä"}]})
    assert (
        folder.provenance()
        == {"runs": [{"seed": 0, "host": "ä"}]}
        == json.loads(folder.storage.path("provenance.json").read_text())
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"{}", b'{"runs": 1}', b'{"runs": [{}, 5]}'])
def test_damaged_provenance_is_kept(folder: StudyFolder, content: bytes) -> None:
    folder.storage.write("provenance.json", content)
    with pytest.warns(UserWarning, match=rf"^{folder}/provenance\.json is damaged and is passed over: ."):
        assert folder.provenance() == {}
    assert folder.storage.read("provenance.json") == content
    folder.write_provenance({"runs": []})
    assert folder.storage.read("provenance.json.broken") == content
    assert folder.provenance() == {"runs": []}


def test_move_aside_moves_whole_study(folder: StudyFolder) -> None:
    write_trials(folder, study(), (0, "COMPLETE", 0.5))
    aside = folder.move_aside(START)
    assert aside == folder.storage.root.with_name("demo.until-20260102T030405")
    assert not folder.holds_a_study
    assert load_study(aside).best["value"] == 0.5


def test_move_aside_keeps_earlier_study(folder: StudyFolder) -> None:
    for count in range(3):
        write_trials(folder, study(), *((number, "COMPLETE", 0.5) for number in range(count + 1)))
        folder.move_aside(START)
    aside = [folder.storage.root.with_name(f"demo.until-20260102T030405{end}") for end in ("", "-2", "-3")]
    assert [len(load_study(path).trials) for path in aside] == [1, 2, 3]


@pytest.fixture(params=["folder", pytest.param("object store", marks=pytest.mark.slow)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A path that is not there yet, on a disk and in an object store."""
    if request.param == "folder":
        return f"{tmp_path}/results/demo"
    request.getfixturevalue("object_store")
    return f"s3://{BUCKET}{tmp_path}/results/demo"


@pytest.mark.parametrize("name", ["notes.txt", "deeper/notes.txt", ".hidden", "trials/part-1.parquet", "study.yml"])
def test_lock_refuses_and_keeps_other_files(root: str, name: str) -> None:
    folder = StudyFolder(root)
    folder.storage.write(name, b"mine")
    first = name.partition("/")[0]
    with pytest.raises(StudyError) as caught, folder.lock():
        pass
    assert str(caught.value) == f"{root}: holds other files ('{first}') and no study; use another --name"
    assert folder.storage.read(name) == b"mine"
    assert folder.storage.entries() == [first]


def test_lock_refuses_study_file_of_a_user(root: str) -> None:
    folder = StudyFolder(root)
    text = b"# mine\n" + study().to_yaml().encode()
    folder.storage.write("study.yaml", text)
    with pytest.raises(StudyError, match=r"holds other files \('study.yaml'\) and no study; use another --name$"):
        folder.lock().__enter__()
    assert folder.storage.read("study.yaml") == text
    folder.write_spec(study())  # as a driver that was killed at once leaves it
    with folder.lock():
        pass


def test_lock_keeps_what_others_write_meanwhile(root: str) -> None:
    folder = StudyFolder(root)
    with folder.lock():
        folder.storage.write("notes.txt", b"mine")
    assert folder.storage.read("notes.txt") == b"mine"
    assert folder.storage.names("") == ["/notes.txt"]


def test_lock_leaves_no_empty_folder(tmp_path: Path) -> None:
    with StudyFolder(tmp_path / "results" / "demo").lock():
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_is_shared_by_one_object(folder: StudyFolder) -> None:
    with folder.lock():
        with folder.lock():
            pass
        with pytest.raises(StudyError, match="is being run by process"), StudyFolder(str(folder)).lock():
            pass


@pytest.mark.parametrize("name", [*ORDER, "checkpoints", "logs"])
def test_lock_refuses_file_for_folder(folder: StudyFolder, name: str) -> None:
    write_trials(folder, study(), (0, "COMPLETE", 0.5))
    shutil.rmtree(folder.storage.root / name, ignore_errors=True)
    folder.storage.write(name, b"mine")
    with pytest.raises(StudyError) as caught:
        folder.lock().__enter__()
    assert str(caught.value) == f"{folder}/{name}: found a file; allowed: a folder; move it away"
    assert folder.storage.read(name) == b"mine"


def test_find_studies_lists_sound_ones(folder: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    write_trials(folder, study(), (0, "COMPLETE", 0.5))
    results = folder.storage.root.parent
    for name in ("no-yaml", "no-table", "no-type"):
        shutil.copytree(folder.storage.root, results / name)
    (results / "no-yaml" / "study.yaml").write_text("study: [")
    shutil.rmtree(results / "no-table" / "trials")
    (results / "no-table" / "trials").write_text("mine")
    part = next((results / "no-type" / "trials").iterdir())
    pq.write_table(pa.table({"number": ["a"]}), part)
    (results / "link").symlink_to("nowhere")
    assert [found.name for found in find_studies(results)] == ["demo", "no-table", "no-type", "no-yaml"]
    with pytest.warns(UserWarning, match="its checksum is wrong"):
        show_studies(find_studies(results))
    shown = capsys.readouterr()
    assert re.search(r"^demo +1 ", shown.out, re.MULTILINE)
    assert len(shown.err.splitlines()) == 2


ROWS = ((3, "COMPLETE", 0.7), (1, "COMPLETE", 0.9), (2, "COMPLETE", 0.9), (4, "PRUNED", 0.99), (5, "FAILED", 1.0))
LOW = ((0, "PRUNED", 0.01), (7, "RUNNING", 0.01), (8, "COMPLETE", 0.1), (9, "COMPLETE", 0.1))


@pytest.mark.parametrize(
    ("direction", "metric", "best"), [("maximize", "val_accuracy", 1), ("minimize", "val_loss", 8)]
)
def test_best_is_earliest_complete_by_objective(folder: StudyFolder, direction: str, metric: str, best: int) -> None:
    spec = study(direction, metric)
    write_trials(folder, spec, *ROWS, *LOW)
    assert load_study(str(folder)).best["number"] == best


def test_best_is_that_of_the_repeats(folder: StudyFolder) -> None:
    write_trials(folder, study(), *ROWS)
    write_trials(folder, study(), (10, "COMPLETE", 0.8), (11, "COMPLETE", 0.4), purpose="repeat", repeat_of=1)
    write_trials(folder, study(), (12, "COMPLETE", 0.7), (13, "RUNNING", 0.1), purpose="repeat", repeat_of=2)
    best = load_study(str(folder)).best
    assert (best["number"], best["value"], best["confirmed"]) == (2, 0.9, 0.7)


def test_best_of_repeats_is_lowest_loss(folder: StudyFolder) -> None:
    spec = study("minimize", "val_loss")
    write_trials(folder, spec, *ROWS)
    for number, of, value in ((10, 3, 0.8), (11, 1, 0.75), (12, 2, 0.9)):
        write_trials(folder, spec, (number, "COMPLETE", value), purpose="repeat", repeat_of=of)
    assert load_study(str(folder)).best["number"] == 1


def test_best_needs_a_complete_trial(folder: StudyFolder) -> None:
    write_trials(folder, study(), (0, "RUNNING", 0.9), (1, "PRUNED", 0.8))
    with pytest.raises(StudyError, match="no trial is complete yet"):
        _ = load_study(str(folder)).best


def test_new_study_has_empty_tables(folder: StudyFolder) -> None:
    folder.write_spec(study())
    begun = load_study(str(folder))
    assert [len(begun.trials), len(begun.epochs), len(begun.decisions)] == [0, 0, 0]
    assert {"number", "state", "param_momentum"} <= set(begun.trials.columns)


def test_duckdb_and_polars_read_parts(folder: StudyFolder) -> None:
    spec = study()
    sgd = parameters_to_row(spec.space, {"batch_size": 64, "optimizer": "sgd", "momentum": 0.75})
    write_trials(folder, spec, (0, "RUNNING", None), (1, "RUNNING", None), **sgd)
    write_trials(folder, spec, (0, "PRUNED", 0.5), (2, "COMPLETE", 0.75), param_batch_size=32, started_at=START)
    parts, columns = f"{folder}/trials/*.parquet", ["number", "state", "value", "param_batch_size", "param_momentum"]
    latest = "qualify row_number() over (partition by number order by updated_at desc, state) = 1 order by number"
    by_duckdb = duckdb.connect().execute(f"select {', '.join(columns)} from '{parts}' {latest}").fetchall()
    frame = pl.read_parquet(parts).sort("updated_at").unique("number", keep="last").sort("number")
    ours = load_study(str(folder)).trials
    cells = ours[columns].astype(object)
    expected = [(0, "PRUNED", 0.5, 32, None), (1, "RUNNING", None, 64, 0.75), (2, "COMPLETE", 0.75, 32, None)]
    assert by_duckdb == frame.select(columns).rows() == expected
    assert [tuple(row) for row in cells.where(cells.notna(), None).to_numpy()] == expected
    assert frame["updated_at"].to_list() == ours["updated_at"].to_list()
