"""The schedulers: Ray's own verdicts, each of them written down, and refilled from what was recorded."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any, TypeVar

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from tuner.config.study import StudyConfig, parse_spec
from tuner.search.schedulers import Asha, MedianStopping, NoStopping, Scheduler, make_scheduler, rungs

STOP, CONTINUE = TrialScheduler.STOP, TrialScheduler.CONTINUE
TUNE: Any = None  # the controller, which none of these schedulers looks at
Decision = dict[str, Any]


def study(stopping: Any, epochs: int = 20, goal: str = "maximize", seed: int = 0) -> StudyConfig:
    return parse_spec(
        {
            "study": "compared",
            "training": {"architecture": "vazquez_base", "epochs": epochs},
            "space": {"learning_rate": {"float": [1e-4, 1e-1]}},
            "objective": {goal: {"maximize": "val_accuracy", "minimize": "val_loss"}[goal]},
            "search": {"seed": seed},
            "stopping": stopping,
        }
    )


class Played:
    """A scheduler that trials report to, as Ray Tune has them do it; all that it decides is kept."""

    def __init__(self, spec: StudyConfig) -> None:
        self.decisions: list[Decision] = []
        self.scheduler: Scheduler = make_scheduler(spec, self.decisions.append)
        self.metric = spec.objective[0].metric
        self.trials: dict[int, Trial] = {}
        self.values: dict[int, dict[int, float]] = {}

    def trial(self, number: int, purpose: str = "search") -> Trial:
        if number not in self.trials:
            self.trials[number] = Trial("played", config={"number": number, "purpose": purpose}, stub=True)
            self.scheduler.on_trial_add(TUNE, self.trials[number])
        return self.trials[number]

    def report(self, number: int, epoch: int, value: float, purpose: str = "search") -> str:
        """An epoch that is not the planned last; a trial that is stopped ends as Tune ends it."""
        trial, result = self.trial(number, purpose), {"epoch": epoch, self.metric: value}
        self.values.setdefault(number, {})[epoch] = value
        verdict = self.scheduler.on_trial_result(TUNE, trial, result)
        if verdict == STOP:
            self.scheduler.on_trial_complete(TUNE, trial, result)
        return verdict

    def finish(self, number: int, epoch: int, value: float, purpose: str = "search") -> None:
        """The planned last epoch: Tune does not ask, it tells."""
        self.values.setdefault(number, {})[epoch] = value
        self.scheduler.on_trial_complete(TUNE, self.trial(number, purpose), {"epoch": epoch, self.metric: value})

    def verdicts(self) -> list[tuple[int, float, int, str]]:
        return [(d["number"], d["rung"], d["epoch"], d["verdict"]) for d in self.decisions]


P = TypeVar("P", bound=Played)


def play(played: P, seed: int, trials: int, longest: int) -> P:
    """Four trials side by side, the next to report drawn at random, until all are at their end or stopped."""
    draw = np.random.default_rng(seed)
    left = {number: int(draw.choice([longest, longest, max(1, longest // 2)])) for number in range(trials)}
    planned = dict(left)
    while live := [number for number in left if left[number]][:4]:
        number = int(draw.choice(live))
        left[number] -= 1
        epoch = planned[number] - left[number]
        value = round(float(draw.normal(number % 5 + epoch / 10, 1)), 2)
        if not left[number]:
            played.finish(number, epoch, value)
        elif played.report(number, epoch, value) == STOP:
            left[number] = 0
    return played


class BesideRay(Played):
    """Ours beside Ray's own scheduler: at every report both must say the same."""

    def __init__(self, spec: StudyConfig, grace: int, factor: float) -> None:
        super().__init__(spec)
        mode = spec.objective[0].direction[:3]
        self.rays = AsyncHyperBandScheduler("epoch", self.metric, mode, spec.max_epochs, grace, factor)
        self.theirs: dict[int, Trial] = {}

    def of_ray(self, number: int) -> Trial:
        if number not in self.theirs:
            self.theirs[number] = Trial("theirs", stub=True)
            self.rays.on_trial_add(TUNE, self.theirs[number])
        return self.theirs[number]

    def report(self, number: int, epoch: int, value: float, purpose: str = "search") -> str:
        verdict, result = super().report(number, epoch, value, purpose), {"epoch": epoch, self.metric: value}
        assert verdict == self.rays.on_trial_result(TUNE, self.of_ray(number), result)
        if verdict == STOP:
            self.rays.on_trial_complete(TUNE, self.of_ray(number), result)
        return verdict

    def finish(self, number: int, epoch: int, value: float, purpose: str = "search") -> None:
        super().finish(number, epoch, value, purpose)
        self.rays.on_trial_complete(TUNE, self.of_ray(number), {"epoch": epoch, self.metric: value})


# --- ASHA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize(("grace", "factor", "epochs"), [(1, 3, 20), (2, 2, 9), (1, 2.5, 16), (3, 4, 3)])
def test_asha_says_what_rays_own_scheduler_says(goal: str, grace: int, factor: float, epochs: int) -> None:
    for seed in range(12):
        spec = study({"asha": {"grace_period": grace, "reduction_factor": factor}}, epochs, goal)
        both = play(BesideRay(spec, grace, factor), seed, 30, epochs)
        number_of = {trial.trial_id: number for number, trial in both.theirs.items()}
        sign = 1 if goal == "maximize" else -1
        assert both.scheduler.rungs == {
            (0, milestone): {number_of[key]: sign * value for key, value in recorded.items()}
            for milestone, recorded in both.rays._brackets[0]._rungs
        }


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize("rule", ["asha", "hyperband"])
def test_every_verdict_is_one_row_that_explains_it(rule: str, goal: str) -> None:
    """The rows alone, in their order, give each cutoff and rank again."""
    for seed in range(6):
        played = play(Played(study({rule: {"grace_period": 1, "reduction_factor": 3}}, 27, goal, seed)), seed, 40, 27)
        sign = 1 if goal == "maximize" else -1
        before: dict[tuple[int, float], list[float]] = {}
        for row in played.decisions:
            others = before.setdefault((row["bracket"], row["rung"]), [])
            assert row["value"] == played.values[row["number"]][row["epoch"]]
            assert row["epoch"] == max(row["rung"], 1)
            assert row["of"] == len(others) + 1
            assert row["rank"] == 1 + sum(sign * other > sign * row["value"] for other in others)
            if not others:
                assert row["cutoff"] is None
                assert row["verdict"] != "stop"
            else:
                assert row["cutoff"] == pytest.approx(sign * np.percentile([sign * v for v in others], 200 / 3))
                if row["verdict"] != "complete":
                    assert (row["verdict"] == "stop") == (sign * row["value"] < sign * row["cutoff"])
            others.append(row["value"])
        keys = [(row["number"], row["bracket"], row["rung"]) for row in played.decisions]
        assert len(keys) == len(set(keys))
        verdicts = {row["verdict"] for row in played.decisions}
        assert {"go", "stop"} <= verdicts <= {"go", "stop", "complete"}
        assert played.scheduler.rungs.keys() >= before.keys()
        for place, recorded in played.scheduler.rungs.items():
            assert list(recorded.values()) == before.get(place, [])


def test_the_last_epoch_of_a_trial_is_complete_whatever_its_value() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3}}, 9))
    for number, value in enumerate([0.9, 0.8, 0.1]):
        for epoch in range(1, 9):
            assert played.report(number, epoch, value + number) == CONTINUE
        played.finish(number, 9, value)
    last = [row for row in played.decisions if row["rung"] == 9]
    assert [(row["verdict"], row["value"], row["rank"], row["of"]) for row in last] == [
        ("complete", 0.9, 1, 1),
        ("complete", 0.8, 2, 2),
        ("complete", 0.1, 3, 3),
    ]
    assert [row["cutoff"] for row in last] == [None, 0.9, pytest.approx(0.8 + 0.2 / 3)]


def test_a_last_epoch_between_two_rungs_decides_nothing() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3}}, 20))
    for epoch in range(1, 5):
        played.report(0, epoch, 0.5)
    played.finish(0, 5, 0.6)
    assert played.verdicts() == [(0, 1.0, 1, "go"), (0, 3.0, 3, "go")]


def test_trials_of_different_planned_epochs_meet_at_equal_epochs() -> None:
    spec = parse_spec(
        {
            "study": "compared",
            "training": {"architecture": "vazquez_base"},
            "space": {"epochs": {"choice": [3, 12]}},
            "stopping": {"asha": {"grace_period": 1, "reduction_factor": 3}},
        }
    )
    played = Played(spec)
    for epoch in (1, 2):
        played.report(0, epoch, 0.5)
    played.finish(0, 3, 0.7)  # planned: 3
    assert played.report(1, 1, 0.6) == CONTINUE  # planned: 12
    assert played.report(1, 2, 0.6) == CONTINUE
    assert played.report(1, 3, 0.6) == STOP
    assert played.verdicts() == [(0, 1, 1, "go"), (0, 3, 3, "complete"), (1, 1, 1, "go"), (1, 3, 3, "stop")]


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
def test_refilled_from_what_was_reported_a_scheduler_goes_on_as_before(rule: str, goal: str) -> None:
    for seed in range(8):
        spec = study({rule: {"grace_period": 2}}, 20, goal, seed)
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


def test_a_resumed_trial_is_recorded_once_and_in_no_lower_rung() -> None:
    spec = study({"asha": {"grace_period": 1, "reduction_factor": 3}}, 20)
    before = Played(spec)
    for epoch in range(1, 6):
        before.report(0, epoch, epoch / 10)
    assert before.verdicts() == [(0, 1, 1, "go"), (0, 3, 3, "go")]
    recorded = before.scheduler.rungs

    after = Played(spec)
    after.scheduler.replay(0, before.values[0])
    for epoch in range(4, 9):  # from a checkpoint in the fourth epoch, under another id of Ray's
        assert after.report(0, epoch, epoch / 10) == CONTINUE
    assert after.verdicts() == []
    assert after.scheduler.rungs == recorded
    after.report(0, 9, 0.9)
    assert after.verdicts() == [(0, 9, 9, "go")]


def test_a_trial_that_is_tried_again_is_recorded_once() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3}}, 20))
    for epoch in (1, 2, 3, 4):
        played.report(0, epoch, 0.5)
    played.scheduler.on_trial_error(TUNE, played.trial(0))
    played.scheduler.on_trial_add(TUNE, played.trial(0))
    for epoch in range(1, 10):
        played.report(0, epoch, 0.6)
    assert played.verdicts() == [(0, 1, 1, "go"), (0, 3, 3, "go"), (0, 9, 9, "go")]
    assert played.scheduler.rungs[0, 3.0] == {0: 0.5}


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
def test_repeats_are_never_stopped_and_count_for_nobody(rule: str) -> None:
    played = play(Played(study({rule: {}}, 9)), 0, 10, 9)
    rungs_before, decided = played.scheduler.rungs, len(played.decisions)
    for epoch in range(1, 9):
        assert played.report(50, epoch, -100.0, "repeat") == CONTINUE
    played.finish(50, 9, -100.0, "repeat")
    assert played.scheduler.rungs == rungs_before
    assert len(played.decisions) == decided


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median", "none"])
@pytest.mark.parametrize("report", [{"val_accuracy": math.nan}, {"val_accuracy": math.inf}, {}])
def test_a_metric_that_is_absent_or_not_finite_is_passed_over(rule: str, report: dict[str, float]) -> None:
    played = Played(study("none" if rule == "none" else {rule: {}}, 9))
    play(played, 1, 10, 9)
    rungs_before = played.scheduler.rungs
    trial = played.trial(90)
    for result in ({"epoch": 1, **report}, {"epoch": 3, **report}, {"error": "loss is nan", "done": True}):
        assert played.scheduler.on_trial_result(TUNE, trial, result) == CONTINUE
    played.scheduler.on_trial_complete(TUNE, trial, {"error": "loss is nan", "done": True})
    played.scheduler.on_trial_complete(TUNE, played.trial(91), {"epoch": 3, **report})
    played.scheduler.on_trial_remove(TUNE, played.trial(92))
    assert played.scheduler.rungs == rungs_before
    assert not [row for row in played.decisions if row["number"] >= 90]


# --- Hyperband ----------------------------------------------------------------------------------------------------


def brackets_of(seed: int, trials: int) -> list[int]:
    played = Played(study({"hyperband": {"grace_period": 1, "reduction_factor": 3, "brackets": 3}}, 27, seed=seed))
    for number in range(trials):
        for epoch in (1, 3, 9):
            played.report(number, epoch, float(number))  # each better than all before it
    first = {row["number"]: row["bracket"] for row in reversed(played.decisions)}
    return [first[number] for number in range(trials)]


def test_brackets_are_drawn_from_the_seed_and_the_number_with_rays_odds() -> None:
    drawn = brackets_of(3, 1500)
    assert brackets_of(3, 50) == drawn[:50]
    assert brackets_of(4, 50) != drawn[:50]
    sizes = np.array([4, 3, 2])  # rungs at 1, 3, 9, 27; at 3, 9, 27; at 9, 27
    odds = np.exp(sizes) / np.exp(sizes).sum()
    counts = Counter(drawn)
    assert [counts[index] / 1500 for index in range(3)] == pytest.approx(odds, abs=0.04)


def test_a_later_bracket_begins_to_compare_a_rung_later() -> None:
    played = play(Played(study({"hyperband": {"grace_period": 1, "reduction_factor": 3}}, 27)), 2, 60, 27)
    seen = {index: {row["rung"] for row in played.decisions if row["bracket"] == index} for index in range(3)}
    assert [min(seen[index]) for index in range(3)] == [1, 3, 9]


def test_no_trial_lands_in_a_bracket_without_rungs() -> None:
    played = Played(study({"hyperband": {"grace_period": 2, "reduction_factor": 3, "brackets": 8}}, 6))
    for number in range(200):
        played.report(number, 1, 0.0)
        played.finish(number, 6, float(number))
    assert {row["number"] for row in played.decisions} == set(range(200))
    assert {row["bracket"] for row in played.decisions} == {0, 1}


# --- the median rule ----------------------------------------------------------------------------------------------


def test_the_median_rule_by_a_worked_example() -> None:
    played = Played(study({"median": {"grace_period": 2, "min_trials": 3}}, 9))
    for number, values in enumerate([(0.2, 0.4, 0.6), (0.1, 0.3, 0.2), (0.6, 0.8, 0.4)]):
        for epoch, value in enumerate(values, start=1):
            assert played.report(number, epoch, value) == CONTINUE
    assert played.decisions == []  # never three others that had come so far
    # Running means after two epochs: 0.3, 0.2, 0.7, their median 0.3; after three: 0.4, 0.2, 0.6, their median 0.4.
    assert played.report(3, 1, 0.0) == CONTINUE  # within the grace period
    assert played.report(3, 2, 0.35) == CONTINUE
    assert played.report(3, 3, 0.1) == STOP  # its best is still 0.35
    assert played.decisions == [
        {
            "number": 3,
            "bracket": 0,
            "rung": 2.0,
            "epoch": 2,
            "value": 0.35,
            "cutoff": pytest.approx(0.3),
            "rank": 2,
            "of": 4,
            "verdict": "go",
        },
        {
            "number": 3,
            "bracket": 0,
            "rung": 3.0,
            "epoch": 3,
            "value": 0.35,
            "cutoff": pytest.approx(0.4),
            "rank": 3,
            "of": 4,
            "verdict": "stop",
        },
    ]


def test_the_median_rule_where_lower_is_better() -> None:
    played = Played(study({"median": {"min_trials": 2}}, 9, "minimize"))
    for number, value in ((0, 1.0), (1, 2.0)):
        played.report(number, 1, value)
    assert played.report(2, 1, 1.4) == CONTINUE  # the median is 1.5
    assert played.report(3, 1, 1.6) == STOP  # the median of 1, 2, 1.4 is 1.4
    assert [(row["cutoff"], row["value"], row["rank"]) for row in played.decisions] == [(1.5, 1.4, 2), (1.4, 1.6, 3)]


def test_the_median_rule_bears_a_trial_that_has_not_reported_yet() -> None:
    played = Played(study({"median": {"min_trials": 1}}, 9))
    played.scheduler.replay(0, {})  # in flight when the study was interrupted
    assert played.report(1, 1, 0.5) == CONTINUE
    assert played.report(0, 1, 0.4) == STOP


# --- every scheduler ----------------------------------------------------------------------------------------------


def test_without_stopping_every_trial_goes_on() -> None:
    played = Played(study("none", 9))
    assert isinstance(played.scheduler, NoStopping)
    played.scheduler.replay(0, {1: 0.9})
    assert [played.report(1, epoch, -1.0) for epoch in range(1, 9)] == [CONTINUE] * 8
    assert played.decisions == []


def test_a_study_has_the_scheduler_that_it_names() -> None:
    kinds: Mapping[str, type] = {"asha": Asha, "hyperband": Asha, "median": MedianStopping, "none": NoStopping}
    for name, kind in kinds.items():
        assert type(Played(study(name)).scheduler) is kind


@pytest.mark.parametrize(
    ("stopping", "epochs", "expected"),
    [
        ({"asha": {"grace_period": 1, "reduction_factor": 3}}, 20, [1, 3, 9]),
        ({"asha": {"grace_period": 2, "reduction_factor": 2}}, 8, [2, 4]),  # at 8 nothing is left to be stopped
        ({"asha": {"grace_period": 1, "reduction_factor": 2.5}}, 10, [1, 3, 7]),
        ({"hyperband": {"grace_period": 1, "reduction_factor": 3}}, 20, [1, 3, 9]),
        ({"median": {"grace_period": 3}}, 7, [3, 4, 5, 6]),
        ("none", 20, []),
    ],
)
def test_rungs_tell_people_at_which_epochs_trials_are_compared(stopping: Any, epochs: int, expected: list[int]) -> None:
    spec = study(stopping, epochs)
    assert rungs(spec) == expected
    if "median" not in stopping and "hyperband" not in stopping:
        played = play(Played(spec), 0, 60, epochs)
        assert {row["epoch"] for row in played.decisions if row["verdict"] != "complete"} == set(expected)


@pytest.mark.parametrize("rule", ["asha", "hyperband", "median"])
def test_a_report_stays_cheap_after_a_thousand_trials(rule: str) -> None:
    played = Played(study({rule: {}}, 30))
    seconds: list[float] = []
    draw = np.random.default_rng(0)
    for number in range(1000):
        for epoch in range(1, 21):
            began = time.perf_counter()
            verdict = played.report(number, epoch, float(draw.normal()))
            seconds.append(time.perf_counter() - began)
            if verdict == STOP:
                break
    assert median(seconds[-500:]) < 0.002
