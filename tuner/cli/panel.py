"""The panel of a running study, fitted to the terminal's size."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tuner.analysis.formatting import (
    format_clock,
    format_range,
    is_missing,
    metric_text,
    parameters_text,
    whole_number,
)
from tuner.cli.sparkline import sparkline
from tuner.study.cpu_use import CpuUse
from tuner.study.observer import Row
from tuner.study.progress import Progress
from tuner.study.rung_counts import RungCount
from tuner.study.waits import describe_wait

PARAMETERS = "parameters"
SPARKLINE_WIDTH = 48
"""Columns of the sparkline at most."""
LEAST_SPARKLINE = 8
"""Columns below which a sparkline or a rung's bar is left out."""
LEAST_RUNNING = 3
"""Lines that running trials get before anything else that can be left out."""
BAR_WIDTH = 32
"""Columns of the longest rung's bar at most."""
_OUTCOMES = {"passed": "green", "waiting": "yellow", "stopped": "bright_black"}
Lines = list[list[Segment]]


class Panel:
    """The state of a study, fitted to the height of the terminal.

    Args:
        progress: Returns the progress that is shown.
        note: Returns a line that takes the place of what the study waits for, or None.
    """

    def __init__(self, progress: Callable[[], Progress], note: Callable[[], str | None] = lambda: None) -> None:
        self._get, self._note = progress, note
        self._cpu = CpuUse()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the panel.

        In a low terminal the rungs are left out first, then the sparkline.
        """
        progress, width = self._get(), options.max_width

        def lines(*parts: RenderableType) -> Lines:
            return [line for part in parts for line in console.render_lines(part, options, pad=False)]

        room = max(3, console.height - 1)
        head = lines(_bar(progress, width), _counts(progress))[: room - 1]
        best = lines(*_best(progress, is_short=room < 14))
        note = self._note() or describe_wait(progress)
        wait = lines(Text(note, style="dim")) if note else []
        least = min(len(progress.running) + 1, LEAST_RUNNING) if progress.running else 0
        spark = lines(*_spark(progress, width, console.options.ascii_only))
        rungs = lines(_rungs(progress.rungs.rungs, width, console.options.ascii_only))
        left = room - len(head)
        best, left = _fit(best, left, 0)
        wait, left = _fit(wait, left, 0)
        spark, left = _fit(spark, left, least)
        rungs, left = _fit(rungs, left, least)
        gap: Lines = [[]] if left > least + 2 and progress.running else []
        top: Lines = [[]] if left > least + 4 else []
        running = lines(*self._running(progress, left - len(gap) - len(top), width))
        for line in (*top, *head, *best, *spark, *rungs, *wait, *gap, *running):
            yield from line
            yield Segment.line()

    def _running(self, progress: Progress, room: int, width: int) -> Iterator[RenderableType]:
        """Yield a table of the running trials that have room.

        A line below the table counts the running trials that have no room.
        """
        rows = list(progress.running.items())
        if not rows or room < 2:
            return
        shown = room - 1 if len(rows) < room else room - 2
        cores = self._cpu.cores(progress.reports)
        if shown:
            cells = [_cells(progress, number, row, cores.get(number)) for number, row in rows[:shown]]
            yield _rows_table(cells, width)
        if len(rows) > shown:
            yield Text(f"… and {len(rows) - shown} more", style="dim")


def _fit(lines: Lines, left: int, least: int) -> tuple[Lines, int]:
    """Return lines if there is room for them, and the room left.

    `least` lines are kept free for running trials.
    """
    return (lines, left - len(lines)) if len(lines) <= left - least else ([], left)


def _bar(progress: Progress, width: int) -> RenderableType:
    """Return the study's name, progress bar, trial count and time left."""
    phase: str = progress.phase
    if phase == "training" and (left := progress.left) is not None:
        phase = f"{format_range(left.low, left.high)} left"
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


def _counts(progress: Progress) -> Text:
    """Return the number of trials in each state, and of slots."""
    counts = [f"{progress.counts[state]} {state.lower()}" for state in ("COMPLETE", "PRUNED", "FAILED")]
    waiting = [f"{len(progress.waiting)} waiting"] if progress.waiting else []
    slots = "" if progress.slots is None else f" in {progress.slots} slot{'s' * (progress.slots != 1)}"
    return Text(", ".join([f"{len(progress.running)} running{slots}", *waiting, *counts]))


def _best(progress: Progress, is_short: bool) -> Iterator[RenderableType]:
    """Yield the best value and its trial.

    The text is cut to one line if `is_short`.
    """
    if best := progress.best:
        metric = progress.spec.objective[0].metric
        text = Text(f"best {metric} {metric_text(metric, best['value'])}", style="bold green")
        text.append(f"  trial {best['number']}: {parameters_text(best)}", style="not bold default")
        text.no_wrap, text.overflow = (True, "ellipsis") if is_short else (None, None)
        yield text


def _spark(progress: Progress, width: int, is_ascii: bool) -> Iterator[RenderableType]:
    """Yield a sparkline of the best value over all epochs.

    There is no sparkline until the value has changed.
    """
    if len(progress.history) < 2 or is_ascii:
        return
    metric = progress.spec.objective[0].metric
    first = metric_text(metric, progress.history[0][1])
    last = metric_text(metric, progress.history[-1][1])
    end = f" {last} over {progress.epochs} epochs"
    room = min(SPARKLINE_WIDTH, width - len(first) - len(end) - 1)
    if room >= LEAST_SPARKLINE:
        bars = sparkline(progress.history, progress.epochs, room)
        yield Text.assemble((f"{first} ", "dim"), (bars, "green"), (end, "dim"))


def _rungs(rungs: list[RungCount], width: int, is_ascii: bool) -> RenderableType:
    """Return one line per rung, with a bar and its trial counts.

    The length of a bar shows how many trials reached the rung.
    """
    table = Table.grid(padding=(0, 2, 0, 0))
    longest = max((rung.total for rung in rungs), default=0)
    if not longest:
        return table
    counts = {name: [getattr(rung, name) for rung in rungs] for name in _OUTCOMES}
    shown = [name for name in _OUTCOMES if any(counts[name]) or name == "passed"]
    words = sum(len(f"{max(counts[name])} {name}") + 2 for name in shown)
    room = min(BAR_WIDTH, width - words - len("rung 000") - 4)
    has_bars = room >= LEAST_SPARKLINE and not is_ascii
    for index, rung in enumerate(rungs):
        bar = [_rung_bar(rung, shown, room / longest)] if has_bars else []
        cells = (Text(f"{counts[name][index]} {name}", style=_OUTCOMES[name], justify="right") for name in shown)
        table.add_row(f"rung {rung.epoch}", *bar, *cells)
    return table


def _rung_bar(rung: RungCount, outcomes: list[str], scale: float) -> Text:
    """Return a rung's bar, with a colour for each outcome."""
    bar, until, drawn = Text(), 0, 0
    for name in outcomes:
        until += getattr(rung, name)
        end = max(drawn, round(until * scale))
        bar.append("━" * (end - drawn), style=_OUTCOMES[name])
        drawn = end
    return bar


def _cells(progress: Progress, number: int, row: Row, cores: float | None) -> dict[str, str]:
    """Return the cells of a running trial by column.

    The most important column comes first.
    """
    metric, seconds = progress.spec.objective[0].metric, progress.running_for(number)
    report: Row = progress.reports.get(number, {})
    memory: Any = report.get("peak_memory_bytes")
    speed: Any = report.get("images_per_second")
    return {
        "trial": str(number),
        "epoch": f"{whole_number(row.get('epochs_run'))}/{row['epochs_planned']}",
        metric: metric_text(metric, row.get("value")),
        "time": "" if seconds is None else format_clock(seconds),
        "CPU": "" if cores is None else f"{100 * cores:.0f} %",
        "GPU memory": "" if is_missing(memory) else f"{memory / 1e9:.1f} GB",
        PARAMETERS: parameters_text(row),
        "images/s": "" if is_missing(speed) else f"{speed:,.0f}",
    }


def _rows_table(rows: list[dict[str, str]], width: int) -> Table:
    """Return a table with as many columns as fit, the parameters last.

    A column is left out whole, because half a number reads like another number. So is a column
    without any cell that may be unknown.
    """
    shown: dict[str, int] = {}
    for name in rows[0]:
        if name in ("CPU", "GPU memory", "images/s") and not any(row[name] for row in rows):
            continue
        needed = max(5, len(name), *(len(row[name]) for row in rows)) if name != PARAMETERS else 12
        width -= needed + 2
        if shown and width < 0:
            break
        shown[name] = needed
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", expand=PARAMETERS in shown)
    names = sorted(shown, key=lambda name: name == PARAMETERS)
    for name in names:
        if name == PARAMETERS:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(name, justify="right", no_wrap=True, min_width=shown[name])
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table
