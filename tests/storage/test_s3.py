"""A study in an object store: refusals in one line, one driver at a time, and nothing lost by kills and outages."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest

import tuner
from tests.support.forked import call_tuner, start_driver
from tests.support.object_store import BUCKET, SECRET_KEY, ObjectStore, SlowWay
from tests.support.observers import Outage
from tests.support.rebuilding import assert_rebuilt
from tests.support.trainables import HeldTrial
from tests.support.waiting import PATIENCE, wait_until
from tuner.errors import StudyError
from tuner.results.folder import StudyFolder, find_studies
from tuner.results.ranking import rank
from tuner.results.schema import FINISHED
from tuner.storage import ObjectStorage, StoreError, lock, open_storage
from tuner.study import writer
from tuner.study.run import StudyRun
from tuner.training.checkpoint import write_state

ROOT = Path(__file__).parents[2]
KILLS = 2
SPEC = """
study: remote
dataset: {{name: digits, train: 128, validation: 64}}
training: {{architecture: vazquez_base, batch_size: 64}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
  epochs: {{choice: [3, 9]}}
search: {{sampler: random, trials: {trials}}}
stopping: {{asha: {{type: stop, min_trials: 1, grace_period: 2, reduction_factor: 3}}}}
"""
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


def write_spec(tmp_path: Path, trials: int) -> Path:
    spec = tmp_path / "remote.yaml"
    spec.write_text(SPEC.format(trials=trials))
    return spec


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
def test_run_into_missing_bucket_is_refused() -> None:
    words = ("run", "search_spaces/digits.yaml", "--results", "s3://absent/results")
    done = call_tuner(*words, environment={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
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


# --- kills and outages --------------------------------------------------------------------------------------------


def finished(folder: str) -> pd.DataFrame:
    trials = tuner.load_study(folder).trials
    return trials[trials["state"].isin(FINISHED)].set_index("number")


def parts(folder: str) -> set[str]:
    return {*open_storage(folder).names("trials")}


def only_one_is_left(results: str) -> bool:
    study = tuner.load_study(f"{results}/remote")
    return len(finished(str(study.folder))) == study.spec.search.trials - 1


def run_until_killed(spec: Path, results: str, address: str, chance: random.Random) -> None:
    """Start a driver, and kill it some time after its first new rows.

    The last trial is held, so that no driver comes to the end of the study.
    """
    before = parts(f"{results}/remote")
    process = start_driver(spec, results, address, HeldTrial)
    wait_until(lambda: len(new := parts(f"{results}/remote") - before) > 2 or (new and only_one_is_left(results)))
    time.sleep(chance.uniform(0, 0.2))
    assert process.is_alive()
    process.kill()
    process.join()


@pytest.mark.cluster
def test_study_survives_killed_drivers(ray_session: str, results: str, tmp_path: Path) -> None:
    trials, chance, path = 8, random.Random(0), f"{results}/remote"
    spec = write_spec(tmp_path, trials)
    open_storage(results).write("hold", b"")
    known = None
    for _ in range(KILLS):
        run_until_killed(spec, results, ray_session, chance)
        now = finished(path)
        if known is not None:
            pd.testing.assert_frame_equal(now.loc[known.index], known)
        known = now
    assert known is not None
    open_storage(results).remove("hold")
    last = StudyRun(tuner.load_spec(spec), results, trainable=HeldTrial)
    study = last.run()

    pd.testing.assert_frame_equal(study.trials.set_index("number").loc[known.index], known)
    assert list(study.trials["number"]) == list(range(trials))
    assert set(study.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert study.trials["attempt"].max() > 1
    for number, epochs in study.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, study.trials["epochs_run"][int(str(number))] + 1))

    assert_rebuilt(last, study)

    storage = study.folder.storage
    assert [len(storage.names(table)) for table in ("trials", "epochs", "decisions")] == [1, 1, 1]  # compacted
    best = {f"checkpoints/{number:05d}/weights.pt" for number in rank(study.spec, study.trials)["number"]}
    assert {name for number in range(trials) for name in storage.names(f"checkpoints/{number:05d}")} <= best
    assert not storage.exists(lock.Lease.NAME)
    assert len(study.folder.provenance()["runs"]) == KILLS + 1
    for name in ("study.yaml", "provenance.json"):
        assert SECRET_KEY.encode() not in storage.read(name)

    assert [folder.name for folder in find_studies(results)] == ["remote"]
    shown = call_tuner("show", "remote", "--results", results, environment={**os.environ})
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{study.best.val_accuracy:.4f}" in shown.stdout
    options = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_allow_http": "true"}
    polars = pl.read_parquet(f"{path}/trials/*.parquet", storage_options=options)
    assert polars["number"].n_unique() == trials


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_study_survives_an_outage(
    object_store: ObjectStore, results: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0.5)
    outage = Outage(object_store.stop, object_store.start)
    run = StudyRun(tuner.load_spec(write_spec(tmp_path, 6)), results, observer=outage, trainable=HeldTrial)
    with pytest.warns(UserWarning, match=r"cannot be reached; ") as told:  # a busy store may be late at the end, too
        study = run.run()
    assert str(told[0].message).endswith("; rows wait, and are written once that is over")
    assert list(study.trials["number"]) == list(range(6))
    assert set(study.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert (study.trials["attempt"] == 1).all()  # not one trial was disturbed
    for number, epochs in study.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, study.trials["epochs_run"][int(str(number))] + 1))
    assert outage.meanwhile, "nothing was trained meanwhile"
    assert {*outage.meanwhile} <= {*zip(study.epochs["number"], study.epochs["epoch"], strict=True)}


@pytest.mark.cluster
def test_study_outlasts_a_slow_store(ray_session: str, object_store: ObjectStore, results: str, tmp_path: Path) -> None:
    spec = write_spec(tmp_path, 2)
    with SlowWay(object_store.endpoint, 0.1) as way:
        environment = os.environ | {"AWS_ENDPOINT_URL": way.endpoint}  # of the driver
        run = call_tuner("run", spec, "--results", results, environment=environment, address=ray_session)
        way.shutdown()
    assert run.returncode == 0, run.stderr
    study = tuner.load_study(f"{results}/remote")
    assert list(study.trials["number"]) == list(range(2))
    assert set(study.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert (study.trials["attempt"] == 1).all()
    for number, epochs in study.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, study.trials["epochs_run"][int(str(number))] + 1))
    assert not study.folder.storage.exists(lock.Lease.NAME)


@pytest.mark.slow
@pytest.mark.usefixtures("idle_object_store")
def test_write_state_warns_without_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = open_storage(f"s3://{BUCKET}/results/a")
    with pytest.warns(UserWarning, match=r"^s3://studies/results/a/checkpoints/00001/latest\.pt cannot be written: "):
        write_state(storage, "checkpoints/00001/latest.pt", {"epoch": 1})
