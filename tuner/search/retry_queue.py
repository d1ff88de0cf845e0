"""Retries of failed trials that wait for their turn."""

import time

from tuner.search.proposals import Proposal, Retry


class RetryQueue:
    """Failed trials, and their retries that wait.

    A retry with a place of its own holds proposals back until it has its worker. One that runs alone
    holds them back until it ends.
    """

    def __init__(self) -> None:
        self._failed: dict[int, Proposal] = {}
        self._retries: list[Retry] = []
        self._held_until = 0.0
        self._placed: tuple[str, Retry] | None = None

    def __len__(self) -> int:
        return len(self._retries)

    @property
    def holds(self) -> bool:
        """True if nothing may be proposed now."""
        return self._placed is not None or time.monotonic() < self._held_until

    @property
    def has_lonely(self) -> bool:
        """True if a retry waits that is to run alone."""
        return any(retry.alone for retry in self._retries)

    def fail(self, proposal: Proposal) -> None:
        """Keep a failed trial until it is known what follows."""
        self._failed[proposal.number] = proposal

    def give_up(self, number: int) -> Proposal:
        """Forget a failed trial, and return it."""
        return self._failed.pop(number)

    def add(self, retry: Retry) -> None:
        """Let a failed trial wait for its next attempt."""
        self._retries.append(retry)
        if retry.holds:
            self._held_until = max(self._held_until, retry.not_before)

    def due(self, is_idle: bool) -> Retry | None:
        """Return the first retry that may begin.

        Args:
            is_idle: True if no trial runs, which a retry that runs alone waits for.
        """
        now = time.monotonic()
        due = (retry for retry in self._retries if retry.not_before <= now)
        return next((retry for retry in due if is_idle or not retry.alone), None)

    def begin(self, trial_id: str, retry: Retry) -> Proposal:
        """Take a retry out of the queue, and return its trial."""
        self._retries.remove(retry)
        if retry.avoid or retry.alone:
            self._placed = trial_id, retry
        return self._failed.pop(retry.number)

    def started(self, trial_id: str) -> None:
        """Let proposals go on when a retry has its worker.

        A retry that runs alone still holds them back.
        """
        if self._placed and self._placed[0] == trial_id and not self._placed[1].alone:
            self._placed = None

    def ended(self, trial_id: str) -> None:
        """Let proposals go on when a retry has ended."""
        if self._placed and self._placed[0] == trial_id:
            self._placed = None
