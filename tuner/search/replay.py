"""Replay of a study: what other stopping rules would have found on its recorded curves.

One worker trains the recorded configurations again, epoch by epoch, until as many epochs have passed as
the study trained. A trial that was stopped has no later epochs. Where another rule would have gone on
with it, it ends there and is counted, because nothing is invented.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from tuner.config.sections import AshaConfig
from tuner.config.study import StudyConfig
from tuner.results.schema import is_search
from tuner.search.optuna_study import reported_values
from tuner.search.waiting import WaitingHalving

GRACE_PERIODS, REDUCTION_FACTORS = (1, 2, 4), (2.0, 3.0, 4.0)
"""Settings of the rules that are replayed, beside those of the study."""
ORDERS = 20
"""Random orders in which the configurations are proposed."""


@dataclass(frozen=True)
class Curve:
    """The recorded epochs of one trial.

    Attributes:
        number: The trial.
        values: First objective after each epoch.
        planned: Epochs to its end.
        has_ended: True if it went on to its end or failed, False if it was stopped or waits.
    """

    number: int
    values: tuple[float, ...]
    planned: int
    has_ended: bool


@dataclass
class Outcome:
    """What a rule did with the recorded trials.

    Attributes:
        used: Epochs that were trained.
        complete: Completed trials, with the epochs used until then and the last value.
        begun: Trials that were begun.
        cut: Trials with which the rule would have gone on, although no later epoch is recorded.
    """

    used: int = 0
    complete: dict[int, tuple[int, float]] = field(default_factory=dict)
    begun: int = 0
    cut: set[int] = field(default_factory=set)

    def best(self, sign: int, epochs: float) -> tuple[int, float] | None:
        """Return the best complete trial after `epochs` epochs, and its value."""
        ended = [(number, value) for number, (used, value) in self.complete.items() if used <= epochs]
        return max(ended, key=lambda pair: sign * pair[1]) if ended else None


def recorded_curves(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> list[Curve]:
    """Return the curves of the search's trials that have reported, by number."""
    reported = reported_values(epochs, spec.objective[0].metric)
    rows = trials[is_search(trials) & trials["number"].isin(reported)].sort_values("number")
    columns = (rows[name].tolist() for name in ("number", "epochs_planned", "state"))
    return [
        Curve(number, tuple(_consecutive(reported[number])), int(planned), state in ("COMPLETE", "FAILED"))
        for number, planned, state in zip(*columns, strict=True)
    ]


def _consecutive(values: dict[int, float]) -> Iterator[float]:
    """Yield the values from epoch 1 to the first that is missing."""
    epoch = 1
    while epoch in values:
        yield values[epoch]
        epoch += 1


class Simulation:
    """One worker that trains recorded curves under a rule.

    Args:
        spec: The study.
        rule: The rule. None: every trial runs to its end.
        curves: The trials, in the order in which they are begun.
    """

    def __init__(self, spec: StudyConfig, rule: AshaConfig | None, curves: Sequence[Curve]) -> None:
        self._curves = {curve.number: curve for curve in curves}
        self._queue = [curve.number for curve in reversed(curves)]
        self._reached = dict.fromkeys(self._curves, 0)
        self._rule = rule and WaitingHalving(
            rule.grace_period,
            spec.max_epochs,
            rule.reduction_factor,
            rule.min_trials,
            rule.type == "stop",
            spec.objective[0].direction == "maximize",
        )
        self._outcome = Outcome()

    def run(self, epochs: int) -> Outcome:
        """Train until `epochs` epochs have passed, or no trial may go on."""
        while self._outcome.used < epochs and (number := self._next()) is not None:
            self._train(number, epochs)
        return self._outcome

    def _next(self) -> int | None:
        """Return the trial that goes on or begins."""
        if self._rule and (decision := self._rule.promote()):
            return decision.number
        if self._queue:
            self._outcome.begun += 1
            return self._queue.pop()
        if self._rule and not self._outcome.complete and (decision := self._rule.finish()):
            return decision.number
        return None

    def _train(self, number: int, epochs: int) -> None:
        """Train a trial until the rule or a limit ends it.

        The limits are its planned epochs, its recorded epochs, and `epochs` of all trials.
        """
        curve, outcome = self._curves[number], self._outcome
        while outcome.used < epochs:
            if self._reached[number] == len(curve.values):
                outcome.cut |= set() if curve.has_ended else {number}
                return
            value = curve.values[self._reached[number]]
            self._reached[number] += 1
            outcome.used += 1
            if self._ends(curve, value):
                return

    def _ends(self, curve: Curve, value: float) -> bool:
        """Return True if a trial does not go on after an epoch."""
        epoch = self._reached[curve.number]
        if epoch == curve.planned:
            self._outcome.complete[curve.number] = self._outcome.used, value
            if self._rule:
                self._rule.complete(curve.number, epoch, value)
            return True
        decision = self._rule.report(curve.number, epoch, value) if self._rule else None
        return decision is not None and decision.verdict in ("wait", "stop")


def other_rules(spec: StudyConfig) -> list[AshaConfig | None]:
    """Return the rules to replay: no rule, and ASHA with other settings."""
    own = spec.stopping.asha
    fewest = own.min_trials if own else AshaConfig().min_trials
    graces = sorted({*GRACE_PERIODS, *([own.grace_period] if own else [])})
    factors = sorted({*REDUCTION_FACTORS, *([own.reduction_factor] if own else [])})
    return [
        None,
        *(
            AshaConfig(type=kind, grace_period=grace, reduction_factor=factor, min_trials=fewest)
            for kind in ("promote", "stop")
            for grace in graces
            for factor in factors
            if grace < spec.max_epochs
        ),
    ]


def replay(
    spec: StudyConfig,
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    rules: Iterable[AshaConfig | None] | None = None,
    orders: int = ORDERS,
) -> pd.DataFrame:
    """Replay a study under other stopping rules.

    Each rule may train as many epochs as the study trained.

    Args:
        spec: The study.
        trials: `StudyResults.trials`. Repeats do not count.
        epochs: `StudyResults.epochs`.
        rules: The rules. None: `other_rules`.
        orders: Random orders of the configurations, beside the study's own.

    Returns:
        One row per rule: `rule`, `grace_period` and `reduction_factor`; in the study's own order
        `epochs` (trained), `begun`, `complete` and `cut` (trials that the rule would have gone on
        with), `number`, `half` and `value` (the best complete trial, and the best values after half
        and all of the epochs); over random orders the means `random_cut`, `random_half` and
        `random_value` with `random_interval` (half of the 95 % interval of `random_value`).
    """
    curves = recorded_curves(spec, trials, epochs)
    budget, sign = sum(len(curve.values) for curve in curves), spec.objective[0].sign
    draw = np.random.default_rng(0)
    shuffled = [[curves[index] for index in draw.permutation(len(curves))] for _ in range(orders)]
    rows = []
    for rule in other_rules(spec) if rules is None else rules:
        own = Simulation(spec, rule, curves).run(budget)
        others = [Simulation(spec, rule, order).run(budget) for order in shuffled]
        rows.append({**_describe(rule), **_own_cells(own, sign, budget), **_random_cells(others, sign, budget)})
    return pd.DataFrame(rows)


def _describe(rule: AshaConfig | None) -> dict[str, object]:
    if rule is None:
        return {"rule": "none", "grace_period": None, "reduction_factor": None}
    return {"rule": rule.type, "grace_period": rule.grace_period, "reduction_factor": rule.reduction_factor}


def _own_cells(found: Outcome, sign: int, budget: int) -> dict[str, object]:
    number, value = found.best(sign, budget) or (None, None)
    half = found.best(sign, budget / 2)
    counts = {"epochs": found.used, "begun": found.begun, "complete": len(found.complete), "cut": len(found.cut)}
    return {**counts, "number": number, "half": half and half[1], "value": value}


def _random_cells(found: Sequence[Outcome], sign: int, budget: int) -> dict[str, float]:
    """Average the best values over orders, where each has one."""

    def values(epochs: float) -> np.ndarray:
        best = [one.best(sign, epochs) for one in found]
        return np.array([np.nan if each is None else each[1] for each in best])

    final = values(budget)
    spread = final.std(ddof=1) / np.sqrt(len(final)) if len(final) > 1 else np.nan
    interval = float(spread * stdtrit(len(final) - 1, 0.975)) if len(final) > 1 else np.nan
    means = [float(values(part).mean()) if len(found) else np.nan for part in (budget / 2, budget)]
    cut = float(np.mean([len(one.cut) for one in found])) if len(found) else np.nan
    names = ("random_cut", "random_half", "random_value", "random_interval")
    return dict(zip(names, (cut, *means, interval), strict=True))
