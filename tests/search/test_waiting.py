"""Rungs at which trials wait, beside a reference that sorts everything at every step."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.support.streams import STREAMS
from tuner.search.asha import Decision, Recorded
from tuner.search.waiting import PASSES, WaitingHalving


@dataclass
class Reference:
    """The rule by brute force. What has happened is a list of decisions, and nothing else is kept."""

    factor: float
    min_trials: int
    stops: bool
    sign: int
    rungs: list[float]
    rows: list[Decision] = field(default_factory=list)

    def values(self, rung: float) -> dict[int, float]:
        """Return the value of each trial at a rung, of which more is better."""
        return {row.number: self.sign * row.value for row in self.rows if row.rung == rung}

    def numbers(self, rung: float, *verdicts: str) -> set[int]:
        """Return the trials that got one of these verdicts at a rung."""
        return {row.number for row in self.rows if row.rung == rung and row.verdict in verdicts}

    def waiting(self, rung: float) -> list[int]:
        """Return the trials that wait at a rung, best first."""
        values = self.values(rung)
        waiting = self.numbers(rung, "wait") - self.numbers(rung, *PASSES)
        return sorted(waiting, key=lambda number: (-values[number], number))

    def places(self, count: int) -> int:
        """Return how many of so many trials may go on."""
        return int(count / self.factor) if count >= self.min_trials else 0

    def promotable(self) -> tuple[float, int] | None:
        """Return rung and number of the next trial to go on."""
        for rung in reversed(self.rungs):
            if waiting := self.waiting(rung):
                values = self.values(rung)
                best, gone = values[waiting[0]], self.numbers(rung, *PASSES)
                before = sum(v > best or (v == best and n in gone) for n, v in values.items())
                if before < self.places(len(values)):
                    return rung, waiting[0]
        return None

    def check(self, decision: Decision, ended: bool = False, finishing: bool = False) -> None:
        """Assert that a verdict at a rung is right, and keep it."""
        number, rung = decision.number, decision.rung
        before = self.values(rung)
        assert number not in before
        values = before | {number: self.sign * decision.value}
        self.check_cells(decision, before if self.stops else values, values)
        self.rows.append(Decision(**{**vars(decision), "verdict": "wait"}))
        if ended:
            expected = "complete"
        elif finishing:
            expected = "go"
        elif self.stops and len(values) >= self.min_trials:
            is_worse = decision.cutoff is not None and self.sign * (decision.value - decision.cutoff) < 0
            expected = "stop" if is_worse else "go"
        else:
            expected = "go" if self.promotable() == (rung, number) else "wait"
        assert decision.verdict == expected
        self.rows[-1] = decision
        if not ended and expected == "go" and not finishing and not self.stops:
            assert decision.rank <= self.places(len(values))

    def check_cells(self, decision: Decision, compared: dict[int, float], values: dict[int, float]) -> None:
        """Assert rank and number, and the cutoff where it is that of a promotion."""
        value = self.sign * decision.value
        assert decision.of == len(values)
        assert decision.rank == 1 + sum(other > value for other in values.values())
        if not self.stops:
            places = self.places(len(compared))
            best = sorted(compared.values(), reverse=True)
            assert decision.cutoff == (self.sign * best[places - 1] if places else None)

    def check_promoted(self, decision: Decision | None) -> None:
        """Assert that the trial that goes on is the right one, and keep the decision."""
        expected = self.promotable()
        assert (decision and (decision.rung, decision.number)) == expected
        if decision:
            assert decision.verdict == "promote"
            assert decision.rank <= self.places(decision.of)
            self.rows.append(decision)

    def check_finished(self, decision: Decision | None) -> None:
        """Assert that the best of the highest rung goes on, and keep the decision."""
        waiting = [(rung, self.waiting(rung)[0]) for rung in self.rungs if self.waiting(rung)]
        assert (decision and (decision.rung, decision.number)) == (waiting[-1] if waiting else None)
        if decision:
            assert decision.verdict == "finish"
            self.rows.append(decision)


class Stream:
    """A few workers that train random trials under a rule, which the reference checks."""

    def __init__(self, seed: int) -> None:
        chance = self.chance = random.Random(seed)
        self.epochs = chance.randint(2, 30)
        self.goal = chance.choice([1, -1])
        factor, grace = chance.choice([2.0, 3.0, 3.0, 4.0, 2.5]), chance.randint(1, 2)
        min_trials, stops = chance.choice([1, 2, 3, 3, 5]), chance.random() < 0.4

        def make() -> WaitingHalving:
            return WaitingHalving(grace, self.epochs, factor, min_trials, stops, self.goal == 1)

        self.make: Callable[[], WaitingHalving] = make
        self.rule = make()
        milestones = [milestone for _, milestone in self.rule.rungs]
        self.reference = Reference(factor, min_trials, stops, self.goal, milestones)
        self.digits = chance.choice([0, 1, 15])
        self.trials, self.slots = chance.randint(2, 12), chance.randint(1, 5)
        self.begun = 0
        self.at: dict[int, int] = {}
        self.planned: dict[int, int] = {}
        self.epoch_of: dict[int, int] = {}
        self.finishing: set[int] = set()
        self.ended: set[int] = set()

    def run(self, steps: int = 10_000) -> "Stream":
        """Go on until nothing is left to do, or for so many steps."""
        for _ in range(steps):
            while len(self.at) < self.slots and self.start():
                pass
            if not self.at:
                break
            self.train(self.chance.choice(list(self.at)))
        return self

    def start(self) -> bool:
        """Let a trial go on or begin. Return False if none may."""
        decision = self.rule.promote()
        self.reference.check_promoted(decision)
        if decision is None and self.begun < self.trials:
            self.planned[self.begun] = self.chance.choice([self.epochs, self.chance.randint(1, self.epochs)])
            self.at[self.begun] = 0
            self.begun += 1
            return True
        if decision is None and not self.at and self.chance.random() < 0.7:
            best = self.rule.best()
            decision = self.rule.finish()
            self.reference.check_finished(decision)
            assert best == (decision and decision.number)
            self.finishing |= {decision.number} if decision else set()
        if decision is None:
            return False
        self.at[decision.number] = self.epoch_of[decision.number]
        return True

    def train(self, number: int) -> None:
        """Report an epoch, the last one as Tune does."""
        self.at[number] += 1
        epoch, value = self.at[number], round(self.chance.gauss(0, 1), self.digits)
        if epoch >= self.planned[number]:
            decision = self.rule.complete(number, epoch, value)
            if decision:
                self.reference.check(decision, ended=True)
            self.end(number)
            return
        decision = self.rule.report(number, epoch, value)
        if decision:
            self.reference.check(decision, finishing=number in self.finishing)
        if decision and decision.verdict == "wait":
            assert self.rule.complete(number, epoch, value) is None  # as Tune calls it
            self.epoch_of[number] = self.at.pop(number)
        elif decision and decision.verdict == "stop":
            self.end(number)

    def end(self, number: int) -> None:
        del self.at[number]
        self.ended.add(number)

    def restored(self) -> WaitingHalving:
        """Return the rule of the next run, which knows the decisions in any order."""
        rule, rows = self.make(), list(self.reference.rows)
        self.chance.shuffle(rows)
        for number in range(self.begun):
            recorded = [
                Recorded(row.bracket, row.rung, row.value, row.epoch, row.verdict)
                for row in rows
                if row.number == number
            ]
            (rule.replay if number in self.ended else rule.resume)(number, {}, recorded)
        return rule


@pytest.mark.slow
def test_waiting_rule_follows_brute_force() -> None:
    verdicts: Counter[str] = Counter()
    for seed in range(STREAMS):
        stream = Stream(seed).run()
        verdicts.update(row.verdict for row in stream.reference.rows)
        waiting = {number for rung in stream.reference.rungs for number in stream.reference.waiting(rung)}
        assert set(stream.rule.waiting) == waiting
        assert stream.rule.end() == sorted(waiting)
        assert stream.rule.promote() is stream.rule.finish() is stream.rule.best() is None
    assert min(verdicts.values()) > STREAMS / 10
    assert set(verdicts) == {"go", "stop", "wait", "promote", "finish", "complete"}


@pytest.mark.slow
def test_restored_rule_decides_as_the_live_one() -> None:
    for seed in range(STREAMS // 10):
        stream = Stream(seed).run(random.Random(seed).randint(1, 60))
        restored = stream.restored()
        assert {rung: sorted(values.items()) for rung, values in restored.rungs.items()} == {
            rung: sorted(values.items()) for rung, values in stream.rule.rungs.items()
        }
        assert dict(restored.waiting) == dict(stream.rule.waiting)
        assert restored.best() == stream.rule.best()
        stream.rule = restored  # which the reference goes on to check
        stream.run()


def told(rule: WaitingHalving, number: int, epoch: int, value: float) -> str | None:
    decision = rule.report(number, epoch, value)
    return decision and decision.verdict


def test_no_trial_passes_before_enough_stand() -> None:
    for stops in (False, True):
        rule = WaitingHalving(1, 27, 3, min_trials=3, stops=stops)
        assert [told(rule, number, 1, value) for number, value in ((0, 0.9), (1, 0.1))] == ["wait", "wait"]
        assert rule.promote() is None
        assert told(rule, 2, 1, 0.5) == ("stop" if stops else "wait")
        promoted = rule.promote()
        assert promoted
        assert (promoted.number, promoted.rank, promoted.of, promoted.cutoff) == (0, 1, 3, 0.9)
        assert rule.promote() is None


def test_highest_rung_goes_on_first() -> None:
    rule = WaitingHalving(1, 27, 2, min_trials=2)
    for number in range(4):
        told(rule, number, 1, 0.4 - 0.1 * number)
    first = [rule.promote(), rule.promote(), rule.promote()]
    assert [row and row.number for row in first] == [0, 1, None]
    assert [told(rule, number, 2, 0.4 - 0.1 * number) for number in (0, 1)] == ["wait", "wait"]
    assert told(rule, 4, 1, 0.9) == "wait"
    then = [rule.promote(), rule.promote(), rule.promote()]
    assert [row and (row.number, row.rung) for row in then] == [(0, 2.0), (4, 1.0), None]


def test_finishing_trial_waits_no_more() -> None:
    rule = WaitingHalving(1, 27, 3)
    told(rule, 0, 1, 0.1)
    told(rule, 1, 1, 0.2)
    assert rule.best() == 1
    decision = rule.finish()
    assert decision
    assert (decision.number, decision.verdict) == (1, "finish")
    assert [told(rule, 1, epoch, 0.3) for epoch in (2, 3, 9)] == [None, "go", "go"]


def test_equal_values_go_on_by_number() -> None:
    rule = WaitingHalving(1, 27, 3)
    assert [told(rule, number, 1, 0.5) for number in (5, 4, 3)] == ["wait", "wait", "go"]
    assert [told(rule, number, 1, 0.5) for number in (8, 7, 6)] == ["wait", "wait", "wait"]
    promoted = [rule.promote(), rule.promote()]
    assert [row and row.number for row in promoted] == [4, None]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_waiting_rule_passes_over_values_not_finite(value: float) -> None:
    rule = WaitingHalving(1, 27, 3)
    assert rule.report(0, 1, value) is None
    rule.replay(1, {1: value})
    rule.resume(2, {}, [Recorded(0, 1.0, value, 1, "wait")])
    assert not any(rule.rungs.values())
    assert not rule.waiting
