"""SIGKILL of the driver, again and again, in the middle of one study."""

import random
import time
from pathlib import Path

import pandas as pd

import tuner
from tests.support.forked import start_driver
from tests.support.rebuilding import assert_rebuilt
from tests.support.trainables import HeldTrial
from tests.support.waiting import wait_until
from tuner.results.schema import FINISHED
from tuner.study.run import StudyRun

TRIALS, KILLS = 30, 10
SPEC = f"""
study: killed
dataset: {{name: digits, train: 128, validation: 64}}
training: {{architecture: vazquez_base, batch_size: 64}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
  epochs: {{choice: [4, 12]}}
search: {{sampler: tpe, trials: {TRIALS}}}
stopping: {{asha: {{type: promote, grace_period: 2, reduction_factor: 3}}}}
"""


def finished(folder: Path) -> pd.DataFrame:
    """Return the finished trials by number, none before there is a study."""
    if not (folder / "study.yaml").exists():
        return pd.DataFrame()
    trials = tuner.load_study(folder).trials
    return trials[trials["state"].isin(FINISHED)].set_index("number")


def are_at_rest(folder: Path) -> bool:
    """Return True if every trial but the last one, which is held, has ended or waits."""
    if not (folder / "study.yaml").exists():
        return False
    return int((tuner.load_study(folder).trials["state"] != "RUNNING").sum()) == TRIALS - 1


def run_until_killed(spec: Path, results: Path, address: str, chance: random.Random) -> None:
    """Start a driver, and kill it after its first new rows or before.

    The last trial is held, so that no driver comes to the end of the study.
    """
    folder = results / "killed"
    before, seen = {*folder.glob("trials/part-*")}, set[Path]()
    wanted = chance.choice([0, 0, 1, 2, 4, 6])
    process = start_driver(spec, results, address, HeldTrial)

    def is_time() -> bool:
        nonlocal seen
        earlier, seen = seen, {*folder.glob("trials/part-*")}
        return len(seen - before) >= wanted or (seen != earlier and are_at_rest(folder))

    wait_until(is_time)
    time.sleep(chance.uniform(0, 0.2 if wanted else 1))
    assert process.is_alive()
    process.kill()
    process.join()


def test_killed_driver_loses_no_finished_trial(ray_session: str, tmp_path: Path) -> None:
    spec = tmp_path / "killed.yaml"
    spec.write_text(SPEC)
    (hold := tmp_path / "hold").touch()
    chance = random.Random(0)
    known = pd.DataFrame()
    for _ in range(KILLS):
        run_until_killed(spec, tmp_path, ray_session, chance)
        now = finished(tmp_path / "killed")
        if len(known):
            pd.testing.assert_frame_equal(now.loc[known.index], known)
        known = now
    hold.unlink()
    last = StudyRun(tuner.load_spec(spec), tmp_path, trainable=HeldTrial)
    results = last.run()

    pd.testing.assert_frame_equal(results.trials.set_index("number").loc[known.index], known)
    assert list(results.trials["number"]) == list(range(TRIALS))
    assert set(results.trials["state"]) <= {"COMPLETE", "PRUNED"}
    assert results.trials["attempt"].max() > 1
    for number, epochs in results.epochs.groupby("number"):
        run = results.trials["epochs_run"][int(str(number))]
        assert list(epochs["epoch"]) == list(range(1, run + 1))
    states = results.folder.tables(results.spec).history("trials")
    assert not (states["state"] == "FAILED").any()  # being interrupted is no failure
    assert (states["state"] == "PAUSED").sum() > TRIALS / 2
    assert (results.trials["state"] == "COMPLETE").any()
    assert_rebuilt(last, results)
