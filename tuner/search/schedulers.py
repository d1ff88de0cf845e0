"""Stopping early: Ray's ASHA with every verdict written down, and the median rule.

Ray's own scheduler forgets its rungs in a resume and keys them by an id that changes. Here rungs are keyed by our trial
number, count absolute epochs, and are refilled from the tables before the first report. Trials with different planned
epochs meet at equal epochs.
"""

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.schedulers.async_hyperband import AsyncHyperBandScheduler, _Bracket

from tuner.config import sections
from tuner.config.study import StudyConfig

OnDecision = Callable[[dict[str, Any]], None]
Values = Mapping[int, float]


def _is_compared(trial: Trial, result: Mapping[str, Any], metric: str) -> bool:
    """Whether a report counts: repeats do not, nor does what was not measured or is not finite."""
    return trial.config["purpose"] == "search" and math.isfinite(result.get(metric, math.nan))


class _NumberedBracket(_Bracket):
    """Ray's bracket, with rungs keyed by our trial number: it outlives a resume, Ray's own id does not."""

    def on_result(self, trial: Trial, cur_iter: int, cur_rew: float | None) -> str:
        return self.record(trial.config["number"], cur_iter, cur_rew)

    def record(self, number: int, epoch: int, value: float | None) -> str:
        """Ray's own rule; of the trial it looks at nothing but `trial_id`."""
        key: Any = SimpleNamespace(trial_id=number)
        return super().on_result(key, epoch, value)

    def rungs_of(self, number: int) -> dict[float, dict[int, float]]:
        """Rungs at which this trial stands, with all that is recorded there."""
        return {milestone: recorded for milestone, recorded in self._rungs if number in recorded}


class WorkerReusingScheduler(FIFOScheduler):
    """Lets workers outlive their trials: a new trial takes the worker that is free.

    By itself Tune keeps a worker only where the next trial happens to be waiting already, and hands a free one to a
    trial whose own worker is about to be up, which is then thrown away.
    """

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Make room for one more in Tune's cache of workers; without it, workers are only started more often."""
        cache = getattr(tune_controller, "_actor_cache", None)
        if cache is not None:
            cache.increase_max(trial.placement_group_factory)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:  # noqa: ARG002
        """None in particular: no trial is ever paused, and Tune starts those that wait in their order."""
        return None


class Asha(WorkerReusingScheduler, AsyncHyperBandScheduler):
    """Ray's stopping-type ASHA (one bracket) or asynchronous Hyperband (several), deterministic and written down.

    Args:
        rule: The rule of the study file.
        objective: What is compared at the rungs.
        max_epochs: Epochs of the longest trial.
        seed: Draws each trial's bracket together with its number.
        on_decision: Told of every verdict.
    """

    def __init__(
        self,
        rule: sections.Asha,
        objective: sections.Objective,
        max_epochs: int,
        seed: int,
        on_decision: OnDecision,
    ) -> None:
        brackets = rule.brackets if isinstance(rule, sections.Hyperband) else 1
        super().__init__(
            time_attr="epoch",
            metric=objective.metric,
            mode=objective.direction[:3],
            max_t=max_epochs,
            grace_period=rule.grace_period,
            reduction_factor=rule.reduction_factor,
            brackets=brackets,
        )
        made = [_NumberedBracket(rule.grace_period, max_epochs, rule.reduction_factor, k) for k in range(brackets)]
        self._numbered = [bracket for bracket in made if bracket._rungs]
        self._brackets = [*self._numbered]  # Ray's own, by its own name
        self._sign = 1.0 if objective.direction == "maximize" else -1.0
        self._objective = objective
        self._seed = seed
        self._on_decision = on_decision
        self._drawn: dict[int, int] = {}

    def _bracket_index(self, number: int) -> int:
        """Ray's odds, but drawn from the study's seed and the trial's number, so that a resume draws the same."""
        if number not in self._drawn:  # asked several times a report, and a generator costs as much as the verdict
            odds = np.exp([len(bracket._rungs) for bracket in self._numbered])
            drawn = np.random.default_rng([self._seed, number]).choice(len(odds), p=odds / odds.sum())
            self._drawn[number] = int(drawn)
        return self._drawn[number]

    def replay(self, number: int, values: Values) -> None:
        """Refill the rungs with what a trial reported before, by absolute epoch."""
        bracket = self._numbered[self._bracket_index(number)]
        for epoch, value in sorted(values.items()):
            bracket.record(number, epoch, self._sign * value)

    @property
    def rungs(self) -> dict[tuple[int, float], dict[int, float]]:
        """Values recorded at each (bracket, epoch), by trial number."""
        return {
            (index, milestone): {number: self._sign * value for number, value in recorded.items()}
            for index, bracket in enumerate(self._numbered)
            for milestone, recorded in reversed(bracket._rungs)
        }

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give the trial its bracket."""
        WorkerReusingScheduler.on_trial_add(self, tune_controller, trial)
        self._trial_info[trial.trial_id] = self._bracket(trial)

    def _bracket(self, trial: Trial) -> _NumberedBracket:
        return self._numbered[self._bracket_index(trial.config["number"])]

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's verdict, written down."""
        if not _is_compared(trial, result, self._objective.metric):
            return str(TrialScheduler.CONTINUE)
        before = set(self._bracket(trial).rungs_of(trial.config["number"]))
        action = str(super().on_trial_result(tune_controller, trial, result))
        self._write_down(trial, result, before, "stop" if action == TrialScheduler.STOP else "go")
        return action

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """At its end a trial still counts for those that come after it; nothing is left to be decided about it."""
        if not _is_compared(trial, result, self._objective.metric):
            return
        before = set(self._bracket(trial).rungs_of(trial.config["number"]))
        super().on_trial_complete(tune_controller, trial, result)
        self._write_down(trial, result, before, "complete")

    def _write_down(self, trial: Trial, result: dict[str, Any], before: set[float], verdict: str) -> None:
        number, bracket = trial.config["number"], self._bracket(trial)
        for milestone, recorded in bracket.rungs_of(number).items():
            if milestone in before:
                continue
            mine = recorded[number]
            others = {other: value for other, value in recorded.items() if other != number}
            cutoff = bracket.cutoff(others)
            self._on_decision(
                {
                    "number": number,
                    "bracket": self._numbered.index(bracket),
                    "rung": float(milestone),
                    "epoch": result["epoch"],
                    "value": self._sign * mine,
                    "cutoff": None if cutoff is None else self._sign * float(np.real(cutoff)),
                    "rank": 1 + sum(value > mine for value in others.values()),
                    "of": len(recorded),
                    "verdict": verdict,
                }
            )


class MedianStopping(WorkerReusingScheduler):
    """Stop a trial whose best value so far is worse than the median of the others' running means at that epoch.

    The rule of Google Vizier (Golovin et al., 2017, section 3.2); Ray's `MedianStoppingRule` cannot be refilled, and
    its means leave out the epochs before the grace period.
    """

    def __init__(self, rule: sections.Median, objective: sections.Objective, on_decision: OnDecision) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rule = rule
        self._objective = objective
        self._sign = 1.0 if objective.direction == "maximize" else -1.0
        self._values: dict[int, dict[int, float]] = {}
        self._means: dict[int, dict[int, float]] = {}  # by epoch, of each trial's values up to it
        self._on_decision = on_decision

    def replay(self, number: int, values: Values) -> None:
        """Refill with what a trial reported before."""
        mine = self._values.setdefault(number, {})
        for epoch, value in sorted(values.items()):
            mine[epoch] = self._sign * value
            mean = float(np.mean([earlier for at, earlier in mine.items() if at <= epoch]))
            self._means.setdefault(epoch, {})[number] = mean

    @property
    def rungs(self) -> dict[tuple[int, float], dict[int, float]]:
        """Values at each epoch, by trial number."""
        return {
            (0, float(epoch)): {number: self._sign * self._values[number][epoch] for number in self._means[epoch]}
            for epoch in sorted(self._means)
        }

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Compare, once enough other trials have come so far."""
        if not _is_compared(trial, result, self._objective.metric):
            return str(TrialScheduler.CONTINUE)
        number, epoch = trial.config["number"], result["epoch"]
        known = epoch in self._values.get(number, {})
        self.replay(number, {epoch: result[self._objective.metric]})
        means = [mean for other, mean in self._means[epoch].items() if other != number]
        if known or epoch < self._rule.grace_period or len(means) < self._rule.min_trials:
            return str(TrialScheduler.CONTINUE)
        mine, cutoff = max(self._values[number].values()), float(np.median(means))
        stop = mine < cutoff
        self._on_decision(
            {
                "number": number,
                "bracket": 0,
                "rung": float(epoch),
                "epoch": epoch,
                "value": self._sign * mine,
                "cutoff": self._sign * cutoff,
                "rank": 1 + sum(mean > mine for mean in means),
                "of": len(means) + 1,
                "verdict": "stop" if stop else "go",
            }
        )
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:  # noqa: ARG002
        """The last value counts for those that come after."""
        if _is_compared(trial, result, self._objective.metric):
            self.replay(trial.config["number"], {result["epoch"]: result[self._objective.metric]})


class NoStopping(WorkerReusingScheduler):
    """Every trial runs to its end."""

    rungs: Mapping[tuple[int, float], Mapping[int, float]] = {}

    def replay(self, number: int, values: Values) -> None:
        """Nothing to refill."""


Scheduler = Asha | MedianStopping | NoStopping


def make_scheduler(spec: StudyConfig, on_decision: OnDecision) -> Scheduler:
    """The scheduler that a study names; it compares the first objective."""
    match spec.stopping.rule:
        case sections.Asha() as rule:
            return Asha(rule, spec.objective[0], spec.max_epochs, spec.search.seed, on_decision)
        case sections.Median() as rule:
            return MedianStopping(rule, spec.objective[0], on_decision)
        case _:
            return NoStopping()  # type: ignore[no-untyped-call]


def rungs(spec: StudyConfig) -> list[int]:
    """Epochs at which trials are compared, for people to read before the start; of hyperband the first bracket's."""
    if isinstance(spec.stopping.rule, sections.Median):
        return list(range(spec.stopping.rule.grace_period, spec.max_epochs))
    milestones = [math.ceil(rung) for bracket, rung in make_scheduler(spec, lambda _: None).rungs if bracket == 0]
    return [epoch for epoch in milestones if epoch < spec.max_epochs]
