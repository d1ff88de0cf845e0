"""The display of a running study: a live panel in a terminal, plain lines anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.analysis.formatting import format_clock, metric_text, parameters_text, whole_number
from tuner.study.observer import Observer, Row
from tuner.study.progress import Progress

HEARTBEAT_SECONDS = 30.0
"""Seconds between two lines about running trials, without a terminal."""
STARTING = "Ray and the workers are starting …"
PARAMETERS = "parameters"
HALTING = "Stopping; trials in flight can go on later (Ctrl-C again ends at once)"


class PlainDisplay:
    """A display of plain lines.

    It prints a line for each trial that ends, and some about running trials.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._printed_at = monotonic()

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._printed_at = monotonic()

    def halting(self) -> None:
        """Print once that the study is stopping."""
        if not self._progress.halting:
            self._print(HALTING)
        self._progress.halting = True

    def trial_started(self, row: Row) -> None:
        """Record the trial."""
        self._progress.started(row)

    def attempt_started(self, row: Row) -> None:
        """Record the attempt."""
        self._progress.taken_up(row)

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        """Print a line if the last one is `HEARTBEAT_SECONDS` old."""
        self._progress.reported(row)
        if monotonic() - self._printed_at > HEARTBEAT_SECONDS:
            self._print(f"{_head(self._progress)} trial {row['number']}: {self._epochs_text(row)}")

    def trial_judged(self, decision: Row) -> None:
        """Record the verdict."""
        self._progress.rungs.judged(decision)

    def trial_paused(self, row: Row) -> None:
        """Print that the trial waits."""
        self._progress.paused(row)
        self._print(f"{_head(self._progress)} trial {row['number']} waits: {self._epochs_text(row)}")

    def trial_ended(self, row: Row) -> None:
        """Print how the trial ended."""
        if not self._progress.ended(row):
            self._print(_failed_attempt(row))
            return
        test = f", test {row['test_accuracy']:.4f}" if row.get("test_accuracy") is not None else ""
        what = row["error"] if row.get("error") else f"{self._epochs_text(row)}{test}"
        best = " (best so far)" if self._progress.best is row else ""
        self._print(f"{_head(self._progress)} trial {row['number']} {row['state']}: {what}{best}")

    def _epochs_text(self, row: Row) -> str:
        metric = self._progress.spec.objective[0].metric
        value = "" if row.get("value") is None else f"{metric} {metric_text(metric, row['value'])}, "
        return f"{value}{whole_number(row.get('epochs_run'))} of {row['epochs_planned']} epochs"


class LiveDisplay(PlainDisplay):
    """A panel at the foot of the terminal, with failures above it."""

    def halting(self) -> None:
        """Show from now on that the study is stopping."""
        self._progress.halting = True

    def epoch_reported(self, row: Row, report: Row) -> None:  # noqa: ARG002
        """Record the epoch, which the panel then shows."""
        self._progress.reported(row)

    def trial_paused(self, row: Row) -> None:
        """Record that the trial waits, which the panel then shows."""
        self._progress.paused(row)

    def trial_ended(self, row: Row) -> None:
        """Record the end of a trial, and print errors above the panel."""
        if not self._progress.ended(row):
            self._print(_failed_attempt(row))
        elif row["state"] == "FAILED":
            self._print(f"trial {row['number']} FAILED: {row['error']}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the panel, as high as the terminal allows.

        It has as many running trials as the terminal has room for.
        """
        room = max(1, console.height - 9)
        width = options.max_width
        yield Group(Text(), self._bar(width), *self._summary(), Text(), *self._running(room, width))

    def _bar(self, width: int) -> RenderableType:
        progress = self._progress
        phase: str = progress.phase
        if phase == "training" and progress.left is not None:
            phase = f"about {format_clock(progress.left)} left"
        state = f"{progress.done}/{progress.total} trials  {format_clock(progress.elapsed)}  {phase}"
        if width < len(state) + 16:  # no room for a bar beside whole numbers
            return Text(state)
        name = Text(progress.spec.study, style="bold")
        name.truncate(max(8, width // 4), overflow="ellipsis")
        bar = ProgressBar(total=max(progress.total, 1), completed=progress.done)
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(no_wrap=True)
        line.add_column(ratio=1)
        line.add_column(no_wrap=True)
        line.add_row(name, bar, state)
        return line

    def _summary(self) -> Iterator[RenderableType]:
        progress = self._progress
        counts = [f"{progress.counts[state]} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")]
        waiting = [f"{len(progress.waiting)} waiting"] if progress.waiting else []
        yield Text(", ".join([f"{len(progress.running)} running", *waiting, *counts]))
        if best := progress.best:
            metric = progress.spec.objective[0].metric
            text = Text(f"best {metric} {metric_text(metric, best['value'])}", style="bold green")
            yield text.append(f"  trial {best['number']}: {parameters_text(best)}", style="not bold default")

    def _running(self, room: int, width: int) -> Iterator[RenderableType]:
        progress = self._progress
        if progress.phase in ("starting", "stopping"):
            yield Text(STARTING if progress.phase == "starting" else HALTING, style="dim")
            return
        rows = list(progress.running.items())
        if rows:
            yield _rows_table([self._cells(number, row) for number, row in rows[:room]], width)
        if len(rows) > room:
            yield Text(f"… and {len(rows) - room} more", style="dim")

    def _cells(self, number: int, row: Row) -> dict[str, str]:
        """Return a running trial's cells, by the names of their columns."""
        metric, seconds = self._progress.spec.objective[0].metric, self._progress.running_for(number)
        return {
            "trial": str(number),
            "epoch": f"{whole_number(row.get('epochs_run'))}/{row['epochs_planned']}",
            metric: metric_text(metric, row.get("value")),
            "time": "" if seconds is None else format_clock(seconds),
            PARAMETERS: parameters_text(row),
        }


def _rows_table(rows: list[dict[str, str]], width: int) -> Table:
    """Return a table with as many columns as fit.

    A column is left out whole, because half a number reads like another number.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=True)
    shown: list[str] = []
    for name in rows[0]:
        needed = max(7, len(name), *(len(row[name]) for row in rows)) if name != PARAMETERS else 12
        width -= needed + 2
        if shown and width < 0:
            break
        shown.append(name)
        if name == PARAMETERS:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(name, justify="right", no_wrap=True, min_width=needed)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


@contextmanager
def watching(console: Console, progress: Progress) -> Iterator[Observer]:
    """Show the display that suits the console while the study runs."""
    if not console.is_terminal:
        console.print(STARTING, highlight=False)
        yield PlainDisplay(console, progress)
        return
    display = LiveDisplay(console, progress)
    with Live(display, console=console, refresh_per_second=2, transient=True):
        yield display


def _failed_attempt(row: Row) -> str:
    return f"trial {row['number']} is tried again, attempt {row['attempt']} failed: {row['error']}"


def _head(progress: Progress) -> str:
    left = "" if progress.left is None else f", about {format_clock(progress.left)} left"
    return f"[{progress.done}/{progress.total} {format_clock(progress.elapsed)}{left}]"
