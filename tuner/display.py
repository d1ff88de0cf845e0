"""What people see while a study runs: a live panel in a terminal, plain lines anywhere else."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from statistics import mean
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.observer import Observer, Row
from tuner.spec import StudySpec

HEARTBEAT_SECONDS = 30.0
"""Without a terminal, a line about running trials at most so often."""
STARTING = "Ray and the workers are starting …"
HALTING = "Stopping; trials in flight can go on later (Ctrl-C again ends at once)"


class Standing:
    """How a running study stands: what is running, what is done, what is best, and how long it will take.

    Args:
        spec: The study.
        earlier: Rows of its trials from earlier runs.
    """

    def __init__(self, spec: StudySpec, earlier: Iterable[Mapping[Any, Any]] = ()) -> None:
        self.spec = spec
        self.counts: Counter[str] = Counter()
        self.running: dict[int, Row] = {}
        self.best: Row | None = None
        self.halting = False
        self._began = time.monotonic()
        self._training_since: float | None = None
        self._handed_out: dict[int, float] = {}
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
        return time.monotonic() - self._began

    @property
    def training(self) -> bool:
        """Whether this run has reported an epoch; before that, Ray and the workers are starting."""
        return self._training_since is not None

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
        pace = (time.monotonic() - self._training_since) / self._epochs_now
        running = [(row["epochs_planned"], _whole(row.get("epochs_run"))) for row in list(self.running.values())]
        typical = self._epochs_ended or [planned for planned, _ in running]
        to_come = (self.total - self.done - len(running)) * (mean(typical) if typical else 0.0)
        left: float = pace * (to_come + sum(planned - run for planned, run in running))
        return left if budget is None else min(left, budget)

    def started(self, row: Row) -> None:
        """A trial begins, or goes on where an earlier run left it."""
        number = row["number"]
        self.running[number] = row
        self._handed_out[number] = time.monotonic()
        self._epochs_before[number] = _whole(row.get("epochs_run"))
        self._seconds_before[number] = row.get("seconds") or 0.0

    def reported(self, row: Row) -> None:
        """A trial finished an epoch; one that it only repeats after a resume does not count for the pace."""
        number, run = row["number"], row["epochs_run"]
        if run <= self._epochs_before[number]:
            return
        self._epochs_now += run - self._epochs_before[number]
        self._epochs_before[number] = run
        if self._training_since is None:  # when the first epoch began
            self._training_since = time.monotonic() - (row["seconds"] - self._seconds_before[number])

    def ended(self, row: Row) -> bool:
        """Whether a trial ended, and not only an attempt that another follows."""
        number = row["number"]
        if self.running.get(number, row)["state"] == "RUNNING":
            self._handed_out[number] = time.monotonic()
            return False
        self.running.pop(number, None)
        self._count(row)
        return True

    def running_for(self, number: int) -> float:
        """Seconds since a running trial's attempt was handed out."""
        return time.monotonic() - self._handed_out[number]

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
        self._spoke_at = time.monotonic()

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._spoke_at = time.monotonic()

    def halting(self) -> None:
        """Say that the wish to stop was heard."""
        self._say(HALTING)

    def trial_started(self, row: Row) -> None:
        """Remember it."""
        self._standing.started(row)

    def epoch_reported(self, row: Row) -> None:
        """Say something where nothing was said for long."""
        self._standing.reported(row)
        if time.monotonic() - self._spoke_at > HEARTBEAT_SECONDS:
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
        room = max(1, console.height - 7)
        yield Group(Text(), self._bar(options.max_width), *self._summary(), Text(), *self._running(room))

    def _bar(self, width: int) -> RenderableType:
        standing = self._standing
        left = "" if standing.left is None else f"about {_duration(standing.left)} left"
        state = "stopping" if standing.halting else left if standing.training else "starting"
        after = f"{standing.done}/{standing.total} trials  {_duration(standing.elapsed)}  {state}"
        name = Text(standing.spec.study, style="bold", no_wrap=True, overflow="ellipsis")
        name.truncate(max(8, width // 4), overflow="ellipsis")
        bar = ProgressBar(total=max(standing.total, 1), completed=standing.done)
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        line.add_row(name, bar, after)
        return line

    def _summary(self) -> Iterator[RenderableType]:
        standing = self._standing
        counts = [f"{standing.counts[state]} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")]
        yield Text(", ".join([f"{len(standing.running)} running", *counts]))
        if best := standing.best:
            metric = standing.spec.objective[0].metric
            text = Text(no_wrap=True, overflow="ellipsis")
            text.append(f"best {metric} {metric_text(metric, best['value'])}", style="bold green")
            yield text.append(f"  trial {best['number']}: {parameters_text(best)}")

    def _running(self, room: int) -> Iterator[RenderableType]:
        standing = self._standing
        if standing.halting:
            yield Text(HALTING)
            return
        if not standing.training:
            yield Text(STARTING, style="dim")
            return
        metric = standing.spec.objective[0].metric
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("trial", "epoch", metric, "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("parameters", no_wrap=True, overflow="ellipsis")
        rows = list(standing.running.items())
        for number, row in rows[:room]:
            table.add_row(
                str(number),
                f"{_whole(row.get('epochs_run'))}/{row['epochs_planned']}",
                "" if row.get("value") is None else metric_text(metric, row["value"]),
                _duration(standing.running_for(number)),
                parameters_text(row),
            )
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


def parameters_text(row: Mapping[Any, Any]) -> str:
    """Searched parameters of a trial in one line: `learning_rate 0.00123, batch_size 64`."""
    cells = [(str(key), value) for key, value in list(row.items()) if not _missing(value)]
    return ", ".join(f"{key[6:]} {number_text(value)}" for key, value in cells if key.startswith("param_"))


def number_text(value: Any) -> str:
    """A value in few characters; nothing where there is none."""
    if _missing(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metric_text(metric: str, value: Any) -> str:
    """A metric with the digits that mean something: accuracies to a hundredth of a percent, seconds to tenths."""
    if _missing(value):
        return ""
    if metric.endswith("accuracy"):
        return f"{value:.4f}"
    if metric.endswith("seconds"):
        return f"{value:,.1f}"
    return f"{value:,.0f}" if metric.endswith("count") else number_text(float(value))


def _missing(value: Any) -> bool:
    """Whether a cell is empty: None, NaN, or pandas' NA, whose comparisons are neither true nor false."""
    return value is None or str(value) in ("nan", "<NA>")


def _whole(value: Any) -> int:
    return 0 if _missing(value) else int(value)


def _failed_attempt(row: Row) -> str:
    return f"trial {row['number']} is tried again, attempt {row['attempt']} failed: {row['error']}"


def _head(standing: Standing) -> str:
    left = "" if standing.left is None else f", about {_duration(standing.left)} left"
    return f"[{standing.done}/{standing.total} {_duration(standing.elapsed)}{left}]"


def _duration(seconds: float) -> str:
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text
