"""Proposals of Optuna for Ray Tune, which tells Optuna how trials end."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pandas as pd
from optuna.trial import TrialState
from ray.tune.search import Searcher

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
from tuner.search.paused import PausedTrials
from tuner.search.plateau import Plateau
from tuner.search.proposals import Proposal, Retry, finalists, missing_repeats, proposals_in
from tuner.search.retry_queue import RetryQueue
from tuner.search.samplers import derive_trial_seed, learns_from_rungs, make_sampler, proposing_sampler
from tuner.search.waiting import NobodyWaits, WaitingRule

TRAINABLE = "trainable"
"""Name of the constraint that a trial violates if its hyperparameters cannot be trained."""
TRY_FIRST = "try_first"
"""Origin of trials that the study file names."""
MOST_REFUSED = 1000
"""Configurations in a row that may be outside of the constraints, before the study ends."""
LEARNED = "learn_from"
"""Origin of the best trials of earlier studies."""
BLIND_TO_CONSTRAINTS = ("cmaes", "gp", "random", "qmc", "grid")
"""Samplers that ignore trials without a value, with or without a constraint."""


class OptunaSearcher(Searcher):
    """A searcher that proposes trials to Tune.

    Trials in flight come first, then waiting or new ones, then repeats.

    Args:
        spec: The study.
        trials: One row per trial of earlier runs.
        epochs: One row per trial and epoch of earlier runs.
        slots: Returns the number of trials that may run in parallel.
        on_propose: Called with every proposal before Ray receives it.
        latest: Returns the current trials table, when the best trials are to be repeated.
        stopping: Returns True if the study is being stopped.
        rule: The stopping rule, if trials can wait under it.
        is_urgent: Returns True if the time left just suffices to finish a waiting trial.
        on_prune: Called at the end of the search with the numbers of trials that still wait.
        known: Returns what is known of a trial before its training.
        on_refuse: Called with each proposal that a constraint keeps from training, and what is known.
        learned: Trials of earlier studies, from which the sampler learns.
    """

    def __init__(
        self,
        spec: StudyConfig,
        trials: pd.DataFrame,
        epochs: pd.DataFrame,
        *,
        slots: Callable[[], int],
        on_propose: Callable[[Proposal], None],
        latest: Callable[[], pd.DataFrame],
        stopping: Callable[[], bool] = lambda: False,
        rule: WaitingRule | None = None,
        is_urgent: Callable[[int], bool] = lambda _: False,
        on_prune: Callable[[list[int]], None] = lambda _: None,
        known: Callable[[Mapping[str, Value]], Mapping[str, Any]] = lambda _: {},
        on_refuse: Callable[[Proposal, Mapping[str, Any]], None] = lambda _, __: None,
        learned: Learned | None = None,
    ) -> None:
        super().__init__(metric=spec.objective[0].metric, mode=spec.objective[0].direction[:3])
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.spec = spec
        self.study = rebuild_study(spec, trials, epochs)
        self._grid = spec.space.grid() if spec.search.sampler == "grid" else []
        self._named = len(spec.search.try_first or [])
        self._learned = learned
        self._slots = slots
        self._on_propose = on_propose
        self._latest = latest
        self._stopping = stopping
        self._on_prune, self._known, self._on_refuse = on_prune, known, on_refuse
        self._refused_in_a_row = 0
        self._repeats_asked = spec.repeats is None
        self._asked = resume_trials(self.study)
        before = self.study.get_trials(deepcopy=False)
        self._searched = len(before)
        self._refused = int((is_search(trials) & is_untried(trials)).sum())
        asked = self._asked.items()
        self._reported = {number: set(before[trial.number].intermediate_values) for number, trial in asked}
        self._next_number = 0 if trials.empty else int(trials["number"].max()) + 1
        self._waiting = proposals_in(spec, trials, "RUNNING")
        self._paused = PausedTrials(
            rule or NobodyWaits(),
            finalists(spec),
            int((is_search(trials) & (trials["state"] == "COMPLETE")).sum()),
            proposals_in(spec, trials, "PAUSED"),
            is_urgent,
        )
        self._plateau = Plateau(spec, trials, epochs)
        self._live: dict[str, Proposal] = {}
        self._retries = RetryQueue()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Return the next trial's configuration.

        None while every slot is taken or proposals wait. FINISHED after the last trial.
        """
        if self._stopping():  # because Tune may ask for minutes and look at nothing else
            return Searcher.FINISHED
        if len(self._live) >= self._slots() or self._retries.holds:
            return None
        if retry := self._retries.due(is_idle=not self._live):
            config = self._start(trial_id, self._retries.begin(trial_id, retry))
            return config | {"avoid": retry.avoid, "alone": retry.alone}
        if self._retries.has_lonely:
            return None
        proposal = self._next()
        if proposal is None:
            return Searcher.FINISHED if self._is_over() else None
        return self._start(trial_id, proposal)

    def _start(self, trial_id: str, proposal: Proposal) -> dict[str, Any]:
        self._on_propose(proposal)
        self._live[trial_id] = proposal
        return {
            "number": proposal.number,
            "parameters": proposal.parameters,
            "seed": proposal.seed,
            "purpose": proposal.purpose,
        }

    def retry(self, retry: Retry) -> None:
        """Propose a failed trial again."""
        self._retries.add(retry)

    def give_up(self, number: int, kind: str) -> None:
        """Tell the end of a failed trial that is not tried again."""
        self._tell_failure(self._retries.give_up(number), kind)

    def started(self, trial_id: str) -> None:
        """Let proposals go on when a retry has its worker.

        A retry that runs alone still holds them back.
        """
        self._retries.started(trial_id)

    def _next(self) -> Proposal | None:
        if not self._waiting and (paused := self._next_paused()):
            return paused
        if not self._waiting and not self._has_begun_all():
            self._waiting += self._ask_allowed()
        if not self._waiting and self._is_idle() and self._has_searched_all():
            self._prune_paused()
        if not self._waiting and self._is_idle() and self._has_searched_all() and not self._repeats_asked:
            self._ask_repeats()
        return self._waiting.pop(0) if self._waiting else None

    def _ask_repeats(self) -> None:
        """Propose the repeats of the best trials, as many as the budget allows."""
        missing = missing_repeats(self.spec, self._latest(), self._next_number)
        most = self.spec.budget.trials
        self._waiting = missing if most is None else missing[: max(0, most - self._next_number + self._refused)]
        self._next_number += len(self._waiting)
        self._repeats_asked = len(self._waiting) == len(missing)

    def _next_paused(self) -> Proposal | None:
        """Return the waiting trial that goes on next.

        None if a new one is to begin.
        """
        live = (proposal.number for proposal in self._live.values())
        return self._paused.next(live, is_last=self._has_begun_all() and not self._retries)

    def _prune_paused(self) -> None:
        """Tell that the trials that still wait have ended."""
        if ended := self._paused.end():
            for proposal in ended:
                self._tell_pruned(self._asked[proposal.number])
            self._on_prune([proposal.number for proposal in ended])

    def _has_begun_all(self) -> bool:
        """Return True if no new trial is left to begin, or none may."""
        return self._has_searched_all() or self.limit is not None

    def _has_searched_all(self) -> bool:
        """Return True if all trials of the search have begun."""
        refused = 0 if self._grid else self._refused  # because a grid has no other points
        return self._searched - refused >= (self.spec.search.trials or 0)

    @property
    def limit(self) -> str | None:
        """Key of the limit that lets no new trial begin, while some are left to begin."""
        if self._has_searched_all() and self._repeats_asked:
            return None
        most = self.spec.budget.trials
        if most is not None and self._next_number - self._refused >= most:
            return "budget.trials"
        return "budget.plateau" if self._plateau.is_reached and not self._has_searched_all() else None

    def _is_idle(self) -> bool:
        """Return True if no trial runs and no retry waits."""
        return not self._live and not self._retries

    def _is_over(self) -> bool:
        """Return True if nothing will be proposed any more."""
        if self.limit is not None:
            return self._is_idle()
        may_go_on = self._paused.can_wait and not self._is_idle()
        return self._repeats_asked and not self._retries and not may_go_on

    def _ask_allowed(self) -> list[Proposal]:
        """Draw a configuration inside the constraints that are known before its training.

        There is none at the end of a grid.

        Raises:
            StudyError: None of `MOST_REFUSED` in a row is inside.
        """
        while not self._has_begun_all():
            proposal = self._ask()
            known = self._known(proposal.parameters)
            if not is_outside(self.spec.constraints, known):
                self._refused_in_a_row = 0
                return [proposal]
            self._refuse(proposal, known)
        return []

    def _refuse(self, proposal: Proposal, known: Mapping[str, Any]) -> None:
        """Tell that a trial is outside of a constraint, without training it."""
        trial = self._asked[proposal.number]
        self._constrain(trial, known)
        self._tell_pruned(trial)
        self._on_refuse(proposal, known)
        self._refused += 1
        self._refused_in_a_row += 1
        if self._refused_in_a_row >= MOST_REFUSED:
            what = describe_outside(self.spec.constraints, known)
            raise StudyError(
                f"constraints: none of {MOST_REFUSED} configurations in a row is inside, such as {what};"
                " a larger bound or another space has some"
            )

    def _constrain(self, trial: optuna.Trial, measured: Mapping[str, Any]) -> None:
        """Tell Optuna how far a trial is outside of each constraint."""
        for metric, excess in excesses(self.spec.constraints, measured).items():
            trial.set_constraint(metric, excess)

    def _ask(self) -> Proposal:
        """Draw one configuration. A grid's points are enqueued one by one."""
        number, index, seed = self._next_number, self._searched, self.spec.search.seed
        self.study.sampler = self._sampler(index)
        first = self._first(index)
        if first is not None:
            self._enqueue(first)
        trial = self.study.ask()
        trial.set_user_attr("number", number)
        parameters = self.spec.space.draw(lambda name, one: suggest_value(trial, name, one))
        self._asked[number] = trial
        self._searched += 1
        self._next_number += 1
        return Proposal(
            number=number,
            parameters=parameters,
            seed=derive_trial_seed(seed, "trial", number),
            origin=self._origin(index),
            sampler_attrs=self.sampler_attrs(number),
        )

    def _first(self, index: int) -> Mapping[str, Any] | None:
        """Return the configuration of a proposal that no sampler makes, None for the others."""
        if self._grid:
            return self._grid[index % len(self._grid)]
        if index < self._named:
            return default_configuration(self.spec, (self.spec.search.try_first or [])[index])
        best = self._learned.best if self._learned else []
        if 0 <= (place := index - self._named) < len(best):
            return best[place]
        is_default = place == len(best) and learns_from_rungs(self.spec)
        return default_configuration(self.spec) if is_default else None

    def _origin(self, index: int) -> str:
        """Return the name of what makes a proposal."""
        if index < self._named:
            return TRY_FIRST
        is_learned = self._learned is not None and index - self._named < len(self._learned.best)
        return LEARNED if is_learned else proposing_sampler(self.spec, index)

    def _sampler(self, index: int) -> optuna.samplers.BaseSampler:
        """Return the sampler of one proposal."""
        return make_sampler(self.spec, index, self.study, self._learned)

    def _enqueue(self, point: Mapping[str, Any]) -> None:
        space = self.spec.space
        drawn = distributions_of(space, point)
        self.study.enqueue_trial({name: to_optuna(space[name], point[name]) for name in drawn})

    def sampler_attrs(self, number: int) -> str:
        """Return what the sampler keeps about a trial, as JSON."""
        if number not in self._asked:
            return "{}"
        frozen = self.study.get_trials(deepcopy=False)[self._asked[number].number]
        return dump_attributes(frozen.system_attrs)

    def forget(self, number: int) -> None:
        """Forget a trial that has ended, which Optuna's study still holds."""
        self._asked.pop(number, None)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch's value, which Optuna allows with one objective only."""
        self._report(self._live[trial_id], result)

    def _report(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        metric, trial = self.spec.objective[0].metric, self._asked.get(proposal.number)
        if proposal.purpose == "search":
            self._plateau.report(proposal.number, result)
        if trial is None or len(self.spec.objective) > 1 or metric not in result:
            return
        if result["epoch"] not in self._reported.setdefault(proposal.number, set()):
            self._reported[proposal.number].add(result["epoch"])
            trial.report(result[metric], result["epoch"])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell how a trial ended.

        A trial that failed waits for `retry` or `give_up`. One that never began is proposed again.
        """
        proposal = self._live.pop(trial_id)
        self._retries.ended(trial_id)
        if error:
            self._retries.fail(proposal)
        elif result is None:
            self._waiting.insert(0, proposal)
        elif result.get("error"):
            self._tell_failure(proposal, result.get("error_kind", "configuration"))
        elif self._paused.takes(proposal):
            self._report(proposal, result)
            self._plateau.ended(proposal.number)
        else:
            self._tell(proposal, result)

    def is_paused(self, number: int) -> bool:
        """Return True if a trial waits at a rung."""
        return number in self._paused

    def _tell(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        """Tell Optuna of a trial that is complete or was stopped early."""
        trial = self._let_go(proposal, result)
        if trial is None:
            return
        self._constrain(trial, result)
        is_complete = outcome(result) == "COMPLETE"
        self._paused.ended(proposal.number, is_complete)
        if is_complete:
            values = [result[objective.metric] for objective in self.spec.objective]
            self.study.tell(trial, values, TrialState.COMPLETE)
        else:
            self._tell_pruned(trial)

    def _tell_pruned(self, trial: optuna.Trial) -> None:
        """Tell Optuna of a trial that was stopped early.

        Optuna allows that with one objective only.
        """
        is_single = len(self.spec.objective) == 1
        self.study.tell(trial, state=TrialState.PRUNED if is_single else TrialState.FAIL)

    def _tell_failure(self, proposal: Proposal, kind: str) -> None:
        """Tell Optuna of a failed trial.

        It counts as the worst if its parameters are at fault.
        """
        trial = self._let_go(proposal, {})
        if trial is None:
            return
        self._paused.ended(proposal.number, is_complete=False)
        if counts_as_worst(self.spec, kind):
            if self.spec.search.sampler not in BLIND_TO_CONSTRAINTS:
                trial.set_constraint(TRAINABLE, 1.0)
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _let_go(self, proposal: Proposal, result: Mapping[str, Any]) -> optuna.Trial | None:
        """Report the last value and return Optuna's trial, None for a repeat."""
        self._report(proposal, result)
        if proposal.purpose == "search":
            self._plateau.ended(proposal.number)
        self._reported.pop(proposal.number, None)
        return self._asked.get(proposal.number)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the tables rebuild the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, because the tables rebuild the searcher."""
