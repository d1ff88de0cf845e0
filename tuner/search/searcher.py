"""Optuna proposes to Ray Tune, and is told what became of every trial."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pandas as pd
from optuna.trial import TrialState
from ray.tune.search import Searcher

from tuner.config.study import StudyConfig
from tuner.results.schema import outcome
from tuner.search.optuna_study import distributions_of, rebuild_study, suggest_value, to_optuna
from tuner.search.proposals import Proposal, in_flight, missing_repeats, proposal_from_row
from tuner.search.samplers import derive_trial_seed, make_sampler


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
            drawn = distributions_of(self.spec.space, point)
            self.study.enqueue_trial({name: to_optuna(self.spec.space[name], point[name]) for name in drawn})
        trial = self.study.ask()
        trial.set_user_attr("number", number)
        parameters = self.spec.space.draw(lambda name, parameter: suggest_value(trial, name, parameter))
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
