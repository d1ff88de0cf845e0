"""A study in an object store: refusals in one line, and one driver at a time."""

import json
import os
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tuner
from tests.support.object_store import BUCKET, SECRET_KEY, ObjectStore
from tests.support.waiting import PATIENCE, wait_until
from tuner.cli.main import app
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, find_studies
from tuner.storage import ObjectStorage, StoreError, lock, open_storage
from tuner.training.checkpoint import write_state

ROOT = Path(__file__).parents[2]
HOLDING = """
import sys
from tuner.results.folder import StudyFolder

with StudyFolder(sys.argv[1]).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def results(object_store: ObjectStore, tmp_path: Path) -> str:  # noqa: ARG001
    """A results directory of the test's own."""
    return f"s3://{BUCKET}{tmp_path}"


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("gs://bucket/a", "results: found 'gs://bucket/a'; allowed: a folder, or s3://BUCKET/PREFIX"),
        ("s3://", "results: found 's3://'; allowed: a folder, or s3://BUCKET/PREFIX"),
        ("s3://key:hidden@bucket/a", "results: s3://…: only BUCKET/PREFIX may follow; "),
        ("s3://bucket/a?secret_key=hidden", "results: s3://…: only BUCKET/PREFIX may follow; "),
    ],
)
def test_url_is_refused_without_secrets(url: str, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_storage(url)
    assert str(caught.value).startswith(said)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("bucket", "environment", "said"),
    [
        ("absent", {}, "there is no bucket 'absent' at http://127.0.0.1:"),
        (BUCKET, {"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY: check them"),
        (
            BUCKET,
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            "http://127.0.0.1:1 cannot be reached; check AWS_ENDPOINT",
        ),
        (BUCKET, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:2"}, "http://127.0.0.1:2 cannot be reached; "),
    ],
)
@pytest.mark.usefixtures("object_store")
@pytest.mark.slow
def test_store_error_names_place_and_remedy(
    bucket: str, environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = f"s3://{bucket}/results"
    for touch in (lambda: tuner.load_study(f"{path}/a"), lambda: find_studies(path), open_storage(path).create):
        with pytest.raises(StudyError) as caught:
            touch()
        assert str(caught.value).startswith(path)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
        assert SECRET_KEY not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("object_store")
def test_store_without_credentials_names_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match=r"denies access; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set them$"):
        open_storage(f"s3://{BUCKET}/results").create()


@pytest.mark.slow
@pytest.mark.usefixtures("object_store")
def test_run_into_missing_bucket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["run", "search_spaces/digits.yaml", "--results", "s3://absent/results"])
    assert done.stdout == ""
    assert isinstance(done.exception, StudyError)  # which `main` prints in lines, and exits with 2
    (line,) = str(done.exception).splitlines()
    assert line.startswith("s3://absent/results/digits: there is no bucket 'absent' at ")


def test_load_study_refuses_empty_prefix(results: str) -> None:
    with pytest.raises(StudyError, match=r"no study here \(no study\.yaml\)"):
        tuner.load_study(f"{results}/absent")
    assert find_studies(results) == []
    assert str(StudyFolder(Path(results) / "a")) == f"{results}/a"


# --- one driver at a time -----------------------------------------------------------------------------------------


def lease(folder: StudyFolder) -> dict[str, object]:
    return json.loads(folder.storage.read(lock.Lease.NAME))


@pytest.mark.slow
def test_lease_is_free_once_holder_dies(results: str) -> None:
    folder = StudyFolder(f"{results}/held")
    command = [sys.executable, "-c", HOLDING, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(StudyError) as caught, folder.lock():
                pass
            assert str(caught.value).startswith(f"{folder}: this study is being run by process {process.pid} on ")
        finally:
            process.kill()
    assert lease(folder)["pid"] == process.pid
    with folder.lock():
        assert lease(folder)["pid"] == os.getpid()
    assert not folder.storage.exists(lock.Lease.NAME)


@pytest.mark.slow
def test_lease_of_another_machine_expires_without_renewal(results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StudyFolder(f"{results}/elsewhere")
    own, other = StudyFolder(str(folder)), lock.Lease(ObjectStorage(str(folder)))
    other._own |= {"machine": "another", "pid": 1, "holder": "process 1 on another"}
    ended = threading.Event()
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "LEASE_SECONDS", 2.0)
    expiry = timedelta(seconds=2)

    def renewed_at() -> datetime:
        return own.storage.modified_at(lock.Lease.NAME)

    other.acquire()
    begun = renewed_at()
    renewal = threading.Thread(target=other.keep_renewing, args=(ended,))
    renewal.start()
    wait_until(lambda: renewed_at() - begun > expiry)
    with monkeypatch.context() as patch:  # because a slow machine may be late with a renewal
        latest = renewed_at()
        patch.setattr(ObjectStorage, "modified_at", lambda *_: latest)
        patch.setattr(ObjectStorage, "clock", lambda _: latest + expiry / 2)
        with pytest.raises(StudyError, match=r"run by process 1 on another; .* \(if it is gone: free in \d s\)$"):
            own.lock().__enter__()
    ended.set()  # from here on it is as good as dead
    renewal.join()
    wait_until(lambda: own.storage.clock() - renewed_at() > expiry)
    with own.lock():
        other.keep_renewing(threading.Event())  # it comes back, and finds itself replaced
        with pytest.raises(StudyError, match=rf"taken over by process {os.getpid()} on .*; this run has stopped$"):
            other._storage.write("trials/part", b"")
        own.storage.write("study.yaml", b"")
    assert own.storage.folders() == []


@pytest.mark.slow
@pytest.mark.parametrize("is_alive", [True, False])
def test_lease_outlives_a_clock_set_back(is_alive: bool, results: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = StudyFolder(f"{results}/set-back-{is_alive}")
    holder = lock.Lease(ObjectStorage(str(folder)))
    holder._own |= {"machine": "another", "pid": 1, "holder": "process 1 on another"}
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(lock, "LEASE_SECONDS", float(PATIENCE) if is_alive else 2.0)
    holder.acquire()
    clock = ObjectStorage.clock
    monkeypatch.setattr(ObjectStorage, "clock", lambda storage: clock(storage) - timedelta(hours=3))
    ended = threading.Event()
    if is_alive:
        renewal = threading.Thread(target=holder.keep_renewing, args=(ended,))
        renewal.start()
        with pytest.raises(StudyError, match="run by process 1 on another"):
            folder.lock().__enter__()
        ended.set()
        renewal.join()
    else:
        with folder.lock():
            assert lease(folder)["pid"] == os.getpid()


# --- without a store ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("idle_object_store")
def test_write_state_warns_without_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = open_storage(f"s3://{BUCKET}/results/a")
    with pytest.warns(UserWarning, match=r"^s3://studies/results/a/checkpoints/00001/latest\.pt cannot be written: "):
        write_state(storage, "checkpoints/00001/latest.pt", {"epoch": 1})
