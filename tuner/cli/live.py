"""What people see while a study runs: a live panel in a terminal, plain lines anywhere else."""

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
"""Without a terminal, a line about running trials at most so often."""
STARTING = "Ray and the workers are starting …"
HALTING = "Stopping; trials in flight can go on later (Ctrl-C again ends at once)"


class PlainDisplay:
    """A line for each trial that ends, and now and then one for those that run."""

    def __init__(self, console: Console, standing: Progress) -> None:
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
        return f"{value}{whole_number(row.get('epochs_run'))} of {row['epochs_planned']} epochs"


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
            phase = f"about {format_clock(standing.left)} left"
        line.add_row(name, bar, f"{standing.done}/{standing.total} trials  {format_clock(standing.elapsed)}  {phase}")
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
                f"{whole_number(row.get('epochs_run'))}/{row['epochs_planned']}",
                metric_text(metric, row.get("value")),
                "" if (seconds := standing.running_for(number)) is None else format_clock(seconds),
                parameters_text(row),
            )
        if rows:
            yield table
        if len(rows) > room:
            yield Text(f"… and {len(rows) - room} more", style="dim")


@contextmanager
def watching(console: Console, standing: Progress) -> Iterator[Observer]:
    """The display that suits the console, for as long as the study runs."""
    if not console.is_terminal:
        console.print(STARTING, highlight=False)
        yield PlainDisplay(console, standing)
        return
    display = LiveDisplay(console, standing)
    with Live(display, console=console, refresh_per_second=2, transient=True):
        yield display


def _failed_attempt(row: Row) -> str:
    return f"trial {row['number']} is tried again, attempt {row['attempt']} failed: {row['error']}"


def _head(standing: Progress) -> str:
    left = "" if standing.left is None else f", about {format_clock(standing.left)} left"
    return f"[{standing.done}/{standing.total} {format_clock(standing.elapsed)}{left}]"
