"""Paused trials: those that wait at a rung until they go on, or until the search is over."""

from collections.abc import Callable, Iterable

from tuner.search.proposals import Proposal
from tuner.search.waiting import WaitingRule


class PausedTrials:
    """Proposals of the trials that wait, and the next to go on.

    The rule lets trials go on. Beyond it, `wanted` trials go on to their end, as soon as nothing
    else is left to do or the time just suffices for it.

    Args:
        rule: The stopping rule.
        wanted: Trials that should be complete at the end of the search.
        completed: Trials that are complete.
        proposals: Trials that wait from earlier runs.
        is_urgent: Returns True if the time left just suffices to finish a trial.
    """

    def __init__(
        self,
        rule: WaitingRule,
        wanted: int = 1,
        completed: int = 0,
        proposals: Iterable[Proposal] = (),
        is_urgent: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._rule = rule
        self._wanted = wanted
        self._completed = completed
        self._proposals = {proposal.number: proposal for proposal in proposals}
        self._is_urgent = is_urgent
        self._finishing: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return number in self._proposals

    @property
    def can_wait(self) -> bool:
        """True under a rule by which trials can wait."""
        return self._rule.can_wait

    def takes(self, proposal: Proposal) -> bool:
        """Keep a trial and return True if the rule lets it wait."""
        if proposal.number not in self._rule.waiting:
            return False
        self._proposals[proposal.number] = proposal
        return True

    def ended(self, number: int, is_complete: bool) -> None:
        """Record the end of a trial of the search."""
        self._finishing.discard(number)
        self._completed += is_complete

    def next(self, live: Iterable[int], is_last: bool) -> Proposal | None:
        """Return the trial that goes on next.

        Args:
            live: Trials that run.
            is_last: True if no other trial is left to begin.
        """
        number = self._finish() if self._is_urgently_wanted() else None
        if number is None:
            number = self._rule.promote()
        if number is None and is_last and self._finishing.issuperset(live) and self._is_wanted():
            number = self._finish()
        return None if number is None else self._proposals.pop(number)

    def end(self) -> list[Proposal]:
        """Let no trial wait any more, and return those that did."""
        return [self._proposals.pop(number) for number in self._rule.end()]

    def _finish(self) -> int | None:
        number = self._rule.finish()
        if number is not None:
            self._finishing.add(number)
        return number

    def _is_wanted(self) -> bool:
        return self._completed + len(self._finishing) < self._wanted

    def _is_urgently_wanted(self) -> bool:
        best = self._rule.best() if self._is_wanted() else None
        return best is not None and self._is_urgent(best)
