"""SIGKILL of the driver, again and again, in the middle of one study."""

import random
import time
from pathlib import Path

import pandas as pd
import pytest

import tuner
from tests.support import study_driver
from tests.support.trainables import HeldTrial
from tests.support.waiting import wait_until
from tuner.results.schema import FINISHED
from tuner.search.optuna_study import rebuild_study
from tuner.search.schedulers import make_scheduler
from tuner.study.run import StudyRun

TRIALS = 30
SPEC = f"""
study: killed
dataset: {{name: digits, validation: 0.2}}
training: {{architecture: vazquez_base, batch_size: 32}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
  epochs: {{choice: [4, 12]}}
search: {{sampler: tpe, trials: {TRIALS}}}
stopping: {{asha: {{type: TYPE, grace_period: 2, reduction_factor: 3}}}}
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
    before = {*folder.glob("trials/part-*")}
    process = study_driver.start(spec, results, address, HeldTrial)
    wanted = 0 if (early := chance.random() < 0.2) else chance.randint(3, 9)
    wait_until(lambda: len({*folder.glob("trials/part-*")} - before) >= wanted or are_at_rest(folder))
    time.sleep(chance.uniform(0, 2 if early else 0.5))
    assert process.is_alive()
    process.kill()
    process.join()


@pytest.mark.parametrize(("kind", "kills"), [("stop", 4), ("promote", 10)])
def test_killed_driver_loses_no_finished_trial(kind: str, kills: int, ray_session: str, tmp_path: Path) -> None:
    spec = tmp_path / "killed.yaml"
    spec.write_text(SPEC.replace("TYPE", kind))
    (hold := tmp_path / "hold").touch()
    chance = random.Random(0)
    known = pd.DataFrame()
    for _ in range(kills):
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
    assert (states["state"] == "PAUSED").sum() > (TRIALS / 2 if kind == "promote" else 1)
    assert (results.trials["state"] == "COMPLETE").any()

    rebuilt = rebuild_study(results.spec, results.trials, results.epochs)
    for live, again in zip(last.searcher.study.trials, rebuilt.trials, strict=True):
        assert (live.state, live.params, live.value, live.distributions) == (
            again.state,
            again.params,
            again.value,
            again.distributions,
        )
        assert live.intermediate_values == again.intermediate_values
    scheduler = make_scheduler(results.spec, lambda _: None)
    for number, epochs in results.epochs.groupby("number"):
        scheduler.replay(int(str(number)), dict(zip(epochs["epoch"], epochs["val_accuracy"], strict=True)))
    assert scheduler.rungs == last.scheduler.rungs
    told = results.decisions.groupby(["number", "rung", "verdict"]).size()
    assert (told == 1).all()
