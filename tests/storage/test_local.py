"""Files are whole or missing, even when their writer is killed."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.object_store import BUCKET
from tests.support.waiting import PATIENCE, wait_until
from tuner.errors import StudyError
from tuner.storage import Storage, open_storage

KILLS = 5
WRITER = """
import sys
from tuner.storage import Storage

storage, version = Storage(sys.argv[1]), 0
while True:
    version += 1
    storage.write("checkpoints/latest.pt", version.to_bytes(8, "big") * 250_000)
    print(version, flush=True)
"""


@pytest.fixture(params=["folder", pytest.param("object store", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """What every storage must do is tested on each."""
    root = tmp_path / "results" / "study"
    if request.param == "object store":
        request.getfixturevalue("object_store")
        storage = open_storage(f"s3://{BUCKET}{root}")
    else:
        storage = Storage(root)
    storage.create()
    return storage


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    folder = Storage(tmp_path / "results" / "study")
    folder.create()
    return folder


def temporary_files(storage: Storage) -> list[Path]:
    return [path for path in storage.root.rglob("*") if path.is_file() and path.name.startswith(".tmp-")]


def test_write_replaces_what_read_returns(storage: Storage) -> None:
    assert not storage.exists("a/b.bin")
    for content in (b"first", b"", b"second"):
        storage.write("a/b.bin", content)
        assert storage.read("a/b.bin") == content
    assert storage.exists("a/b.bin")
    assert str(storage.path("a/b.bin")) == f"{storage}/a/b.bin"


def test_path_leads_to_the_only_file(folder: Storage) -> None:
    folder.write("a/b.bin", b"content")
    assert folder.path("a/b.bin").read_bytes() == b"content"
    assert temporary_files(folder) == []


def test_read_of_missing_file_raises(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("a/b.bin")


def test_names_lists_files_by_suffix_sorted(storage: Storage) -> None:
    for name in ("t/b.parquet", "t/a.parquet", "t/c.broken", "t/deeper/d.parquet", "e.parquet"):
        storage.write(name, b"")
    assert storage.names("t", ".parquet") == ["t/a.parquet", "t/b.parquet"]
    assert storage.names("t") == ["t/a.parquet", "t/b.parquet", "t/c.broken"]
    assert storage.names("absent") == []
    assert storage.folders() == ["t"]


def test_names_leaves_out_temporary_files(folder: Storage) -> None:
    folder.path("t").mkdir()
    folder.path("t/.tmp-1.parquet").touch()
    assert folder.names("t") == []


def test_each_keeps_order_and_errors(storage: Storage) -> None:
    names = [f"t/{number:02}" for number in range(40)]
    for number, name in enumerate(names):
        storage.write(name, bytes([number]))
    assert storage.each(storage.read, names) == [bytes([number]) for number in range(40)]
    with pytest.raises(FileNotFoundError):
        storage.each(storage.read, [*names, "t/absent"])


def test_entries_are_those_of_others(storage: Storage) -> None:
    for name in (".lock", ".holder", ".lease", ".tmp-1"):
        storage.write(name, b"")
    assert storage.entries() == []
    for name in ("study.yaml", "t/a.parquet", ".hidden"):
        storage.write(name, b"")
    assert storage.entries() == [".hidden", "study.yaml", "t"]


def test_move_aside_moves_all_files(storage: Storage) -> None:
    for name in ("study.yaml", "t/a.parquet", "t/deeper/b.parquet"):
        storage.write(name, name.encode())
    aside = storage.move_aside(".until-now")
    assert str(aside) == f"{storage}.until-now"
    assert not any(storage.exists(name) for name in ("study.yaml", "t/a.parquet", "t/deeper/b.parquet"))
    moved = open_storage(aside)
    assert [moved.read(name) for name in ("study.yaml", "t/deeper/b.parquet")] == [b"study.yaml", b"t/deeper/b.parquet"]


def test_remove_takes_empty_folder_along(storage: Storage) -> None:
    storage.write("checkpoints/00001/a", b"")
    storage.write("checkpoints/00001/b", b"")
    storage.remove("checkpoints/00001/a")
    storage.remove("checkpoints/00001/absent")
    assert storage.names("checkpoints/00001") == ["checkpoints/00001/b"]
    storage.remove("checkpoints/00001/b")
    assert not storage.exists("checkpoints/00001")


def test_rename_moves_content(storage: Storage) -> None:
    storage.write("a", b"content")
    storage.rename("a", "b")
    assert (storage.exists("a"), storage.read("b")) == (False, b"content")


def test_create_refuses_path_below_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StudyError) as caught:
        Storage(tmp_path / "file" / "study").create()
    assert str(caught.value) == f"results: {tmp_path}/file/study cannot be written: Not a directory"


def test_root_survives_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = Storage("relative")
    monkeypatch.chdir("/")
    storage.create()
    assert (tmp_path / "relative").is_dir()


def test_failed_write_keeps_old_file(folder: Storage) -> None:
    folder.write("a/file", b"old")
    folder.path("a/folder/inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        folder.write("a/folder", b"new")
    with pytest.raises(TypeError):
        folder.write("a/file", "text")  # type: ignore[arg-type]
    assert folder.read("a/file") == b"old"
    assert temporary_files(folder) == []


@pytest.mark.slow
def test_read_returns_only_whole_versions(storage: Storage) -> None:
    versions = [bytes([version]) * 1_000_000 for version in range(2)]
    storage.write("file", versions[0])
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for version in versions:
                storage.write("file", version)

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[bytes] = set()
    deadline = time.monotonic() + PATIENCE
    try:
        for reads in itertools.count():
            seen.add(storage.read("file"))
            if (reads >= 300 and len(seen) > 1) or time.monotonic() > deadline:
                break
    finally:
        done.set()
        writer.join()
    assert seen == set(versions)


def kill_in_a_write(folder: Storage) -> int:
    """Kill a writer in a write, and return its last confirmed version."""
    earlier = {*temporary_files(folder)}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()

    def is_stopped_in_a_write() -> bool:
        writer.send_signal(signal.SIGSTOP)
        os.waitpid(writer.pid, os.WUNTRACED)
        if {*temporary_files(folder)} - earlier:
            return True
        writer.send_signal(signal.SIGCONT)
        return False

    wait_until(is_stopped_in_a_write)
    writer.send_signal(signal.SIGKILL)
    said, _ = writer.communicate()
    assert writer.returncode == -signal.SIGKILL
    return [1, *map(int, said.split())][-1]


@pytest.mark.slow
def test_killed_writer_leaves_whole_file(folder: Storage) -> None:
    for kill in range(KILLS):
        confirmed = kill_in_a_write(folder)
        content = folder.read("checkpoints/latest.pt")
        version = int.from_bytes(content[:8], "big")
        assert content == content[:8] * 250_000
        assert version in (confirmed, confirmed + 1)
        assert len(temporary_files(folder)) == kill + 1
    folder.sweep()
    assert [str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_file()] == [
        "checkpoints/latest.pt"
    ]
