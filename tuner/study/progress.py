"""The progress of a running study, and the time that is left."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any, Literal

from tuner.analysis.formatting import is_missing, whole_number
from tuner.config.study import StudyConfig
from tuner.results.ranking import is_allowed
from tuner.results.schema import OUTSIDE, is_search
from tuner.study.budget import Spent
from tuner.study.epochs_left import Course
from tuner.study.observer import Row
from tuner.study.rung_counts import RungCounts
from tuner.study.time_left import Pace, TimeLeft

Phase = Literal["starting", "first epoch", "training", "stopping", "interrupted", "finishing"]


class Progress:
    """Progress of a running study.

    It counts running, waiting and finished trials, and estimates the time left.

    Args:
        spec: The study.
        earlier: Rows of its trials from earlier runs.
        spent: What earlier runs have spent of its budget.
        judged: Verdicts of earlier runs on its trials.
        clock: Returns the time in seconds.

    Attributes:
        counts: Number of ended trials by state.
        running: Rows of the trials that Ray has.
        waiting: Rows of the trials that wait at a rung.
        reports: The last report of each running trial.
        best: Row of the best trial of the search so far.
        history: Epochs of all trials until each new best value, and that value.
        rungs: Trials at each rung.
        slots: Trials that can run side by side, None if unknown.
        halting: True once the study is being stopped.
        interrupted: True if no driver runs the study, although trials are left.
    """

    def __init__(
        self,
        spec: StudyConfig,
        earlier: Iterable[Mapping[Any, Any]] = (),
        spent: Spent | None = None,
        judged: Iterable[Mapping[Any, Any]] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.spec = spec
        self._spent = spent or Spent()
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self.running: dict[int, Row] = {}
        self.waiting: dict[int, Row] = {}
        self.reports: dict[int, Row] = {}
        self.best: Row | None = None
        self.history: list[tuple[int, float]] = []
        self.rungs = RungCounts(spec, judged)
        self.slots: int | None = None
        self.halting = self.interrupted = False
        self.epochs = 0
        self._pace = Pace(spec)
        self._began = clock()
        self._training_since: float | None = None
        self._taken_up: dict[int, float] = {}
        self._epochs_before: dict[int, int] = {}
        self._seconds_before: dict[int, float] = {}
        self._without_repeats = self._repeats = 0
        for row in sorted(earlier, key=_time):
            self._take_over({str(key): cell for key, cell in row.items()})

    def _take_over(self, row: Row) -> None:
        """Record a trial of an earlier run, unless it was running.

        A trial that was running goes on at once, and `started` records it.
        """
        if row["state"] == "RUNNING":
            return
        self.epochs += _work(row)[0]
        self._register(row)
        if row["state"] == "PAUSED":
            self.paused(row)
        else:
            self.rungs.ended(row["number"])
            self._count(row)

    @property
    def done(self) -> int:
        """Trials that have finished or wait, repeats included."""
        return self.counts.total() + len(self.waiting)

    @property
    def total(self) -> int:
        """Trials of the search, and the repeats that they may still earn."""
        planned = (self.spec.search.trials or 0) + self._earned_repeats
        most = self.spec.budget.trials
        return max(planned if most is None else min(planned, most), self.done + len(self.running))

    @property
    def _earned_repeats(self) -> int:
        """Repeats of the trials that are or may yet be complete."""
        repeats = self.spec.repeats
        earning = (self.spec.search.trials or 0) - self._without_repeats
        if repeats is None:
            return 0
        return repeats.seeds * (earning if repeats.top == "all" else min(repeats.top, earning))

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return max(0.0, self._clock() - self._began)

    @property
    def phase(self) -> Phase:
        """Phase of this run. Training begins with the first reported epoch."""
        if self.halting:
            return "stopping"
        if self.interrupted:
            return "interrupted"
        if self._training_since is not None:
            return "training" if self.done < self.total else "finishing"
        return "first epoch" if self._taken_up else "starting"

    @property
    def begun(self) -> int:
        """Running trials that a worker has begun."""
        return len(self._taken_up)

    @property
    def left(self) -> TimeLeft | None:
        """Seconds until the end, at most until the budget's end.

        The result is None if nothing is known yet. Trials that have not begun are expected to be
        like those before. Repeats run to their end.
        """
        hours = self.spec.budget.hours
        budget = None if hours is None else max(0.0, hours * 3600 - self._spent.seconds - self.elapsed)
        if self._training_since is None:
            return None if budget is None else TimeLeft(budget, budget, budget)
        left = self._time_of_work(self._clock() - self._training_since)
        return left if budget is None else left.at_most(budget)

    def _time_of_work(self, wall: float) -> TimeLeft:
        """Estimate the time of the trials that are left.

        The budget of epochs may end them earlier.
        """
        courses = [Course(_work(row)[0], row["epochs_planned"], is_search(row)) for row in list(self.running.values())]
        later = self.total - self.done - len(courses)
        repeats = min(later, max(0, self._earned_repeats - self._repeats))
        left = self._pace.left(wall, courses, later - repeats, repeats, self.rungs.rungs)
        if self.spec.budget.epochs is None:
            return left
        epochs = max(0, self.spec.budget.epochs - self._spent.epochs - self._pace.epochs.count)
        return left.at_most(epochs * wall / self._pace.epochs.count)

    def started(self, row: Row) -> None:
        """Record a trial that starts or resumes."""
        number, is_known = row["number"], row["number"] in self.running | self.waiting
        self._leave(number)
        self.running[number] = row
        epochs, self._seconds_before[number] = _work(row)
        self._epochs_before[number] = epochs
        if not is_known:
            self.epochs += epochs
            self._register(row)

    def _register(self, row: Row) -> None:
        """Record what a trial is to run, once for each trial."""
        if is_search(row):
            self._pace.planned(row["epochs_planned"])
        else:
            self._repeats += 1

    def taken_up(self, row: Row) -> None:
        """Record an attempt that a worker began."""
        self._taken_up[row["number"]] = self._clock()

    def reported(self, row: Row, report: Row) -> None:
        """Record an epoch.

        An epoch that a resumed trial repeats does not count for the pace.
        """
        number, run = row["number"], row["epochs_run"]
        self.reports[number] = report
        epochs = run - self._epochs_before[number]
        if epochs <= 0:
            return
        seconds = row["seconds"] - self._seconds_before[number]
        self._pace.trained(epochs, seconds)
        self.epochs += epochs
        self._epochs_before[number], self._seconds_before[number] = run, row["seconds"]
        if self._training_since is None:  # when the first epoch began
            self._training_since = self._clock() - seconds

    def paused(self, row: Row) -> None:
        """Record that a trial waits."""
        number = row["number"]
        self._leave(number)
        self.waiting[number] = row

    def ended(self, row: Row) -> bool:
        """Record an end, and return True if no other attempt follows."""
        number = row["number"]
        if self.running.get(number, row)["state"] == "RUNNING":
            return False
        self._leave(number)
        self.rungs.ended(number)
        self._count(row)
        return True

    def running_for(self, number: int) -> float | None:
        """Return the seconds since a worker began the trial, None before that."""
        since = self._taken_up.get(number)
        return None if since is None else self._clock() - since

    def _leave(self, number: int) -> None:
        """Forget that a trial runs or waits."""
        self.waiting.pop(number, None)
        for known in (self.running, self.reports, self._taken_up):
            known.pop(number, None)

    def _count(self, row: Row) -> None:
        """Count an ended trial, unless a constraint kept it from training."""
        if row.get("error_kind") == OUTSIDE:
            return
        self.counts[row["state"]] += 1
        if not is_search(row):
            return
        self._pace.ended(*_work(row))
        if row["state"] != "COMPLETE":
            self._without_repeats += 1
        elif is_allowed(self.spec, row) and self._is_better(row["value"]):
            self.best = row
            self.history.append((self.epochs, row["value"]))

    def _is_better(self, value: float) -> bool:
        sign = self.spec.objective[0].sign
        return self.best is None or sign * value > sign * self.best["value"]


def _work(row: Mapping[Any, Any]) -> tuple[int, float]:
    """Return the epochs of a trial, and their seconds."""
    seconds: Any = row.get("seconds")
    return whole_number(row.get("epochs_run")), 0.0 if is_missing(seconds) else float(seconds)


def _time(row: Mapping[Any, Any]) -> tuple[bool, Any]:
    """Return a key that sorts rows by time.

    Rows without a time come first.
    """
    at = row.get("updated_at")
    return at is not None, at or 0
