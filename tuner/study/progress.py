"""The progress of a running study, and the time that is left."""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import mean
from time import monotonic
from typing import Any, Literal

from tuner.analysis.formatting import whole_number
from tuner.config.study import StudyConfig
from tuner.results.ranking import is_allowed
from tuner.results.schema import OUTSIDE, is_search
from tuner.study.budget import Spent
from tuner.study.observer import Row
from tuner.study.rung_counts import RungCounts

Phase = Literal["starting", "first epoch", "training", "stopping", "finishing"]


class Progress:
    """Progress of a running study.

    It counts running, waiting and finished trials, and estimates the time left.

    Args:
        spec: The study.
        earlier: Rows of its trials from earlier runs.
        spent: What earlier runs have spent of its budget.
        judged: Verdicts of earlier runs on its trials.
    """

    def __init__(
        self,
        spec: StudyConfig,
        earlier: Iterable[Mapping[Any, Any]] = (),
        spent: Spent | None = None,
        judged: Iterable[Mapping[Any, Any]] = (),
    ) -> None:
        self.spec = spec
        self._spent = spent or Spent()
        self.counts: Counter[str] = Counter()
        self.running: dict[int, Row] = {}
        self.waiting: dict[int, Row] = {}
        self.best: Row | None = None
        self.rungs = RungCounts(spec, judged)
        self.halting = False
        self._began = monotonic()
        self._training_since: float | None = None
        self._taken_up: dict[int, float] = {}
        self._epochs_before: dict[int, int] = {}
        self._seconds_before: dict[int, float] = {}
        self._epochs_now = 0
        self._epochs_ended: list[int] = []
        self._without_repeats = 0
        for row in earlier:
            known = {str(key): cell for key, cell in row.items()}
            if row["state"] == "PAUSED":
                self.waiting[row["number"]] = known
            elif row["state"] != "RUNNING":
                self.rungs.ended(row["number"])
                self._count(known)

    @property
    def done(self) -> int:
        """Trials that have finished or wait, repeats included."""
        return self.counts.total() + len(self.waiting)

    @property
    def total(self) -> int:
        """Trials of the search, and the repeats that they may still earn."""
        trials, repeats = self.spec.search.trials or 0, self.spec.repeats
        earning = trials - self._without_repeats
        repeated = 0
        if repeats is not None:
            repeated = earning if repeats.top == "all" else min(repeats.top, earning)
        earned = 0 if repeats is None else repeats.seeds * repeated
        most = self.spec.budget.trials
        planned = trials + earned if most is None else min(trials + earned, most)
        return max(planned, self.done + len(self.running))

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return monotonic() - self._began

    @property
    def phase(self) -> Phase:
        """Phase of this run. Training begins with the first reported epoch."""
        if self.halting:
            return "stopping"
        if self._training_since is not None:
            return "training" if self.done < self.total else "finishing"
        return "first epoch" if self._taken_up else "starting"

    @property
    def left(self) -> float | None:
        """Seconds until the end, at most until the budget's end.

        The result is None if nothing is known yet. The pace is that of this run's epochs since
        training began. Running trials are expected to run to their end. Later trials are expected
        to have as many epochs as the finished and the waiting ones, stopped ones included.
        """
        hours = self.spec.budget.hours
        budget = None if hours is None else max(0.0, hours * 3600 - self._spent.seconds - self.elapsed)
        if self._training_since is None:
            return budget
        pace = (monotonic() - self._training_since) / self._epochs_now
        rows = list(self.running.values())
        running = [(row["epochs_planned"], whole_number(row.get("epochs_run"))) for row in rows]
        stopped = [whole_number(row.get("epochs_run")) for row in self.waiting.values()]
        typical = [*self._epochs_ended, *stopped] or [planned for planned, _ in running]
        to_come = (self.total - self.done - len(running)) * (mean(typical) if typical else 0.0)
        epochs = to_come + sum(planned - run for planned, run in running)
        if self.spec.budget.epochs is not None:
            epochs = min(epochs, max(0, self.spec.budget.epochs - self._spent.epochs - self._epochs_now))
        left: float = pace * epochs
        return left if budget is None else min(left, budget)

    def started(self, row: Row) -> None:
        """Record a trial that starts or resumes."""
        number = row["number"]
        self.waiting.pop(number, None)
        self.running[number] = row
        self._epochs_before[number] = whole_number(row.get("epochs_run"))
        self._seconds_before[number] = row.get("seconds") or 0.0

    def taken_up(self, row: Row) -> None:
        """Record an attempt that a worker began."""
        self._taken_up[row["number"]] = monotonic()

    def reported(self, row: Row) -> None:
        """Record an epoch.

        An epoch that a resumed trial repeats does not count for the pace.
        """
        number, run = row["number"], row["epochs_run"]
        if run <= self._epochs_before[number]:
            return
        self._epochs_now += run - self._epochs_before[number]
        self._epochs_before[number] = run
        if self._training_since is None:  # when the first epoch began
            self._training_since = monotonic() - (row["seconds"] - self._seconds_before[number])

    def paused(self, row: Row) -> None:
        """Record that a trial waits."""
        self.running.pop(row["number"], None)
        self._taken_up.pop(row["number"], None)
        self.waiting[row["number"]] = row

    def ended(self, row: Row) -> bool:
        """Record an end, and return True if no other attempt follows."""
        number = row["number"]
        if self.running.get(number, row)["state"] == "RUNNING":
            return False
        self.running.pop(number, None)
        self.waiting.pop(number, None)
        self._taken_up.pop(number, None)
        self.rungs.ended(number)
        self._count(row)
        return True

    def running_for(self, number: int) -> float | None:
        """Return the seconds since a worker began the trial, None before that."""
        since = self._taken_up.get(number)
        return None if since is None else monotonic() - since

    def _count(self, row: Row) -> None:
        if row.get("error_kind") == OUTSIDE:
            return
        self.counts[row["state"]] += 1
        self._epochs_ended.append(whole_number(row.get("epochs_run")))
        if not is_search(row):
            return
        if row["state"] != "COMPLETE":
            self._without_repeats += 1
        elif not is_allowed(self.spec, row):
            return
        elif self.best is None or self._sign * row["value"] > self._sign * self.best["value"]:
            self.best = row

    @property
    def _sign(self) -> int:
        return self.spec.objective[0].sign
