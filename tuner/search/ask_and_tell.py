"""Optuna's study, asked for configurations and told how trials end."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pandas as pd
from optuna.trial import TrialState

from tuner.config.constraints import describe_outside, excesses, is_outside
from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.errors import StudyError
from tuner.results.schema import is_search, is_untried, outcome
from tuner.search.defaults import default_configuration
from tuner.search.learned import Learned
from tuner.search.optuna_internals import dump_attributes
from tuner.search.optuna_study import (
    counts_as_worst,
    distributions_of,
    rebuild_study,
    resume_trials,
    suggest_value,
    to_optuna,
)
from tuner.search.proposals import Proposal
from tuner.search.samplers import derive_trial_seed, learns_from_rungs, make_sampler, proposing_sampler

TRAINABLE = "trainable"
"""Name of the constraint that a trial violates if its hyperparameters cannot be trained."""
TRY_FIRST = "try_first"
"""Origin of trials that the study file names."""
LEARNED = "learn_from"
"""Origin of the best trials of earlier studies."""
MOST_REFUSED = 1000
"""Configurations in a row that may be outside of the constraints, before the study ends."""
BLIND_TO_CONSTRAINTS = ("cmaes", "gp", "random", "qmc", "grid")
"""Samplers that ignore trials without a value, with or without a constraint."""


class AskAndTell:
    """The trials of a search in Optuna's study.

    Args:
        spec: The study.
        trials: One row per trial of earlier runs.
        epochs: One row per trial and epoch of earlier runs.
        known: Returns what is known of a trial before its training.
        on_refuse: Called with each proposal that a constraint keeps from training, and what is known.
        learned: Trials of earlier studies, from which the sampler learns.

    Attributes:
        study: Optuna's study.
    """

    def __init__(
        self,
        spec: StudyConfig,
        trials: pd.DataFrame,
        epochs: pd.DataFrame,
        *,
        known: Callable[[Mapping[str, Value]], Mapping[str, Any]],
        on_refuse: Callable[[Proposal, Mapping[str, Any]], None],
        learned: Learned | None,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = rebuild_study(spec, trials, epochs)
        self._spec, self._known, self._on_refuse, self._learned = spec, known, on_refuse, learned
        self._grid = spec.space.grid() if spec.search.sampler == "grid" else []
        self._named = len(spec.search.try_first or [])
        self._asked = resume_trials(self.study)
        before = self.study.get_trials(deepcopy=False)
        asked = self._asked.items()
        self._reported = {number: set(before[trial.number].intermediate_values) for number, trial in asked}
        self._count = len(before)
        self.refused = int((is_search(trials) & is_untried(trials)).sum())
        self._refused_in_a_row = 0

    @property
    def has_asked_all(self) -> bool:
        """True if all trials of the search have been asked for."""
        refused = 0 if self._grid else self.refused  # because a grid has no other points
        return self._count - refused >= (self._spec.search.trials or 0)

    def ask(self, number: int) -> Proposal:
        """Draw one configuration. A grid's points are enqueued one by one."""
        index, seed, space = self._count, self._spec.search.seed, self._spec.space
        self.study.sampler = make_sampler(self._spec, index, self.study, self._learned)
        first = self._first(index)
        if first is not None:
            drawn = distributions_of(space, first)
            self.study.enqueue_trial({name: to_optuna(space[name], first[name]) for name in drawn})
        trial = self.study.ask()
        trial.set_user_attr("number", number)
        parameters = space.draw(lambda name, one: suggest_value(trial, name, one))
        self._asked[number] = trial
        self._count += 1
        return Proposal(
            number=number,
            parameters=parameters,
            seed=derive_trial_seed(seed, "trial", number),
            origin=self._origin(index),
            sampler_attrs=self.sampler_attrs(number),
        )

    def _first(self, index: int) -> Mapping[str, Any] | None:
        """Return the configuration of a proposal that no sampler makes, or None."""
        if self._grid:
            return self._grid[index % len(self._grid)]
        if index < self._named:
            return default_configuration(self._spec, (self._spec.search.try_first or [])[index])
        best = self._learned.best if self._learned else []
        if 0 <= (place := index - self._named) < len(best):
            return best[place]
        is_default = place == len(best) and learns_from_rungs(self._spec)
        return default_configuration(self._spec) if is_default else None

    def _origin(self, index: int) -> str:
        """Return the name of what makes a proposal."""
        if index < self._named:
            return TRY_FIRST
        is_learned = self._learned is not None and index - self._named < len(self._learned.best)
        return LEARNED if is_learned else proposing_sampler(self._spec, index)

    def allows(self, proposal: Proposal) -> bool:
        """Return True if a trial is inside the constraints before its training.

        A trial outside of them has ended.

        Raises:
            StudyError: None of `MOST_REFUSED` in a row is inside.
        """
        known = self._known(proposal.parameters)
        if not is_outside(self._spec.constraints, known):
            self._refused_in_a_row = 0
            return True
        self._constrain(self._asked[proposal.number], known)
        self.tell_pruned(proposal)
        self._on_refuse(proposal, known)
        self.refused += 1
        self._refused_in_a_row += 1
        if self._refused_in_a_row >= MOST_REFUSED:
            what = describe_outside(self._spec.constraints, known)
            raise StudyError(
                f"constraints: none of {MOST_REFUSED} configurations in a row is inside, such as {what};"
                " a larger bound or another space has some"
            )
        return False

    def _constrain(self, trial: optuna.Trial, measured: Mapping[str, Any]) -> None:
        """Tell how far a trial is outside of each constraint."""
        for metric, excess in excesses(self._spec.constraints, measured).items():
            trial.set_constraint(metric, excess)

    def sampler_attrs(self, number: int) -> str:
        """Return what the sampler keeps about a trial, as JSON."""
        if number not in self._asked:
            return "{}"
        frozen = self.study.get_trials(deepcopy=False)[self._asked[number].number]
        return dump_attributes(frozen.system_attrs)

    def forget(self, number: int) -> None:
        """Forget a trial that has ended, which Optuna's study still holds."""
        self._asked.pop(number, None)

    def report(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        """Report an epoch's value, which Optuna allows with one objective only."""
        metric, trial = self._spec.objective[0].metric, self._asked.get(proposal.number)
        if trial is None or len(self._spec.objective) > 1 or metric not in result:
            return
        if result["epoch"] not in self._reported.setdefault(proposal.number, set()):
            self._reported[proposal.number].add(result["epoch"])
            trial.report(result[metric], result["epoch"])

    def tell(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        """Tell of a trial that is complete or was stopped early."""
        trial = self._let_go(proposal)
        if trial is None:
            return
        self._constrain(trial, result)
        if outcome(result) == "COMPLETE":
            values = [result[objective.metric] for objective in self._spec.objective]
            self.study.tell(trial, values, TrialState.COMPLETE)
        else:
            self.tell_pruned(proposal)

    def tell_pruned(self, proposal: Proposal) -> None:
        """Tell of a trial that was stopped early.

        Optuna allows that with one objective only.
        """
        is_single = len(self._spec.objective) == 1
        state = TrialState.PRUNED if is_single else TrialState.FAIL
        self.study.tell(self._asked[proposal.number], state=state)

    def tell_failure(self, proposal: Proposal, kind: str) -> None:
        """Tell of a failed trial of the search.

        It counts as the worst if its parameters are at fault.
        """
        trial = self._let_go(proposal)
        if trial is None:
            return
        if counts_as_worst(self._spec, kind):
            if self._spec.search.sampler not in BLIND_TO_CONSTRAINTS:
                trial.set_constraint(TRAINABLE, 1.0)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _let_go(self, proposal: Proposal) -> optuna.Trial | None:
        """Return Optuna's trial, None for a repeat."""
        self._reported.pop(proposal.number, None)
        return self._asked.get(proposal.number)
