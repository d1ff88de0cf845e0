"""Trials that wait at a rung: who goes on, and what a resume finds."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ray.tune.search import Searcher

from tests.search.test_searcher import EPOCHS, Driven, accuracy, study, told
from tuner.config.study import StudyConfig
from tuner.search.asha import Recorded

PROMOTE = {"asha": {"type": "promote", "grace_period": 1, "reduction_factor": 2, "min_trials": 2}}


def promoting(trials: int = 12, **more: Any) -> StudyConfig:
    """Return a study with rungs at the first and the second of three epochs."""
    return study(trials=trials, stopping=PROMOTE, **more)


def assert_whole(driven: Driven, trials: int) -> pd.DataFrame:
    """Assert that every trial has ended, with each epoch once. Return the trials."""
    table = driven.tables.trials()
    assert list(table["number"]) == list(range(trials))
    assert set(table["state"]) <= {"COMPLETE", "PRUNED", "FAILED"}
    for number, epochs in driven.tables.epochs().groupby("number"):
        run = int(table["epochs_run"][int(str(number))])
        assert list(epochs["epoch"]) == list(range(1, run + 1))
    told = driven.tables.history("decisions").groupby(["number", "rung", "verdict"]).size()
    assert (told == 1).all()
    return table


@pytest.mark.slow
def test_waiting_trials_go_on_or_are_pruned(tmp_path: Path) -> None:
    driven = Driven(promoting(), tmp_path).run()
    table = assert_whole(driven, 12)
    history = driven.tables.history("trials")
    paused = history[history["state"] == "PAUSED"]
    assert len(paused) > 6
    assert (paused["value"] == [accuracy_of(driven, n, e) for n, e in numbers_and_epochs(paused)]).all()
    complete = table[table["state"] == "COMPLETE"]
    assert len(complete) >= 1
    went_on = driven.tables.history("decisions").query("verdict == 'promote'")
    again = history[(history["state"] == "RUNNING") & (history["attempt"] > 1)]
    assert sorted(again["number"]) == sorted(went_on["number"])
    assert (driven.recorder._rows, driven.searcher._optuna._asked) == ({}, {})


def numbers_and_epochs(rows: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(row["number"]), int(row["epochs_run"])) for row in rows.to_dict("records")]


def accuracy_of(driven: Driven, number: int, epoch: int) -> float:
    """Return what a trial measured at an epoch."""
    (proposal,) = {p.number: p for p in driven.proposals if p.number == number}.values()
    return accuracy({"parameters": proposal.parameters, "seed": proposal.seed}, epoch)


@pytest.mark.slow
@pytest.mark.parametrize("calls", [3, 11, 22, 35])
def test_interrupted_study_waits_as_before(calls: int, tmp_path: Path) -> None:
    before = Driven(promoting(), tmp_path).run(calls)
    before.recorder.flush_all()
    waiting, rungs = dict(before.scheduler.waiting), before.scheduler.rungs
    after = before.killed()
    assert dict(after.scheduler.waiting) == waiting
    assert {k: sorted(v.items()) for k, v in after.scheduler.rungs.items()} == {
        k: sorted(v.items()) for k, v in rungs.items()
    }
    assert told(after.searcher.study.trials) == told(before.searcher.study.trials)
    states = after.tables.trials().set_index("number")["state"]
    assert set(states[states == "PAUSED"].index) == set(waiting)
    after.run()
    assert_whole(after, 12)


@pytest.mark.slow
def test_study_killed_again_and_again_ends_whole(tmp_path: Path) -> None:
    driven = Driven(promoting(), tmp_path)
    for calls in (4, 6, 8):
        driven = driven.run(calls).killed()
    assert_whole(driven.run(), 12)


@pytest.mark.slow
def test_decision_without_its_row_is_carried_out(tmp_path: Path) -> None:
    """As a kill leaves it between the tables `decisions` and `trials`."""
    driven = Driven(promoting(), tmp_path).run(9)
    driven.recorder.flush_all()
    waiting = sorted(driven.scheduler.waiting)
    assert waiting
    number = driven.scheduler.finish()
    assert number is not None
    driven.recorder._writer._tables.flush()
    running = next(trial.config["number"] for trial in driven.live)
    row = {"number": running, "attempt": driven.recorder._attempts[running], "bracket": 0, "rung": 1.0}
    driven.tables.append("decisions", {**row, "study": "s", "epoch": 1, "value": 0.1, "verdict": "wait"})
    driven.tables.flush()

    after = driven.killed()
    states = after.tables.trials().set_index("number")
    assert (states["state"][number], states["attempt"][number]) == ("RUNNING", 2)
    assert states["state"][running] == "PAUSED"
    assert set(after.scheduler.waiting) == {*waiting, running} - {number}
    after.run()
    assert_whole(after, 12)


@pytest.mark.slow
def test_waiting_trials_keep_their_rows(tmp_path: Path) -> None:
    driven = Driven(promoting(), tmp_path).run(9)
    driven.recorder.flush_all()
    before = driven.tables.trials().query("state == 'PAUSED'")
    after = driven.killed().run()
    ended = after.tables.trials().set_index("number").loc[before["number"]].reset_index()
    unchanged = ["number", "seed", "started_at", "code", "purpose", "param_learning_rate"]
    pd.testing.assert_frame_equal(ended[unchanged], before[unchanged].reset_index(drop=True), check_dtype=False)


def test_best_trial_finishes_a_small_study(tmp_path: Path) -> None:
    for trials in (1, 2):
        rule = {"asha": {"type": "promote", "grace_period": 1, "min_trials": 3}}
        driven = Driven(study(trials=trials, stopping=rule), tmp_path / str(trials)).run()
        table = assert_whole(driven, trials)
        assert table["state"].tolist().count("COMPLETE") == 1
        assert table["epochs_run"].max() == EPOCHS
        verdicts = driven.tables.history("decisions")["verdict"].tolist()
        assert verdicts.count("finish") == trials  # because trial 1 ends early, although it was best


@pytest.mark.slow
def test_repeats_get_as_many_finalists(tmp_path: Path) -> None:
    driven = Driven(promoting(8, repeats={"top": 3, "seeds": 2}), tmp_path).run()
    table = driven.tables.trials()
    searched, repeats = table[table["purpose"] == "search"], table[table["purpose"] == "repeat"]
    assert (searched["state"] == "COMPLETE").sum() >= 3
    assert len(repeats) == 6
    assert set(repeats["state"]) == {"COMPLETE"}
    assert not set(repeats["number"]) & set(driven.tables.history("decisions")["number"])


def test_urgent_study_finishes_its_best_trial(tmp_path: Path) -> None:
    rule = {"asha": {"type": "promote", "grace_period": 1, "min_trials": 20}}
    driven = Driven(study(trials=40, stopping=rule), tmp_path)
    driven.searcher._paused._is_urgent = driven.searcher.is_paused
    driven.run(16).recorder.flush_all()
    finished = driven.tables.history("decisions").query("verdict == 'finish'")["number"]
    assert len(finished) == 1  # because one complete trial suffices
    states = driven.tables.trials().set_index("number")["state"]
    assert states[finished.iloc[0]] == "COMPLETE"
    assert (states == "PAUSED").any()


def test_search_with_waiting_trials_is_not_finished(tmp_path: Path) -> None:
    driven = Driven(promoting(4), tmp_path, slots=4)
    for _ in range(4):
        driven.start()
    assert driven.start() is None  # because trials that run may still wait and go on
    driven.run()
    assert driven.start() == Searcher.FINISHED


@pytest.mark.slow
def test_extended_study_compares_with_earlier_trials(tmp_path: Path) -> None:
    part = Driven(promoting(6), tmp_path).run()
    earlier = part.tables.trials()
    after = part.killed(promoting(12)).run()
    table = assert_whole(after, 12)
    pd.testing.assert_frame_equal(table.head(6), earlier)
    ranked = after.tables.history("decisions").query("number >= 6 and rung == 1")
    assert ranked["of"].min() > 4


def test_recorded_verdict_is_go_by_default() -> None:
    assert Recorded(0, 1.0, 0.5).verdict == "go"
