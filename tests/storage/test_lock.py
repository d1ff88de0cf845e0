"""One process at a time holds a study, and what is not its own is never touched."""

import multiprocessing
import os
import socket
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import pytest

from tests.support.object_store import BUCKET
from tuner.cli import run as command
from tuner.cluster import connection
from tuner.config.study import parse_spec
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.storage import ObjectStorage, Storage, lock, open_storage
from tuner.storage.lock import Holder, hold, read_holder

TRIES = 2_500
"""Tries of each of two processes, at least."""


def try_to_hold(
    folder: str, witness: str, met: Event, started: Barrier, outcomes: "multiprocessing.Queue[Counter[str]]"
) -> None:
    """Lock a folder again and again, and note how each try ends."""
    seen: Counter[str] = Counter()
    started.wait()
    while seen.total() < TRIES or not (met.is_set() and seen["held"]):
        try:
            with hold(Storage(folder)):
                os.close(os.open(witness, os.O_CREAT | os.O_EXCL))  # fails if the other process is inside
                Path(witness).unlink()
                seen["held"] += 1
        except StudyError as error:
            seen["refused" if ": this study is being run by " in str(error) else str(error)] += 1
            met.set()
        except BaseException as error:
            seen[repr(error)] += 1
            met.set()
        if seen.total() > 100 * TRIES:
            break  # because nothing excludes the processes
    outcomes.put(seen)


@pytest.mark.slow
def test_two_processes_never_hold_one_folder(tmp_path: Path) -> None:
    folder, context = tmp_path / "results" / "study", multiprocessing.get_context("fork")
    outcomes: multiprocessing.Queue[Counter[str]] = context.Queue()
    arguments = (str(folder), str(tmp_path / "witness"), context.Event(), context.Barrier(2), outcomes)
    both = [context.Process(target=try_to_hold, args=arguments) for _ in range(2)]
    for process in both:
        process.start()
    seen = [outcomes.get() for _ in both]
    for process in both:
        process.join()
    total = sum(seen, Counter())
    assert set(total) <= {"held", "refused"}
    assert total.total() >= 2 * TRIES
    assert all(counts["held"] > 0 for counts in seen)
    assert total["refused"] > 0, "the processes never met"
    assert not folder.exists() or list(folder.iterdir()) == []


def test_hold_leaves_only_what_it_found(tmp_path: Path) -> None:
    with hold(Storage(tmp_path / "a" / "b" / "study")):
        assert sorted(os.listdir(tmp_path / "a" / "b" / "study")) == [".holder", ".lock"]  # noqa: PTH208
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with hold(Storage(tmp_path / "a" / "study")) as _, suppress(FileNotFoundError):
        (tmp_path / "a" / "study" / "mine").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/study", "a/study/mine"]


def test_hold_survives_a_folder_moved_aside(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "study")
    with hold(storage):
        storage.write("study.yaml", b"")
        aside = Storage(storage.move_aside(".old"))
        with hold(Storage(tmp_path / "study")):
            assert aside.names("") == ["/study.yaml"]
            storage.write("study.yaml", b"another")
    assert storage.names("") == ["/study.yaml"]


@pytest.mark.parametrize("name", ["study", "results"])
def test_hold_refuses_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "results").mkdir() if name == "study" else None
    blocking = tmp_path / "results" / "study" if name == "study" else tmp_path / "results"
    blocking.write_text("mine")
    with pytest.raises(StudyError) as caught, hold(Storage(tmp_path / "results" / "study")):
        pass
    reason = "File exists" if name == "study" else "Not a directory"
    assert str(caught.value) == f"results: {tmp_path}/results/study cannot be written: {reason}"
    assert blocking.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.usefixtures("object_store")
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"pid": 1}'])
def test_damaged_lease_counts_as_held(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"s3://{BUCKET}{tmp_path}")
    storage.write(lock.LEASE_FILE, content)
    with (
        pytest.raises(StudyError, match=r"run by another process; .* \(if it is gone: free in \d+ s\)$"),
        hold(storage),
    ):
        pass
    monkeypatch.setattr(lock, "LEASE_SECONDS", -2.0)
    with hold(storage):
        pass
    assert not storage.exists(lock.LEASE_FILE)


def test_second_driver_never_starts_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(connection, "start", start)
    spec = parse_spec({"study": "demo", "training": {"architecture": "vazquez_base"}, "space": {}})
    held, refused = threading.Event(), threading.Event()

    def run_first() -> None:
        with StudyFolder(tmp_path / "demo").lock():
            held.set()
            refused.wait()

    first = threading.Thread(target=run_first)
    first.start()
    held.wait()
    try:
        with pytest.raises(StudyError, match=rf"this study is being run by process {os.getpid()} on "):
            command.run_here(spec, str(tmp_path), None, None)
    finally:
        refused.set()
        first.join()


def test_holder_is_read_without_a_trace(tmp_path: Path) -> None:
    folder = Storage(tmp_path / "study")
    assert read_holder(folder) is None
    assert not folder.root.exists()
    with hold(folder):
        holder = read_holder(folder)
        assert holder is not None
        assert (holder.name.partition(" on ")[0], holder.is_alive) == (f"process {os.getpid()}", True)
    assert read_holder(folder) is None


def test_killed_holder_is_known_on_its_machine(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    (tmp_path / ".lock").touch()
    for name, is_alive in ((socket.gethostname(), False), ("elsewhere", None)):
        (tmp_path / ".holder").write_text(f"process {process.pid} on {name}")
        holder = read_holder(Storage(tmp_path))
        assert holder is not None
        assert holder.is_alive is is_alive
    (tmp_path / ".holder").unlink()
    assert read_holder(Storage(tmp_path)) == Holder("another process", None)


@pytest.mark.usefixtures("object_store")
def test_holder_of_lease_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage(f"s3://{BUCKET}/followed")
    assert isinstance(storage, ObjectStorage)
    assert read_holder(storage) is None
    with hold(storage):
        holder = read_holder(storage)
        assert holder is not None
        assert holder.is_alive
        before = storage.names("")
        monkeypatch.setattr(lock, "LEASE_SECONDS", -1.0)
        quiet = read_holder(storage)
        assert quiet is not None
        assert quiet.is_alive is None
        assert storage.names("") == before
        monkeypatch.undo()
    assert read_holder(storage) is None
