"""What people see while a study runs: a live panel in a terminal, plain lines anywhere else."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.observer import Observer, Row
from tuner.spec import StudySpec

HEARTBEAT_SECONDS = 30.0
"""Without a terminal, a line about running trials at most so often."""


class Standing:
    """How a running study stands: what is running, what is done, what is best, and how long it will take.

    Args:
        spec: The study.
        finished: Trials that earlier runs of the study finished, by state.
        best: The best value so far and its trial's number.
    """

    def __init__(self, spec: StudySpec, finished: dict[str, int], best: tuple[float, int] | None) -> None:
        self.spec = spec
        self.counts = Counter(finished)
        self.running: dict[int, Row] = {}
        self.best = best
        self.total = spec.search.trials or 0
        self._done_before = self.done
        self._began = time.monotonic()
        self._trial_began: dict[int, float] = {}

    @property
    def done(self) -> int:
        """Finished trials."""
        return self.counts["COMPLETE"] + self.counts["PRUNED"] + self.counts["FAILED"]

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float | None:
        """Seconds until the end at the pace of this run, at most until the budget's end; None where unknown."""
        pace = self.done - self._done_before
        hours = self.spec.budget.hours
        budget = None if hours is None else max(0.0, hours * 3600 - self.elapsed)
        if not pace:
            return budget
        left = self.elapsed / pace * max(0, self.total - self.done)
        return left if budget is None else min(left, budget)

    def started(self, row: Row) -> None:
        """A trial begins."""
        self.running[row["number"]] = row
        self._trial_began[row["number"]] = time.monotonic()

    def ended(self, row: Row) -> None:
        """A trial ends, or an attempt that another follows."""
        if self.running.get(row["number"], row)["state"] == "RUNNING":
            return
        self.running.pop(row["number"], None)
        self.counts[row["state"]] += 1
        self.total = max(self.total, self.done + len(self.running))
        sign = 1 if self.spec.objective[0].direction == "maximize" else -1
        if row["state"] == "COMPLETE" and row["purpose"] == "search":
            value = row["value"]
            if self.best is None or sign * value > sign * self.best[0]:
                self.best = (value, row["number"])

    def running_for(self, number: int) -> float:
        """Seconds since a running trial was handed out."""
        return time.monotonic() - self._trial_began.get(number, time.monotonic())

    def summary(self) -> str:
        """Counts by state and the best so far in one line."""
        counts = "  ".join(f"{self.counts[state]} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED"))
        best = (
            ""
            if self.best is None
            else f"   best {self.spec.objective[0].metric} {self.best[0]:.4f} (trial {self.best[1]})"
        )
        return f"{counts}{best}"


class PlainDisplay:
    """A line for each trial that ends, and now and then one for those that run."""

    def __init__(self, console: Console, standing: Standing) -> None:
        self._console, self._standing = console, standing
        self._spoke_at = time.monotonic()

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
        self._spoke_at = time.monotonic()

    def trial_started(self, row: Row) -> None:
        """Remember it."""
        self._standing.started(row)

    def epoch_reported(self, row: Row) -> None:
        """Say something where nothing was said for long."""
        if time.monotonic() - self._spoke_at > HEARTBEAT_SECONDS:
            self._say(f"{_head(self._standing)} trial {row['number']}: {_progress(self._standing.spec, row)}")

    def trial_ended(self, row: Row) -> None:
        """Say how it ended."""
        self._standing.ended(row)
        test = f", test {row['test_accuracy']:.4f}" if row.get("test_accuracy") is not None else ""
        what = row["error"] if row["state"] == "FAILED" else f"{_progress(self._standing.spec, row)}{test}"
        self._say(f"{_head(self._standing)} trial {row['number']} {row['state']}: {what}")


class LiveDisplay(PlainDisplay):
    """A panel at the foot of the terminal that is drawn anew twice a second; failures scroll by above it."""

    def epoch_reported(self, row: Row) -> None:
        """The panel shows it."""

    def trial_ended(self, row: Row) -> None:
        """The panel shows it; an error stays on the screen."""
        self._standing.ended(row)
        if row["state"] == "FAILED":
            self._say(f"trial {row['number']} FAILED: {row['error']}")

    def __rich__(self) -> RenderableType:
        standing = self._standing
        head = Table.grid(padding=(0, 1))
        left = "" if standing.left is None else f"about {_duration(standing.left)} left"
        head.add_row(
            Text(standing.spec.study, style="bold"),
            ProgressBar(total=max(standing.total, 1), completed=standing.done, width=32),
            f"{standing.done}/{standing.total} trials",
            Text(f"{_duration(standing.elapsed)} {left}", style="dim"),
        )
        rows = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("trial", "epoch", standing.spec.objective[0].metric, "running", "parameters"):
            rows.add_column(name, no_wrap=True, overflow="ellipsis")
        for number, row in list(standing.running.items()):
            rows.add_row(
                str(number),
                f"{row.get('epochs_run', 0)}/{row['epochs_planned']}",
                "" if row.get("value") is None else f"{row['value']:.4f}",
                _duration(standing.running_for(number)),
                parameters_text(row),
            )
        return Group(head, rows, Text(standing.summary()))


@contextmanager
def watching(console: Console, standing: Standing) -> Iterator[Observer]:
    """The display that suits the console, for as long as the study runs."""
    if not console.is_terminal:
        yield PlainDisplay(console, standing)
        return
    display = LiveDisplay(console, standing)
    with Live(display, console=console, refresh_per_second=2, transient=True):
        yield display


def parameters_text(row: Row) -> str:
    """Searched parameters of a trial in one line: `learning_rate 0.00123, batch_size 64`."""
    cells = {str(key).removeprefix("param_"): value for key, value in row.items() if str(key).startswith("param_")}
    return ", ".join(f"{name} {number_text(value)}" for name, value in cells.items() if value is not None)


def number_text(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _head(standing: Standing) -> str:
    left = "" if standing.left is None else f", about {_duration(standing.left)} left"
    return f"[{standing.done}/{standing.total} {_duration(standing.elapsed)}{left}]"


def _progress(spec: StudySpec, row: Row) -> str:
    value = "" if row.get("value") is None else f"{spec.objective[0].metric} {row['value']:.4f}, "
    return f"{value}{row.get('epochs_run', 0)} of {row['epochs_planned']} epochs"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")
