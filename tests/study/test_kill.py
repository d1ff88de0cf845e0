"""SIGKILL of the driver, again and again, in the middle of one study."""

import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import tuner
from tests.study.test_learning import write
from tests.support.forked import start_driver
from tests.support.rebuilding import assert_rebuilt
from tests.support.trainables import HeldRepeatTrial, HeldTrial
from tests.support.waiting import wait_until
from tuner.config.study import parse_spec
from tuner.results.schema import FINISHED
from tuner.study.run import StudyRun

pytestmark = pytest.mark.cluster

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


CONFIRMED = {
    "study": "confirmed",
    "dataset": {"name": "digits", "train": 128, "validation": 64},
    "training": {"architecture": "vazquez_base", "batch_size": 64, "epochs": 3},
    "space": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
    "search": {"trials": 3, "try_first": [{"learning_rate": 0.003}], "learn_from": ["earlier"]},
    "resources": {"concurrent": 1},
    "repeats": {"top": 1, "seeds": 2},
}


def kill_when(folder: Path, spec: Path, address: str, is_time: Callable[[], bool]) -> None:
    """Run the study with held repeats, and kill its driver at an event."""
    process = start_driver(spec, folder.parent, address, HeldRepeatTrial)
    wait_until(lambda: bool({*folder.glob("trials/part-*")}) and is_time())
    assert process.is_alive()
    process.kill()
    process.join()


def test_killed_confirmation_goes_on(ray_session: str, tmp_path: Path) -> None:
    """Kill a study with named and learned trials at once, and again in the middle of its repeats."""
    folder, spec, hold = tmp_path / "confirmed", tmp_path / "confirmed.yaml", tmp_path / "hold"
    earlier = {"study": "earlier", "training": CONFIRMED["training"], "space": CONFIRMED["space"]}
    write(tmp_path, parse_spec(earlier), *({"learning_rate": rate} for rate in (0.001, 0.002)))
    spec.write_text(parse_spec(CONFIRMED).to_yaml())
    hold.touch()
    kill_when(folder, spec, ray_session, lambda: True)
    shutil.rmtree(tmp_path / "earlier")  # because the study keeps what it has learned

    def is_held() -> bool:
        epochs = tuner.load_study(folder).epochs
        return int((epochs["number"] == 4).sum()) == 1

    kill_when(folder, spec, ray_session, is_held)
    known = finished(folder)
    assert list(known.index) == [0, 1, 2, 3]
    hold.unlink()
    study = StudyRun(tuner.load_spec(spec), tmp_path, trainable=HeldRepeatTrial).run()

    trials = study.trials.set_index("number")
    pd.testing.assert_frame_equal(trials.loc[known.index], known)
    assert list(trials["state"]) == ["COMPLETE"] * 5
    assert list(trials["origin"]) == ["try_first", "learn_from", "learn_from", "repeat", "repeat"]
    assert list(trials["param_learning_rate"][:3]) == [0.003, 0.002, 0.001]
    assert trials["seed"].is_unique
    assert [len(epochs) for _, epochs in study.epochs.groupby("number")] == [3] * 5
    assert not (study.folder.tables(study.spec).history("trials")["state"] == "FAILED").any()
    assert study.best["confirmed"] == trials["value"][3:].mean()
