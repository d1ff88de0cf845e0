"""What people see while a study runs: a live panel in a terminal, plain lines anywhere else."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import mean
from time import monotonic
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.analysis.formatting import clock, is_missing, metric_text, parameters_text
from tuner.config.study import StudyConfig
from tuner.study.observer import Observer, Row

HEARTBEAT_SECONDS = 30.0
"""Without a terminal, a line about running trials at most so often."""
STARTING = "Ray and the workers are starting …"
HALTING = "Stopping; trials in flight can go on later (Ctrl-C again ends at once)"


Phase = Literal["starting", "first epoch", "training", "stopping", "finishing"]


class Standing:
    """How a running study stands: what is running, what is done, what is best, and how long it will take.

    Args:
        spec: The study.
        earlier: Rows of its trials from earlier runs.
    """

    def __init__(self, spec: StudyConfig, earlier: Iterable[Mapping[Any, Any]] = ()) -> None:
        self.spec = spec
        self.counts: Counter[str] = Counter()
        self.running: dict[int, Row] = {}
        self.best: Row | None = None
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
            if row["state"] != "RUNNING":
                self._count({str(key): cell for key, cell in row.items()})

    @property
    def done(self) -> int:
        """Finished trials, repeats included."""
        return self.counts.total()

    @property
    def total(self) -> int:
        """Trials when the study is done: those of the search, and the repeats that they may still earn."""
        trials, repeats = self.spec.search.trials or 0, self.spec.repeats
        earning = trials - self._without_repeats
        earned = (
            0 if repeats is None else repeats.seeds * (earning if repeats.top == "all" else min(repeats.top, earning))
        )
        return max(trials + earned, self.done + len(self.running))

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return monotonic() - self._began

    @property
    def phase(self) -> Phase:
        """How far this run is: training means that an epoch was reported."""
        if self.halting:
            return "stopping"
        if self._training_since is not None:
            return "training" if self.done < self.total else "finishing"
        return "first epoch" if self._taken_up else "starting"

    @property
    def left(self) -> float | None:
        """Seconds until the end, at most until the budget's end; None where nothing is known yet.

        The pace is that of this run's epochs since training began. Running trials are taken to run to their end, those
        to come to have as many epochs as the finished ones, stopped ones included.
        """
        hours = self.spec.budget.hours
        budget = None if hours is None else max(0.0, hours * 3600 - self.elapsed)
        if self._training_since is None:
            return budget
        pace = (monotonic() - self._training_since) / self._epochs_now
        running = [(row["epochs_planned"], _whole(row.get("epochs_run"))) for row in list(self.running.values())]
        typical = self._epochs_ended or [planned for planned, _ in running]
        to_come = (self.total - self.done - len(running)) * (mean(typical) if typical else 0.0)
        left: float = pace * (to_come + sum(planned - run for planned, run in running))
        return left if budget is None else min(left, budget)

    def started(self, row: Row) -> None:
        """A trial begins, or goes on where an earlier run left it."""
        number = row["number"]
        self.running[number] = row
        self._epochs_before[number] = _whole(row.get("epochs_run"))
        self._seconds_before[number] = row.get("seconds") or 0.0

    def taken_up(self, row: Row) -> None:
        """A worker begins an attempt at a trial."""
        self._taken_up[row["number"]] = monotonic()

    def reported(self, row: Row) -> None:
        """A trial finished an epoch; one that it only repeats after a resume does not count for the pace."""
        number, run = row["number"], row["epochs_run"]
        if run <= self._epochs_before[number]:
            return
        self._epochs_now += run - self._epochs_before[number]
        self._epochs_before[number] = run
        if self._training_since is None:  # when the first epoch began
            self._training_since = monotonic() - (row["seconds"] - self._seconds_before[number])

    def ended(self, row: Row) -> bool:
        """Whether a trial ended, and not only an attempt that another follows."""
        number = row["number"]
        if self.running.get(number, row)["state"] == "RUNNING":
            return False
        self.running.pop(number, None)
        self._taken_up.pop(number, None)
        self._count(row)
        return True

    def running_for(self, number: int) -> float | None:
        """Seconds since a worker took up a trial; None while none has."""
        since = self._taken_up.get(number)
        return None if since is None else monotonic() - since

    def _count(self, row: Row) -> None:
        self.counts[row["state"]] += 1
        self._epochs_ended.append(_whole(row.get("epochs_run")))
        if row["purpose"] != "search":
            return
        if row["state"] != "COMPLETE":
            self._without_repeats += 1
        elif self.best is None or self._sign * row["value"] > self._sign * self.best["value"]:
            self.best = row

    @property
    def _sign(self) -> int:
        return 1 if self.spec.objective[0].direction == "maximize" else -1


class PlainDisplay:
    """A line for each trial that ends, and now and then one for those that run."""

    def __init__(self, console: Console, standing: Standing) -> None:
        self._console, self._standing = console, standing
        self._spoke_at = monotonic()

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._spoke_at = monotonic()

    def halting(self) -> None:
        """Say once that the wish to stop was heard."""
        if not self._standing.halting:
            self._say(HALTING)
        self._standing.halting = True

    def trial_started(self, row: Row) -> None:
        """Remember it."""
        self._standing.started(row)

    def attempt_started(self, row: Row) -> None:
        """Remember it."""
        self._standing.taken_up(row)

    def epoch_reported(self, row: Row) -> None:
        """Say something where nothing was said for long."""
        self._standing.reported(row)
        if monotonic() - self._spoke_at > HEARTBEAT_SECONDS:
            self._say(f"{_head(self._standing)} trial {row['number']}: {self._progress(row)}")

    def trial_ended(self, row: Row) -> None:
        """Say how it ended."""
        if not self._standing.ended(row):
            self._say(_failed_attempt(row))
            return
        test = f", test {row['test_accuracy']:.4f}" if row.get("test_accuracy") is not None else ""
        what = row["error"] if row["state"] == "FAILED" else f"{self._progress(row)}{test}"
        best = " (best so far)" if self._standing.best is row else ""
        self._say(f"{_head(self._standing)} trial {row['number']} {row['state']}: {what}{best}")

    def _progress(self, row: Row) -> str:
        metric = self._standing.spec.objective[0].metric
        value = "" if row.get("value") is None else f"{metric} {metric_text(metric, row['value'])}, "
        return f"{value}{_whole(row.get('epochs_run'))} of {row['epochs_planned']} epochs"


class LiveDisplay(PlainDisplay):
    """A panel at the foot of the terminal that is drawn anew twice a second; failures scroll by above it."""

    def halting(self) -> None:
        """The panel says it from now on."""
        self._standing.halting = True

    def epoch_reported(self, row: Row) -> None:
        """The panel shows it."""
        self._standing.reported(row)

    def trial_ended(self, row: Row) -> None:
        """The panel shows it; an error stays on the screen."""
        if not self._standing.ended(row):
            self._say(_failed_attempt(row))
        elif row["state"] == "FAILED":
            self._say(f"trial {row['number']} FAILED: {row['error']}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The panel, with as many running trials as the terminal has room for."""
        room = max(1, console.height - 9)
        yield Group(Text(), self._bar(options.max_width), *self._summary(), Text(), *self._running(room))

    def _bar(self, width: int) -> RenderableType:
        standing = self._standing
        name = Text(standing.spec.study, style="bold")
        name.truncate(max(8, width // 4), overflow="ellipsis")
        bar = ProgressBar(total=max(standing.total, 1), completed=standing.done)
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        phase: str = standing.phase
        if phase == "training" and standing.left is not None:
            phase = f"about {clock(standing.left)} left"
        line.add_row(name, bar, f"{standing.done}/{standing.total} trials  {clock(standing.elapsed)}  {phase}")
        return line

    def _summary(self) -> Iterator[RenderableType]:
        standing = self._standing
        counts = [f"{standing.counts[state]} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")]
        yield Text(", ".join([f"{len(standing.running)} running", *counts]))
        if best := standing.best:
            metric = standing.spec.objective[0].metric
            text = Text(f"best {metric} {metric_text(metric, best['value'])}", style="bold green")
            yield text.append(f"  trial {best['number']}: {parameters_text(best)}", style="not bold default")

    def _running(self, room: int) -> Iterator[RenderableType]:
        standing = self._standing
        if standing.phase in ("starting", "stopping"):
            yield Text(STARTING if standing.phase == "starting" else HALTING, style="dim")
            return
        rows = list(standing.running.items())
        metric = standing.spec.objective[0].metric
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
        for name in ("trial", "epoch", metric, "time"):
            table.add_column(name, justify="right", no_wrap=True, min_width=max(len(name), 7))
        table.add_column("parameters", no_wrap=True, overflow="ellipsis", ratio=1)
        for number, row in rows[:room]:
            table.add_row(
                str(number),
                f"{_whole(row.get('epochs_run'))}/{row['epochs_planned']}",
                metric_text(metric, row.get("value")),
                "" if (seconds := standing.running_for(number)) is None else clock(seconds),
                parameters_text(row),
            )
        if rows:
            yield table
        if len(rows) > room:
            yield Text(f"… and {len(rows) - room} more", style="dim")


@contextmanager
def watching(console: Console, standing: Standing) -> Iterator[Observer]:
    """The display that suits the console, for as long as the study runs."""
    if not console.is_terminal:
        console.print(STARTING, highlight=False)
        yield PlainDisplay(console, standing)
        return
    display = LiveDisplay(console, standing)
    with Live(display, console=console, refresh_per_second=2, transient=True):
        yield display


def _whole(value: Any) -> int:
    return 0 if is_missing(value) else int(value)


def _failed_attempt(row: Row) -> str:
    return f"trial {row['number']} is tried again, attempt {row['attempt']} failed: {row['error']}"


def _head(standing: Standing) -> str:
    left = "" if standing.left is None else f", about {clock(standing.left)} left"
    return f"[{standing.done}/{standing.total} {clock(standing.elapsed)}{left}]"
