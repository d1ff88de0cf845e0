"""Behaviour of every scheduler: refill, pass over, reuse workers."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from tests.support.schedulers import AS_RAY, CONTINUE, STOP, TUNE, Played, play, study
from tuner.search.ray_internals import allow_one_more_idle_worker
from tuner.search.schedulers import AshaScheduler, HyperbandScheduler, MedianScheduler, NoStopping, rung_epochs

RULES = ["asha", "hyperband", "median"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_replayed_scheduler_decides_as_the_live_one(rule: str, goal: str) -> None:
    for seed in range(8):
        settings = {"grace_period": 2} | (AS_RAY if rule == "asha" else {})
        spec = study({rule: settings}, 20, goal, seed)
        live = play(Played(spec), seed, 25, 20)
        again = Played(spec)
        for number in sorted(live.values, reverse=True):
            again.scheduler.replay(number, live.values[number])
        assert again.scheduler.rungs == live.scheduler.rungs
        assert any(again.scheduler.rungs.values())
        assert again.decisions == []
        done = len(live.decisions)
        for played in (live, again):
            draw = np.random.default_rng(seed)
            for number in range(100, 125):
                for epoch in range(1, 20):
                    if played.report(number, epoch, float(draw.normal(2, 2))) == STOP:
                        break
        assert again.decisions == live.decisions[done:]
        assert {row["verdict"] for row in again.decisions} == {"go", "stop"}


@pytest.mark.parametrize("rule", RULES)
def test_replay_passes_over_values_not_finite(rule: str) -> None:
    played = Played(study({rule: {}}, 9))
    played.scheduler.replay(0, {1: math.nan, 3: math.inf})
    assert not any(played.scheduler.rungs.values())


@pytest.mark.parametrize("rule", RULES)
def test_repeats_are_never_compared(rule: str) -> None:
    played = play(Played(study({rule: {}}, 9)), 0, 10, 9)
    rungs_before, decided = played.scheduler.rungs, len(played.decisions)
    for epoch in range(1, 9):
        assert played.report(50, epoch, -100.0, "repeat") == CONTINUE
    played.finish(50, 9, -100.0, "repeat")
    assert played.scheduler.rungs == rungs_before
    assert len(played.decisions) == decided


@pytest.mark.parametrize("rule", [*RULES, "none"])
@pytest.mark.parametrize("report", [{"val_accuracy": math.nan}, {"val_accuracy": math.inf}, {}])
def test_scheduler_passes_over_metrics_not_finite(rule: str, report: dict[str, float]) -> None:
    played = Played(study("none" if rule == "none" else {rule: {}}, 9))
    play(played, 1, 10, 9)
    rungs_before = played.scheduler.rungs
    trial = played.trial(90)
    failed = {"error": "loss is nan", "done": True}
    for result in ({"epoch": 1, **report}, {"epoch": 3, **report}, failed):
        assert played.scheduler.on_trial_result(TUNE, trial, result) == CONTINUE
    played.scheduler.on_trial_complete(TUNE, trial, failed)
    played.scheduler.on_trial_complete(TUNE, played.trial(91), {"epoch": 3, **report})
    played.scheduler.on_trial_remove(TUNE, played.trial(92))
    assert played.scheduler.rungs == rungs_before
    assert not [row for row in played.decisions if row["number"] >= 90]


def test_no_stopping_lets_every_trial_go_on() -> None:
    played = Played(study("none", 9))
    assert isinstance(played.scheduler, NoStopping)
    played.scheduler.replay(0, {1: 0.9})
    assert [played.report(1, epoch, -1.0) for epoch in range(1, 9)] == [CONTINUE] * 8
    assert played.decisions == []


def test_make_scheduler_follows_the_study() -> None:
    kinds: Mapping[str, type] = {
        "asha": AshaScheduler,
        "hyperband": HyperbandScheduler,
        "median": MedianScheduler,
        "none": NoStopping,
    }
    for name, kind in kinds.items():
        assert type(Played(study(name)).scheduler) is kind


@pytest.mark.parametrize(
    ("stopping", "epochs", "expected"),
    [
        ({"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY}, 20, [1, 3, 9]),
        ({"asha": {"grace_period": 2, "reduction_factor": 2} | AS_RAY}, 8, [2, 4]),  # none stops at 8
        ({"asha": {"grace_period": 1, "reduction_factor": 2.5} | AS_RAY}, 10, [1, 3, 7]),
        ({"hyperband": {"grace_period": 1, "reduction_factor": 3}}, 20, [1, 3, 9]),
        ({"median": {"grace_period": 3}}, 7, [3, 4, 5, 6]),
        ("none", 20, []),
    ],
)
def test_rung_epochs_are_where_verdicts_fall(
    stopping: Any,
    epochs: int,
    expected: list[int],
) -> None:
    spec = study(stopping, epochs)
    assert rung_epochs(spec) == expected
    if "median" not in stopping and "hyperband" not in stopping:
        played = play(Played(spec), 0, 60, epochs)
        decided = [row for row in played.decisions if row["verdict"] != "complete"]
        assert {row["epoch"] for row in decided} == set(expected)


def test_tune_still_counts_idle_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails when an upgrade of Ray takes the cache of workers away."""
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # or Tune asks a running Ray
    tune_controller = TuneController()._wrapped()  # what Tune hands to its scheduler
    trial = Trial("added", stub=True)
    trial.create_placement_group_factory()
    for expected in (1, 2):
        allow_one_more_idle_worker(tune_controller, trial)
        assert tune_controller._actor_cache.total_max_objects == expected


def test_placed_retry_leaves_no_idle_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # or Tune asks a running Ray
    controller, scheduler = TuneController(), NoStopping()
    for config, kept in (({"alone": True}, 0), ({}, 1), ({"alone": True}, 1)):
        trial = Trial("added", config=config, stub=True)
        trial.create_placement_group_factory()
        scheduler.on_trial_add(controller._wrapped(), trial)
        assert controller._actor_cache.total_max_objects == kept
