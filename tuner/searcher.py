"""Optuna for Ray Tune: it proposes, is told the truth about every trial, and is rebuilt from the tables.

Proposal n draws from a seed made of (study seed, n) and not from the sampler's own progress, so a study that was
interrupted proposes what the uninterrupted one would have proposed (random and grid: exactly; tpe: given the same
finished trials), and never its own first configurations again.
"""

import io
import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial
from ray.tune.search import Searcher

from tuner.config.space import Choice, Float, Int, Parameter, Space, Value
from tuner.config.study import StudyConfig
from tuner.errors import StudyError
from tuner.results.folder import rank
from tuner.results.schema import State, outcome, parameters_from_row

STATES: Mapping[State, TrialState] = {
    "RUNNING": TrialState.RUNNING,
    "COMPLETE": TrialState.COMPLETE,
    "PRUNED": TrialState.PRUNED,
    "FAILED": TrialState.FAIL,
}


def derive_trial_seed(*parts: int | str) -> int:
    """A seed in [0, 2**31) that depends on every part: `derive_trial_seed(study_seed, 'trial', 12)`."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big") >> 1


@dataclass
class Proposal:
    """A trial that is to run: its number, parameters and seed, and why it runs."""

    number: int
    parameters: dict[str, Value]
    seed: int
    purpose: Literal["search", "repeat"] = "search"
    repeat_of: int | None = None
    origin: str = ""


def make_sampler(spec: StudyConfig, seed: int) -> BaseSampler:
    """The sampler that a study names, with a seed; a grid is handed to Optuna point by point."""
    match spec.search.sampler:
        case "tpe":
            warnings.filterwarnings("ignore", message="Argument ``(multivariate|group)``", category=ExperimentalWarning)
            return TPESampler(multivariate=True, group=True, seed=seed)
        case "gp":
            return GPSampler(seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case "random" | "grid":
            return RandomSampler(seed=seed)


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna's distribution; lists and mixed choices stand as JSON text."""
    if isinstance(parameter, Choice):
        return CategoricalDistribution([_to_optuna(parameter, value) for value in parameter.choice])
    if isinstance(parameter, Float):
        return FloatDistribution(*_reachable(parameter), log=parameter.log, step=parameter.step)
    if isinstance(parameter, Int):
        return IntDistribution(*_reachable(parameter), log=parameter.log, step=parameter.step or 1)
    raise TypeError(f"{parameter!r} is not drawn")


def _reachable(parameter: Float | Int) -> tuple[Any, Any]:
    """The bounds, the upper one on a step: Optuna warns of any other."""
    (low, high), step = parameter.bounds, parameter.step
    return (low, high) if step is None else (low, round(low + step * int((high - low) / step + 1e-9), 12))


def _to_optuna(parameter: Parameter, value: Value) -> Any:
    return json.dumps(value) if parameter.kind == "json" else value


def _distributions(space: Space, parameters: Mapping[str, Value]) -> dict[str, BaseDistribution]:
    return {name: distribution(space[name]) for name in parameters if isinstance(space[name], Choice | Float | Int)}


def rebuild_study(spec: StudyConfig, trials: pd.DataFrame, epochs: pd.DataFrame) -> optuna.Study:
    """Optuna's study as the tables tell it: the search's trials in the order of their numbers.

    Args:
        spec: The study.
        trials: One row a trial.
        epochs: One row for each trial and epoch.

    Raises:
        StudyError: The state of CMA-ES in `sampler_attrs` would run code of somebody else's.
    """
    study = optuna.create_study(
        storage=optuna.storages.InMemoryStorage(),
        sampler=RandomSampler(),
        directions=[objective.direction for objective in spec.objective],
        study_name=spec.study,
    )
    metric = spec.objective[0].metric
    reported = _by_number(epochs, metric) if metric in epochs and len(spec.objective) == 1 else {}
    for row in trials[trials["purpose"] == "search"].sort_values("number").to_dict("records"):
        parameters = parameters_from_row(spec.space, row)
        distributions = _distributions(spec.space, parameters)
        state: State = row["state"]
        told = state if len(spec.objective) == 1 or state != "PRUNED" else "FAILED"
        study.add_trial(
            create_trial(
                state=STATES[told],
                values=list(row["values"]) if told == "COMPLETE" else None,
                value=row["value"] if told == "PRUNED" and pd.notna(row["value"]) else None,
                params={name: _to_optuna(spec.space[name], parameters[name]) for name in distributions},
                distributions=distributions,
                intermediate_values=reported.get(row["number"], {}),
                user_attrs={"number": row["number"]},
                system_attrs=_sampler_attributes(row["sampler_attrs"]),
            )
        )
    return study


def _by_number(epochs: pd.DataFrame, metric: str) -> dict[int, dict[int, float]]:
    return {
        int(str(number)): {int(epoch): float(value) for epoch, value in zip(rows["epoch"], rows[metric], strict=True)}
        for number, rows in epochs.query("epoch > 0").dropna(subset=[metric]).groupby("number")
    }


def _sampler_attributes(text: Any) -> dict[str, Any]:
    """What a sampler kept about a trial, from its cell in the tables; null where it keeps nothing."""
    attributes: dict[str, Any] = json.loads(text) if isinstance(text, str) else {}
    pieces = sum(key.startswith("cma:optimizer") for key in attributes)
    if state := "".join(attributes[f"cma:optimizer:{piece}"] for piece in range(pieces)):
        _CmaState(io.BytesIO(bytes.fromhex(state))).load()
    return attributes


class _CmaState(pickle.Unpickler):
    """Optuna unpickles the state of CMA-ES, and a study may come from anywhere: here only that state passes."""

    _PARTS = frozenset(
        {
            ("cmaes._cma", "CMA"),
            ("numpy", "dtype"),
            ("numpy", "ndarray"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "scalar"),
            ("numpy._core.numeric", "_frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._PARTS:
            raise StudyError(f"trials.sampler_attrs: found {module}.{name}, which is no part of the state of CMA-ES")
        return super().find_class(module, name)


class OptunaSearcher(Searcher):
    """Proposes trials to Ray Tune: first those that were in flight, then new ones, then repeats of the best.

    Args:
        spec: The study.
        trials: One row a trial of what was done before.
        epochs: One row for each trial and epoch of what was done before.
        slots: Trials side by side.
        on_propose: Told of every proposal before Ray hears of it.
        latest: Gives the trials table as it is now, when the search is over and the best are to be repeated.
    """

    def __init__(
        self,
        spec: StudyConfig,
        trials: pd.DataFrame,
        epochs: pd.DataFrame,
        *,
        slots: int,
        on_propose: Callable[[Proposal], None],
        latest: Callable[[], pd.DataFrame],
    ) -> None:
        super().__init__(metric=spec.objective[0].metric, mode=spec.objective[0].direction[:3])
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.spec = spec
        self.study = rebuild_study(spec, trials, epochs)
        self._grid = spec.space.grid() if spec.search.sampler == "grid" else []
        self._slots = slots
        self._on_propose = on_propose
        self._latest = latest
        self._repeats_asked = spec.repeats is None
        known = self.study.get_trials(deepcopy=False)
        self._asked: dict[int, optuna.Trial] = {
            trial.user_attrs["number"]: optuna.trial.Trial(self.study, trial._trial_id)
            for trial in known
            if trial.state == TrialState.RUNNING
        }
        self._reported = {trial.user_attrs["number"]: set(trial.intermediate_values) for trial in known}
        self._searched = len(self._reported)
        self._next_number = 0 if trials.empty else int(trials["number"].max()) + 1
        self._waiting = [proposal_from_row(spec, row) for row in in_flight(trials).to_dict("records")]
        self._live: dict[str, Proposal] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next trial's configuration; None while every slot is taken, FINISHED when nothing is left to propose."""
        if len(self._live) >= self._slots:
            return None
        proposal = self._next()
        if proposal is None:
            return Searcher.FINISHED if self._repeats_asked else None
        self._on_propose(proposal)
        self._live[trial_id] = proposal
        return {
            "number": proposal.number,
            "parameters": proposal.parameters,
            "seed": proposal.seed,
            "purpose": proposal.purpose,
        }

    def _next(self) -> Proposal | None:
        if not self._waiting and self._searched < (self.spec.search.trials or 0):
            self._waiting.append(self._ask())
        if not self._waiting and not self._live and not self._repeats_asked:
            self._repeats_asked = True
            self._waiting = missing_repeats(self.spec, self._latest(), self._next_number)
            self._next_number += len(self._waiting)
        return self._waiting.pop(0) if self._waiting else None

    def _ask(self) -> Proposal:
        """Draw one configuration; a grid's n-th point is fixed beforehand."""
        number, index, seed = self._next_number, self._searched, self.spec.search.seed
        self.study.sampler = make_sampler(self.spec, derive_trial_seed(seed, "proposal", index))
        if self.spec.search.sampler == "grid":
            point = self._grid[index % len(self._grid)]
            drawn = _distributions(self.spec.space, point)
            self.study.enqueue_trial({name: _to_optuna(self.spec.space[name], point[name]) for name in drawn})
        trial = self.study.ask()
        trial.set_user_attr("number", number)
        parameters = self.spec.space.draw(lambda name, parameter: _suggest(trial, name, parameter))
        self._asked[number] = trial
        self._searched += 1
        self._next_number += 1
        return Proposal(number, parameters, derive_trial_seed(seed, "trial", number), origin=self.spec.search.sampler)

    def sampler_attrs(self, number: int) -> str:
        """What the sampler keeps about a trial, for the tables: JSON."""
        if number not in self._asked:
            return "{}"
        kept = self.study.get_trials(deepcopy=False)[self._asked[number].number].system_attrs
        return json.dumps({key: value for key, value in kept.items() if key != "fixed_params"})

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch's value (Optuna takes none where there are several objectives)."""
        self._report(self._live[trial_id], result)

    def _report(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        metric, trial = self.spec.objective[0].metric, self._asked.get(proposal.number)
        if trial is None or len(self.spec.objective) > 1 or metric not in result:
            return
        if result["epoch"] not in self._reported.setdefault(proposal.number, set()):
            self._reported[proposal.number].add(result["epoch"])
            trial.report(result[metric], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell how a trial ended: COMPLETE with its last value, PRUNED, or FAIL."""
        proposal = self._live.pop(trial_id)
        self._tell(proposal, result, error)
        self._reported.pop(proposal.number, None)

    def _tell(self, proposal: Proposal, result: Mapping[str, Any] | None, error: bool) -> None:
        trial = self._asked.get(proposal.number)
        if trial is None:
            return
        state = "FAILED" if error or result is None else outcome(result)
        if state == "COMPLETE" and result is not None:
            self._report(proposal, result)
            values = [result[objective.metric] for objective in self.spec.objective]
            self.study.tell(trial, values, TrialState.COMPLETE)
        elif state == "PRUNED" and result is not None and len(self.spec.objective) == 1:
            self._report(proposal, result)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def save(self, checkpoint_path: str) -> None:
        """Nothing is saved beside the tables: they rebuild the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing is restored beside the tables: they rebuild the searcher."""


def _suggest(trial: optuna.Trial, name: str, parameter: Parameter) -> Value:
    drawn = distribution(parameter)
    if isinstance(drawn, FloatDistribution):
        return trial.suggest_float(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    if isinstance(drawn, IntDistribution):
        return trial.suggest_int(name, drawn.low, drawn.high, log=drawn.log, step=drawn.step)
    if not isinstance(parameter, Choice):
        raise TypeError(f"{name} is not drawn")
    by_text = {_to_optuna(parameter, value): value for value in parameter.choice}
    return by_text[trial.suggest_categorical(name, list(by_text))]


def in_flight(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that were begun and not finished."""
    return trials[trials["state"] == "RUNNING"]


def proposal_from_row(spec: StudyConfig, row: Mapping[Any, Any]) -> Proposal:
    """The proposal that a trial's row came from."""
    return Proposal(
        int(row["number"]),
        parameters_from_row(spec.space, row),
        int(row["seed"]),
        row["purpose"],
        None if pd.isna(row["repeat_of"]) else int(row["repeat_of"]),
        row["origin"],
    )


def missing_repeats(spec: StudyConfig, trials: pd.DataFrame, first_number: int) -> list[Proposal]:
    """Repeats of the best completed trials, with other seeds, that the study asks for and that were not begun yet."""
    if spec.repeats is None:
        return []
    proposals: list[Proposal] = []
    ranked = rank(spec, trials)
    for best in ranked.head(len(ranked) if spec.repeats.top == "all" else spec.repeats.top).to_dict("records"):
        begun = int((trials["repeat_of"] == best["number"]).sum())
        for index in range(begun, spec.repeats.seeds):
            number, seed = (
                first_number + len(proposals),
                derive_trial_seed(spec.search.seed, "repeat", best["number"], index),
            )
            parameters = parameters_from_row(spec.space, best)
            proposals.append(Proposal(number, parameters, seed, "repeat", best["number"], "repeat"))
    return proposals
