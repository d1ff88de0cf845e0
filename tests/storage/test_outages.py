"""A study in an object store loses nothing by kills, outages and a slow store."""

import os
import random
import time
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
from tests.support.waiting import wait_until
from tuner.results.folder import find_studies
from tuner.results.ranking import rank
from tuner.results.schema import FINISHED
from tuner.storage import lock, open_storage
from tuner.study import writer
from tuner.study.run import StudyRun

pytestmark = pytest.mark.cluster
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


@pytest.fixture
def results(object_store: ObjectStore, tmp_path: Path) -> str:  # noqa: ARG001
    """A results directory of the test's own."""
    return f"s3://{BUCKET}{tmp_path}"


def write_spec(tmp_path: Path, trials: int) -> Path:
    spec = tmp_path / "remote.yaml"
    spec.write_text(SPEC.format(trials=trials))
    return spec


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
