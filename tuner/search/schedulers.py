"""Schedulers of Ray Tune, which ask a stopping rule at every report."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from tuner.config import sections
from tuner.config.study import StudyConfig
from tuner.results.schema import is_search
from tuner.search.asha import Decision, Recorded, Rungs, SuccessiveHalving
from tuner.search.fronts import Points
from tuner.search.median import MedianRule
from tuner.search.waiting import WaitingHalving
from tuner.search.worker_scheduler import WorkerReusingScheduler

OnDecision = Callable[[dict[str, Any]], None]
Values = Mapping[int, float]


class Rule(Protocol):
    """A stopping rule, which knows trials by number and counts absolute epochs."""

    @property
    def rungs(self) -> Rungs:
        """Values at each (bracket, epoch), by trial number."""

    def replay(self, number: int, values: Values, recorded: Iterable[Recorded] = ()) -> None:
        """Record what a trial reported before it ended."""

    def resume(self, number: int, values: Values, recorded: Iterable[Recorded] = ()) -> None:
        """Record what a trial in flight reported before."""

    def report(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record a value and decide on its trial."""

    def complete(self, number: int, epoch: int, value: float) -> Decision | None:
        """Record the last value of a trial that has ended."""


class RuleScheduler(WorkerReusingScheduler):
    """A scheduler that stops trials by a rule, or lets them wait.

    Repeats are never stopped and count for no other trial. A report without a finite value of the
    metric is passed over.
    """

    def __init__(self, rule: Rule, metric: str, on_decision: OnDecision) -> None:
        super().__init__()
        self._rule = rule
        self._compared_metric = metric  # `_metric` is Ray's own
        self._on_decision = on_decision

    @property
    def rungs(self) -> Rungs:
        """Values at each (bracket, epoch), by trial number."""
        return self._rule.rungs

    def replay(self, number: int, values: Values, recorded: Iterable[Recorded] = ()) -> None:
        """Refill the rungs with what a trial reported before it ended.

        Args:
            number: The trial's number.
            values: Its values by absolute epoch.
            recorded: Its values at rungs, of which the first counts.
        """
        self._rule.replay(number, values, recorded)

    def resume(self, number: int, values: Values, recorded: Iterable[Recorded] = ()) -> None:
        """Refill the rungs with what a trial in flight reported.

        `replay` does the same for ended trials.
        """
        self._rule.resume(number, values, recorded)

    def on_trial_result(
        self,
        tune_controller: Any,  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
    ) -> str:
        """End the trial in Ray if it stops or waits."""
        if not self._is_compared(trial, result):
            return TrialScheduler.CONTINUE
        self.note(trial.config["number"], result)
        number, metric = trial.config["number"], self._compared_metric
        decision = self._rule.report(number, result["epoch"], result[metric])
        self._pass_on(decision)
        ends = decision is not None and decision.verdict in ("stop", "wait")
        return TrialScheduler.STOP if ends else TrialScheduler.CONTINUE

    def on_trial_complete(
        self,
        tune_controller: Any,  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
    ) -> None:
        """Record the last value, which counts for the trials that come after."""
        if self._is_compared(trial, result):
            self.note(trial.config["number"], result)
            number, metric = trial.config["number"], self._compared_metric
            self._pass_on(self._rule.complete(number, result["epoch"], result[metric]))

    def note(self, number: int, result: Mapping[str, Any]) -> None:
        """Keep the objectives of an epoch, if the rule compares several."""

    def _is_compared(self, trial: Trial, result: Mapping[str, Any]) -> bool:
        is_finite = math.isfinite(result.get(self._compared_metric, math.nan))
        return is_finite and is_search(trial.config)

    def _pass_on(self, decision: Decision | None) -> None:
        if decision is not None:
            self._on_decision(asdict(decision))


class HalvingScheduler(RuleScheduler):
    """A scheduler with rungs.

    Args:
        rule: The stopping rule.
        metric: What is compared at the rungs.
        max_epochs: Epochs of the longest trial.
        on_decision: Receives every decision as a row.
    """

    def __init__(self, rule: Rule, metric: str, max_epochs: int, on_decision: OnDecision) -> None:
        super().__init__(rule, metric, on_decision)
        self._max_epochs = max_epochs

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """End the trial if it must, or if the rule decides so.

        A trial must end at its longest possible epoch.
        """
        if self._is_compared(trial, result) and result["epoch"] >= self._max_epochs:
            return TrialScheduler.STOP  # its last value is recorded when Tune completes it
        return super().on_trial_result(tune_controller, trial, result)


class AshaScheduler(HalvingScheduler):
    """ASHA, whose trials can wait at a rung.

    Args:
        config: The rule of the study file.
        objectives: What is searched for. The first one is compared at the rungs, or all are.
        max_epochs: Epochs of the longest trial.
        on_decision: Receives every decision as a row.
    """

    def __init__(
        self,
        config: sections.AshaConfig,
        objectives: Sequence[sections.Objective],
        max_epochs: int,
        on_decision: OnDecision,
    ) -> None:
        objective, is_front = objectives[0], len(objectives) > 1 and config.ranking == "front"
        self._points = Points(objectives) if is_front else None
        self._halving = WaitingHalving(
            grace_period=config.grace_period,
            max_epochs=max_epochs,
            reduction_factor=config.reduction_factor,
            min_trials=config.min_trials,
            stops=config.type == "stop",
            maximize=objective.direction == "maximize",
            points=self._points,
        )
        super().__init__(self._halving, objective.metric, max_epochs, on_decision)
        self.can_wait = config.can_wait

    def note(self, number: int, result: Mapping[str, Any]) -> None:
        """Keep the objectives of an epoch, if trials are ranked by fronts."""
        if self._points is not None:
            self._points.note(number, result["epoch"], result)

    @property
    def waiting(self) -> Mapping[int, float]:  # type: ignore[override]
        """The trials that wait, and the rung of each."""
        return self._halving.waiting

    def promote(self) -> int | None:
        """Let a waiting trial go on to the next rung.

        Return None if no trial may.
        """
        return self._let_go(self._halving.promote())

    def finish(self) -> int | None:
        """Let the best waiting trial go on to its end.

        Return None if none waits.
        """
        return self._let_go(self._halving.finish())

    def best(self) -> int | None:
        """Return the trial that `finish` would let go on."""
        return self._halving.best()

    def end(self) -> list[int]:
        """Let no trial wait any more, and return those that did."""
        return self._halving.end()

    def _let_go(self, decision: Decision | None) -> int | None:
        self._pass_on(decision)
        return None if decision is None else decision.number


class HyperbandScheduler(HalvingScheduler):
    """Asynchronous Hyperband: ASHA in several brackets.

    Args:
        config: The rule of the study file.
        objective: What is compared at the rungs.
        max_epochs: Epochs of the longest trial.
        seed: Draws each trial's bracket together with its number.
        on_decision: Receives every decision as a row.
    """

    def __init__(
        self,
        config: sections.HyperbandConfig,
        objective: sections.Objective,
        max_epochs: int,
        seed: int,
        on_decision: OnDecision,
    ) -> None:
        rule = SuccessiveHalving(
            grace_period=config.grace_period,
            max_epochs=max_epochs,
            reduction_factor=config.reduction_factor,
            brackets=config.brackets,
            seed=seed,
            maximize=objective.direction == "maximize",
        )
        super().__init__(rule, objective.metric, max_epochs, on_decision)


class MedianScheduler(RuleScheduler):
    """The median rule."""

    def __init__(
        self,
        config: sections.MedianConfig,
        objective: sections.Objective,
        on_decision: OnDecision,
    ) -> None:
        maximize = objective.direction == "maximize"
        rule = MedianRule(config.grace_period, config.min_trials, maximize)
        super().__init__(rule, objective.metric, on_decision)


class NoStopping(WorkerReusingScheduler):
    """A scheduler that lets every trial run to its end."""

    rungs: Mapping[tuple[int, float], Mapping[int, float]] = {}

    def replay(self, number: int, values: Values, recorded: Iterable[Recorded] = ()) -> None:
        """Ignore the values, because nothing is compared."""

    resume = replay

    def note(self, number: int, result: Mapping[str, Any]) -> None:
        """Ignore the objectives, because nothing is compared."""


Scheduler = AshaScheduler | HyperbandScheduler | MedianScheduler | NoStopping


def make_scheduler(spec: StudyConfig, on_decision: OnDecision) -> Scheduler:
    """Make the scheduler that a study names.

    Only ASHA compares several objectives. Other rules compare the first.
    """
    match spec.stopping.rule:
        case sections.AshaConfig() as rule:
            return AshaScheduler(rule, spec.objective, spec.max_epochs, on_decision)
        case sections.HyperbandConfig() as rule:
            seed = spec.search.seed
            return HyperbandScheduler(rule, spec.objective[0], spec.max_epochs, seed, on_decision)
        case sections.MedianConfig() as rule:
            return MedianScheduler(rule, spec.objective[0], on_decision)
        case _:
            return NoStopping()


def rung_epochs(spec: StudyConfig) -> list[int]:
    """Return the epochs at which trials are compared.

    Those of Hyperband are the first bracket's.
    """
    if isinstance(spec.stopping.rule, sections.MedianConfig):
        return list(range(spec.stopping.rule.grace_period, spec.max_epochs))
    rungs = make_scheduler(spec, lambda _: None).rungs
    epochs = [math.ceil(milestone) for bracket, milestone in rungs if bracket == 0]
    return [epoch for epoch in epochs if epoch < spec.max_epochs]
