"""The display of a running study: a live panel in a terminal, plain lines anywhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from tuner.analysis.formatting import format_clock, format_range, metric_text, whole_number
from tuner.cli.panel import Panel
from tuner.study.observer import Observer, Row
from tuner.study.progress import Progress
from tuner.study.waits import HALTING, STARTING

HEARTBEAT_SECONDS = 30.0
"""Seconds between two lines about running trials, without a terminal."""


class PlainDisplay:
    """A display of plain lines.

    It prints a line for each trial that ends, and some about running trials.
    """

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console, self._progress = console, progress
        self._printed_at = monotonic()
        self._pruned = 0

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._printed_at = monotonic()

    def halting(self) -> None:
        """Print once that the study is stopping."""
        if not self._progress.halting:
            self._print(HALTING)
        self._progress.halting = True

    def slots_counted(self, slots: int) -> None:
        """Record the slots."""
        self._progress.slots = slots

    def trial_started(self, row: Row) -> None:
        """Record the trial."""
        self._progress.started(row)

    def attempt_started(self, row: Row) -> None:
        """Record the attempt."""
        self._progress.taken_up(row)

    def epoch_reported(self, row: Row, report: Row) -> None:
        """Print a line if the last one is `HEARTBEAT_SECONDS` old."""
        self._progress.reported(row, report)
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
        """Print how the trial ended. Trials that waited are only counted."""
        waited = row["number"] in self._progress.waiting
        if not self._progress.ended(row):
            self._print(_failed_attempt(row))
            return
        if waited and row["state"] == "PRUNED":
            self._pruned += 1
            return
        test = f", test {row['test_accuracy']:.4f}" if row.get("test_accuracy") is not None else ""
        what = row["error"] if row.get("error") else f"{self._epochs_text(row)}{test}"
        best = " (best so far)" if self._progress.best is row else ""
        self._print(f"{_head(self._progress)} trial {row['number']} {row['state']}: {what}{best}")

    def finish(self) -> None:
        """Print a summary of the run, and how many trials still waited."""
        if self._pruned:
            self._print(f"{self._pruned} trials that waited at a rung are pruned, because the search is over")
        if self._progress.epochs:
            self._print(_summary(self._progress))

    def _epochs_text(self, row: Row) -> str:
        metric = self._progress.spec.objective[0].metric
        value = "" if row.get("value") is None else f"{metric} {metric_text(metric, row['value'])}, "
        return f"{value}{whole_number(row.get('epochs_run'))} of {row['epochs_planned']} epochs"


class LiveDisplay(PlainDisplay):
    """A panel at the foot of the terminal, with failures above it."""

    def __init__(self, console: Console, progress: Progress) -> None:
        super().__init__(console, progress)
        self._panel = Panel(lambda: progress)

    def halting(self) -> None:
        """Show from now on that the study is stopping."""
        self._progress.halting = True

    def epoch_reported(self, row: Row, report: Row) -> None:
        """Record the epoch, which the panel then shows."""
        self._progress.reported(row, report)

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
        """Draw the panel."""
        yield self._panel


@contextmanager
def watching(console: Console, progress: Progress) -> Iterator[Observer]:
    """Show the display that suits the console while the study runs."""
    if not console.is_terminal:
        console.print(STARTING, highlight=False)
        display = PlainDisplay(console, progress)
        yield display
    else:
        display = LiveDisplay(console, progress)
        with Live(display, console=console, refresh_per_second=2, transient=True):
            yield display
    display.finish()


def _failed_attempt(row: Row) -> str:
    return f"trial {row['number']} is tried again, attempt {row['attempt']} failed: {row['error']}"


def _head(progress: Progress) -> str:
    """Return the trials, the time and the time left, in brackets."""
    left = None if progress.phase in ("interrupted", "finishing") else progress.left
    text = "" if left is None else f", {format_range(left.low, left.high)} left"
    return f"[{progress.done}/{progress.total} {format_clock(progress.elapsed)}{text}]"


def describe_progress(progress: Progress) -> str:
    """Describe a study's trials, time and best value in one line."""
    metric, best = progress.spec.objective[0].metric, progress.best
    counts = [*progress.counts.items(), ("waiting", len(progress.waiting)), ("running", len(progress.running))]
    texts = [f"{count} {name.lower()}" for name, count in counts if count] or ["no trial yet"]
    if best is not None:
        texts.append(f"best {metric} {metric_text(metric, best['value'])} (trial {best['number']})")
    return f"{_head(progress)} {', '.join(texts)}"


def _summary(progress: Progress) -> str:
    """Return what a run took, and how many trials passed each rung."""
    rungs = [f"rung {rung.epoch}: {rung.passed} of {rung.total} went on" for rung in progress.rungs.rungs if rung.total]
    took = f"{format_clock(progress.elapsed)}; {progress.epochs} epochs of all trials"
    return f"Took {'; '.join([took, *rungs])}"
