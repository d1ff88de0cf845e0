"""ASHA's verdicts beside those of Ray's own scheduler, and the rows that explain them."""

import math
import random
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler

from tests.support.schedulers import AS_RAY, CONTINUE, METRICS, STOP, TUNE, Played, play, study
from tests.support.streams import STREAMS
from tuner.config import sections
from tuner.config.study import parse_spec
from tuner.search.asha import Rungs, SuccessiveHalving
from tuner.search.schedulers import AshaScheduler, HyperbandScheduler


class BesideRay:
    """Our scheduler beside Ray's: at every report both must give the same verdict.

    Ray draws a trial's bracket from numpy's global generator. Here it gets our draw instead.
    """

    def __init__(self, chance: random.Random, factor: float) -> None:
        self.epochs = chance.randint(1, 40)
        grace = chance.randint(1, min(5, self.epochs))
        brackets = chance.choice([1, 1, 1, 2, 3, 5])
        goal = chance.choice(["maximize", "minimize"])
        self.metric, self.sign = METRICS[goal], 1 if goal == "maximize" else -1
        objective = sections.Objective.model_validate({goal: self.metric})
        self.seed, self.decisions = chance.randrange(1000), list[dict[str, Any]]()
        rungs = {"grace_period": grace, "reduction_factor": factor}
        self.ours: AshaScheduler | HyperbandScheduler
        if brackets == 1:
            asha = sections.AshaConfig.model_validate(rungs | AS_RAY)
            self.ours = AshaScheduler(asha, [objective], self.epochs, self.decisions.append)
        else:
            rule = sections.HyperbandConfig.model_validate(rungs | {"brackets": brackets})
            self.ours = HyperbandScheduler(rule, objective, self.epochs, self.seed, self.decisions.append)
        self.rays = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=self.metric,
            mode=goal[:3],
            max_t=self.epochs,
            grace_period=grace,
            reduction_factor=factor,
            brackets=brackets,
        )
        self.brackets = len({bracket for bracket, _ in self.ours.rungs})
        self.trials: dict[int, Trial] = {}

    def add(self, number: int) -> None:
        """Add a trial to both, or once more after an error."""
        if number not in self.trials:
            config = {"number": number, "purpose": "search"}
            self.trials[number] = Trial("both", config=config, stub=True, trial_id=str(number))
        self.ours.on_trial_add(TUNE, self.trials[number])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "choice", lambda _, p: self.draw(number, p))
            self.rays.on_trial_add(TUNE, self.trials[number])

    def draw(self, number: int, odds: Any) -> int:
        """Return our bracket by Ray's odds, of which those without rungs are left out."""
        odds = odds[: self.brackets] / odds[: self.brackets].sum()
        return int(np.random.default_rng([self.seed, number]).choice(len(odds), p=odds))

    def report(self, number: int, epoch: int, value: float) -> str:
        """Report to both and compare. A stopped trial ends as Tune ends it."""
        trial, result = self.trials[number], {"epoch": epoch, self.metric: value}
        verdict = self.ours.on_trial_result(TUNE, trial, result)
        assert verdict == self.rays.on_trial_result(TUNE, trial, result)
        if verdict == STOP:
            self.complete(number, result)
        return verdict

    def complete(self, number: int, result: dict[str, Any]) -> None:
        """End a trial for both."""
        self.ours.on_trial_complete(TUNE, self.trials[number], result)
        self.rays.on_trial_complete(TUNE, self.trials[number], result)

    def crash(self, number: int) -> None:
        """Let a trial be tried again."""
        self.ours.on_trial_error(TUNE, self.trials[number])
        self.rays.on_trial_error(TUNE, self.trials[number])
        self.add(number)

    def rungs_of_ray(self) -> Rungs:
        """Return what Ray has recorded, as we name it and without NaN."""
        rungs: Rungs = {}
        for index, bracket in enumerate(self.rays._brackets):
            for milestone, recorded in bracket._rungs:
                finite = {int(key): v for key, v in recorded.items() if math.isfinite(v)}
                rungs[index, milestone] = {n: self.sign * value for n, value in finite.items()}
        return rungs


def stream(both: BesideRay, chance: random.Random) -> None:
    """Let a few trials report in a random order until all have ended."""
    digits, trials = chance.choice([0, 1, 2, 15]), chance.randint(2, 16)
    planned = [chance.choice([both.epochs, chance.randint(1, both.epochs)]) for _ in range(trials)]
    side_by_side, waiting, at = chance.randint(1, 5), list(range(trials)), dict[int, int]()
    while waiting or at:
        while waiting and len(at) < side_by_side:
            at[waiting[0]] = 0
            both.add(waiting.pop(0))
        number = chance.choice(list(at))
        at[number] += chance.choice([1, 1, 1, 1, 4])  # some epochs are not validated
        epoch, value, fate = at[number], round(chance.gauss(0, 1), digits), chance.random()
        if fate < 0.01 and epoch < both.epochs:
            both.report(number, epoch, math.nan)
            both.complete(number, {"error": "loss is nan"})
            ended = True
        elif fate < 0.02:
            both.crash(number)
            at[number] = chance.randrange(epoch)
            ended = False
        elif epoch >= planned[number] and fate < 0.9:
            both.complete(number, {"epoch": epoch, both.metric: value})
            ended = True
        else:
            ended = both.report(number, epoch, value) == STOP
            planned[number] = max(planned[number], epoch + 1)
        if ended:
            del at[number]


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0, 1.5])
@pytest.mark.slow
def test_asha_decides_as_ray_does(factor: float) -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(STREAMS // 4):
        chance = random.Random(seed)
        both = BesideRay(chance, factor)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            stream(both, chance)
        recorded = {rung: values for rung, values in both.rungs_of_ray().items() if values}
        ours = {rung: values for rung, values in both.ours.rungs.items() if values}
        assert ours == recorded, f"seed {seed}"
        verdicts.update(decision["verdict"] for decision in both.decisions)
    assert min(verdicts[name] for name in ("go", "stop", "complete")) > STREAMS / 10


@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize("rule", ["asha", "hyperband"])
def test_decisions_explain_every_verdict(rule: str, goal: str) -> None:
    """The rows alone, in their order, give each cutoff and rank."""
    for seed in range(6):
        settings = {"grace_period": 1, "reduction_factor": 3}
        spec = study({rule: settings | (AS_RAY if rule == "asha" else {})}, 27, goal, seed)
        played = play(Played(spec), seed, 40, 27)
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
                percentile = np.percentile([sign * other for other in others], 200 / 3)
                assert row["cutoff"] == pytest.approx(sign * percentile)
                if row["verdict"] != "complete":
                    is_worse = sign * row["value"] < sign * row["cutoff"]
                    assert (row["verdict"] == "stop") == is_worse
            others.append(row["value"])
        keys = [(row["number"], row["bracket"], row["rung"]) for row in played.decisions]
        assert len(keys) == len(set(keys))
        verdicts = {row["verdict"] for row in played.decisions}
        assert {"go", "stop"} <= verdicts <= {"go", "stop", "complete"}
        assert played.scheduler.rungs.keys() >= before.keys()
        for place, recorded in played.scheduler.rungs.items():
            assert list(recorded.values()) == before.get(place, [])


def test_asha_completes_last_epochs_whatever_their_value() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY}, 9))
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


def test_asha_decides_nothing_between_two_rungs() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY}, 20))
    for epoch in range(1, 5):
        played.report(0, epoch, 0.5)
    played.finish(0, 5, 0.6)
    assert played.verdicts() == [(0, 1.0, 1, "go"), (0, 3.0, 3, "go")]


def test_trials_of_unequal_length_share_rungs() -> None:
    spec = parse_spec(
        {
            "study": "compared",
            "training": {"architecture": "vazquez_base"},
            "space": {"epochs": {"choice": [3, 12]}},
            "stopping": {"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY},
        }
    )
    played = Played(spec)
    for epoch in (1, 2):
        played.report(0, epoch, 0.5)
    played.finish(0, 3, 0.7)  # planned: 3
    assert played.report(1, 1, 0.6) == CONTINUE  # planned: 12
    assert played.report(1, 2, 0.6) == CONTINUE
    assert played.report(1, 3, 0.6) == STOP
    assert played.verdicts() == [
        (0, 1, 1, "go"),
        (0, 3, 3, "complete"),
        (1, 1, 1, "go"),
        (1, 3, 3, "stop"),
    ]


def test_resumed_trial_enters_no_lower_rung() -> None:
    spec = study({"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY}, 20)
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


def test_retried_trial_is_recorded_once() -> None:
    played = Played(study({"asha": {"grace_period": 1, "reduction_factor": 3} | AS_RAY}, 20))
    for epoch in (1, 2, 3, 4):
        played.report(0, epoch, 0.5)
    played.scheduler.on_trial_error(TUNE, played.trial(0))
    played.scheduler.on_trial_add(TUNE, played.trial(0))
    for epoch in range(1, 10):
        played.report(0, epoch, 0.6)
    assert played.verdicts() == [(0, 1, 1, "go"), (0, 3, 3, "go"), (0, 9, 9, "go")]
    assert played.scheduler.rungs[0, 3.0] == {0: 0.5}


@pytest.mark.parametrize(("factor", "epochs"), [(3.0, 243), (5.0, 125), (10.0, 1000), (2.0, 8)])
def test_highest_rung_stands_where_ray_has_it(factor: float, epochs: int) -> None:
    rays = AsyncHyperBandScheduler("epoch", "value", "max", epochs, 1, factor)
    milestones = [milestone for _, milestone in SuccessiveHalving(1, epochs, factor).rungs]
    assert milestones == [milestone for milestone, _ in reversed(rays._brackets[0]._rungs)]


# --- several brackets: Hyperband ------------------------------------------------------------------


def brackets_of(seed: int, trials: int) -> list[int]:
    """Return the brackets of the first trials of a study."""
    rules = SuccessiveHalving(1, 27, 3, brackets=3, seed=seed)
    for number in range(trials):
        rules.replay(number, {9: float(number)})
    found = {number: bracket for (bracket, _), values in rules.rungs.items() for number in values}
    return [found[number] for number in range(trials)]


def test_brackets_follow_seed_and_number() -> None:
    sizes = np.array([4, 3, 2])  # rungs at 1, 3, 9, 27; at 3, 9, 27; at 9, 27
    odds = np.exp(sizes) / np.exp(sizes).sum()
    drawn = brackets_of(3, 3000)
    assert drawn == [np.random.default_rng([3, n]).choice(3, p=odds) for n in range(3000)]
    assert brackets_of(3, 50) == drawn[:50]
    assert brackets_of(4, 50) != drawn[:50]
    counts = Counter(drawn)
    assert [counts[index] / 3000 for index in range(3)] == pytest.approx(odds, abs=0.03)


def test_later_brackets_begin_one_rung_later() -> None:
    spec = study({"hyperband": {"grace_period": 1, "reduction_factor": 3}}, 27)
    played = play(Played(spec), 2, 60, 27)
    seen: dict[int, set[float]] = {0: set(), 1: set(), 2: set()}
    for row in played.decisions:
        seen[row["bracket"]].add(row["rung"])
    assert [min(rungs) for rungs in seen.values()] == [1, 3, 9]


def test_brackets_without_rungs_get_no_trial() -> None:
    rule = {"hyperband": {"grace_period": 2, "reduction_factor": 3, "brackets": 8}}
    played = Played(study(rule, 6))
    for number in range(200):
        played.report(number, 1, 0.0)
        played.finish(number, 6, float(number))
    assert {row["number"] for row in played.decisions} == set(range(200))
    assert {row["bracket"] for row in played.decisions} == {0, 1}
