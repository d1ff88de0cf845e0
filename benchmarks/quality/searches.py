"""Searches by name: the project's own, and its peers."""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.quality.simulation import Search, Started, Verdict
from benchmarks.quality.tasks import Task
from tuner.config.study import StudyConfig
from tuner.results.tables import Tables
from tuner.search.learned import Learned
from tuner.search.optuna_study import suggest_value
from tuner.search.samplers import derive_trial_seed
from tuner.search.schedulers import make_scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.storage import Storage

MANY = 1_000_000
"""Trials of a simulated study, which its budget ends."""
FACTOR = 3
"""Reduction factor of every rule, whose first rung stands at one epoch."""


class ProjectSearch:
    """The project's searcher and scheduler, called as Ray Tune calls them."""

    def __init__(
        self,
        spec: StudyConfig,
        workers: int,
        searcher: type[OptunaSearcher] = OptunaSearcher,
        learned: Learned | None = None,
    ) -> None:
        empty = Tables(Storage("/nowhere"), spec.space)
        self._scheduler = make_scheduler(spec, lambda _: None)
        self._searcher = searcher(
            spec,
            empty.trials(),
            empty.epochs(),
            slots=lambda: workers,
            on_propose=lambda _: None,
            latest=empty.trials,
            rule=self._scheduler,
            learned=learned,
        )
        self._trials: dict[int, Trial] = {}

    def suggest(self) -> Started | None:
        """Return the searcher's next trial."""
        trial = Trial("simulated", stub=True)
        config = self._searcher.suggest(trial.trial_id)
        if not isinstance(config, dict):
            return None
        trial.config = config
        self._trials[config["number"]] = trial
        return Started(config["number"], config["parameters"])

    def report(self, number: int, result: dict[str, Any]) -> Verdict:
        """Ask the scheduler, and tell the searcher."""
        trial = self._trials[number]
        stops = result["done"]
        if not stops:
            verdict = self._scheduler.on_trial_result(None, trial, result)
            stops = verdict == TrialScheduler.STOP
        if not stops:
            self._searcher.on_trial_result(trial.trial_id, result)
            return "go"
        self._scheduler.on_trial_complete(None, trial, result)
        self._searcher.on_trial_complete(trial.trial_id, result)
        del self._trials[number]
        if self._searcher.is_paused(number):
            return "wait"
        self._searcher.forget(number)
        return "stop"


class TpeByStates(OptunaSearcher):
    """The project's searcher with Optuna's own order: complete trials first, then pruned ones."""

    def _sampler(self, index: int) -> optuna.samplers.BaseSampler:
        seed = derive_trial_seed(self.spec.search.seed, "proposal", index)
        return optuna.samplers.TPESampler(multivariate=True, group=True, seed=seed)


class RaySearch:
    """Ray's own OptunaSearch and ASHA."""

    def __init__(self, spec: StudyConfig, seed: int) -> None:
        objective = spec.objective[0]
        metric, mode = objective.metric, objective.direction[:3]

        def space(trial: optuna.Trial) -> None:
            spec.space.draw(lambda name, parameter: suggest_value(trial, name, parameter))

        self._searcher = OptunaSearch(space, metric=metric, mode=mode, seed=seed)
        self._scheduler = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric=metric,
            mode=mode,
            max_t=spec.max_epochs,
            grace_period=1,
            reduction_factor=FACTOR,
        )
        self._trials: list[Trial] = []

    def suggest(self) -> Started:
        """Return the next trial."""
        trial = Trial("simulated", stub=True)
        parameters = self._searcher.suggest(trial.trial_id)
        self._scheduler.on_trial_add(None, trial)
        self._trials.append(trial)
        return Started(len(self._trials) - 1, parameters or {})

    def report(self, number: int, result: dict[str, Any]) -> Verdict:
        """Ask the scheduler, and tell the searcher as Tune's controller does."""
        trial = self._trials[number]
        stops = result["done"] or self._asks(trial, result) == TrialScheduler.STOP
        if not stops:
            self._searcher.on_trial_result(trial.trial_id, result)
            return "go"
        self._scheduler.on_trial_complete(None, trial, result)
        self._searcher.on_trial_complete(trial.trial_id, result)
        return "stop"

    def _asks(self, trial: Trial, result: dict[str, Any]) -> str:
        return self._scheduler.on_trial_result(None, trial, result)


class OptunaAlone:
    """Optuna's sampler and pruner, asked and told without Ray."""

    def __init__(
        self, spec: StudyConfig, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner
    ) -> None:
        self._spec = spec
        self._study = optuna.create_study(direction=spec.objective[0].direction, sampler=sampler, pruner=pruner)
        self._asked: dict[int, optuna.Trial] = {}

    def suggest(self) -> Started:
        """Return the next trial."""
        trial = self._study.ask()
        parameters = self._spec.space.draw(lambda name, one: suggest_value(trial, name, one))
        self._asked[trial.number] = trial
        return Started(trial.number, parameters)

    def report(self, number: int, result: dict[str, Any]) -> Verdict:
        """Report a value, and end the trial where the pruner says so."""
        trial = self._asked[number]
        value = result[self._spec.objective[0].metric]
        trial.report(value, result["epoch"])
        if result["done"]:
            self._study.tell(self._asked.pop(number), value)
            return "stop"
        if trial.should_prune():
            self._study.tell(self._asked.pop(number), state=optuna.trial.TrialState.PRUNED)
            return "stop"
        return "go"


def _project(
    sampler: str, stopping: Any, searcher: type[OptunaSearcher] = OptunaSearcher
) -> Callable[[Task, int, int], Search]:
    def make(task: Task, workers: int, seed: int) -> Search:
        search = {"sampler": sampler, "trials": MANY, "seed": seed}
        return ProjectSearch(task.study(search, stopping), workers, searcher)

    return make


def _ray(task: Task, workers: int, seed: int) -> Search:  # noqa: ARG001
    return RaySearch(task.study({}, "none"), seed)


def _optuna(pruner: Callable[[], optuna.pruners.BasePruner]) -> Callable[[Task, int, int], Search]:
    def make(task: Task, workers: int, seed: int) -> Search:  # noqa: ARG001
        sampler = optuna.samplers.TPESampler(seed=seed)
        return OptunaAlone(task.study({}, "none"), sampler, pruner())

    return make


def _halving() -> optuna.pruners.BasePruner:
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)


def _asha(**settings: Any) -> dict[str, Any]:
    return {"asha": {"grace_period": 1, "reduction_factor": FACTOR, **settings}}


PROMOTE = _asha(type="promote")
STOP = _asha(type="stop")
AS_RAY = _asha(type="stop", min_trials=1)
SEARCHES: dict[str, Callable[[Task, int, int], Search]] = {
    "mixed + promote": _project("mixed", PROMOTE),
    "tpe + promote": _project("tpe", PROMOTE),
    "curves + promote": _project("curves", PROMOTE),
    "tpe + stop": _project("tpe", STOP),
    "tpe by states + stop at once": _project("random", AS_RAY, TpeByStates),
    "random + promote": _project("random", PROMOTE),
    "random + stop": _project("random", STOP),
    "random + stop at once": _project("random", AS_RAY),
    "grid + promote": _project("grid", PROMOTE),
    "Ray's OptunaSearch + ASHA": _ray,
    "Optuna's TPE + halving": _optuna(_halving),
    "Optuna's TPE + median": _optuna(optuna.pruners.MedianPruner),
}
"""Makers of searches by name, called with the task, the number of workers and the seed."""


def silence() -> None:
    """Silence messages about experimental parts and every new study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
