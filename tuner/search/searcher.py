"""Proposals of Optuna for Ray Tune, which tells Optuna how trials end."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pandas as pd
from ray.tune.search import Searcher

from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.results.schema import is_search, outcome
from tuner.search.ask_and_tell import AskAndTell
from tuner.search.learned import Learned
from tuner.search.paused import PausedTrials
from tuner.search.plateau import Plateau
from tuner.search.proposals import Proposal, Retry, finalists, missing_repeats, proposals_in
from tuner.search.retry_queue import RetryQueue
from tuner.search.waiting import NobodyWaits, WaitingRule


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
        self.spec = spec
        self._optuna = AskAndTell(spec, trials, epochs, known=known, on_refuse=on_refuse, learned=learned)
        self._slots = slots
        self._on_propose = on_propose
        self._latest = latest
        self._stopping = stopping
        self._on_prune = on_prune
        self._repeats_asked = spec.repeats is None
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

    @property
    def study(self) -> optuna.Study:
        """Optuna's study of the search."""
        return self._optuna.study

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
        if not self._waiting and self._is_idle() and self._optuna.has_asked_all:
            self._prune_paused()
        if not self._waiting and self._is_idle() and self._optuna.has_asked_all and not self._repeats_asked:
            self._ask_repeats()
        return self._waiting.pop(0) if self._waiting else None

    def _ask_repeats(self) -> None:
        """Propose repeats of the best trials, as the budget allows."""
        missing = missing_repeats(self.spec, self._latest(), self._next_number)
        most = self.spec.budget.trials
        self._waiting = missing if most is None else missing[: max(0, most - self._next_number + self._optuna.refused)]
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
                self._optuna.tell_pruned(proposal)
            self._on_prune([proposal.number for proposal in ended])

    def _has_begun_all(self) -> bool:
        """Return True if no new trial is left, or may begin."""
        return self._optuna.has_asked_all or self.limit is not None

    @property
    def limit(self) -> str | None:
        """Key of the limit that lets no new trial begin.

        It is None without such a limit, and when no trial is left to begin.
        """
        if self._optuna.has_asked_all and self._repeats_asked:
            return None
        most = self.spec.budget.trials
        if most is not None and self._next_number - self._optuna.refused >= most:
            return "budget.trials"
        return "budget.plateau" if self._plateau.is_reached and not self._optuna.has_asked_all else None

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
            proposal = self._optuna.ask(self._next_number)
            self._next_number += 1
            if self._optuna.allows(proposal):
                return [proposal]
        return []

    def sampler_attrs(self, number: int) -> str:
        """Return what the sampler keeps about a trial, as JSON."""
        return self._optuna.sampler_attrs(number)

    def forget(self, number: int) -> None:
        """Forget a trial that has ended, which Optuna's study still holds."""
        self._optuna.forget(number)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch's value, which Optuna allows with one objective only."""
        self._report(self._live[trial_id], result)

    def _report(self, proposal: Proposal, result: Mapping[str, Any]) -> None:
        if proposal.purpose == "search":
            self._plateau.report(proposal.number, result)
        self._optuna.report(proposal, result)

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
        """Tell of a trial that is complete or was stopped early."""
        self._report(proposal, result)
        self._leave(proposal, is_complete=outcome(result) == "COMPLETE")
        self._optuna.tell(proposal, result)

    def _tell_failure(self, proposal: Proposal, kind: str) -> None:
        self._leave(proposal, is_complete=False)
        self._optuna.tell_failure(proposal, kind)

    def _leave(self, proposal: Proposal, *, is_complete: bool) -> None:
        """Record that a trial of the search has ended."""
        if proposal.purpose == "search":
            self._plateau.ended(proposal.number)
            self._paused.ended(proposal.number, is_complete)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the tables rebuild the searcher."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, because the tables rebuild the searcher."""
