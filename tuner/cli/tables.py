"""Output of the command line beside the live display: tables, plans and next steps."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.console import Console, RenderableType
from rich.measure import Measurement, measure_renderables
from rich.table import Table

from tuner.cli.streams import exit_at_once
from tuner.errors import INTERRUPTED, LONGEST_LINE, RayLostError, StudyError, StudyInterruptedError, printable, shorten
from tuner.storage.redaction import redact

if TYPE_CHECKING:  # because pandas, torch and Ray take seconds, which --help should not
    import pandas as pd

    from tuner.cluster.jobs import Job
    from tuner.cluster.preflight import NodeReport
    from tuner.config.study import StudyConfig
    from tuner.results.folder import StudyFolder, StudyResults
    from tuner.study.estimate import Estimate

PIPED_WIDTH = 200
"""Columns of the output without a terminal, because files and programs want unfolded tables."""
DEFAULT_RESULTS = "results"
_COUNTS = ("complete", "pruned", "failed", "paused", "running", "of")

_IN_TERMINAL = sys.stdout is not None and sys.stdout.isatty()
out = Console(highlight=False, width=None if _IN_TERMINAL or "COLUMNS" in os.environ else PIPED_WIDTH)
err = Console(stderr=True, highlight=False)


def program() -> list[str]:
    """Return the words that call this program."""
    return ["python", "-m", "tuner"] if Path(sys.argv[0]).name == "__main__.py" else ["tuner"]


def print_start(spec: "StudyConfig", earlier: "StudyResults | None") -> None:
    """Print the study's name, trial count and sampler."""
    repeats = "" if spec.repeats is None else f", then {spec.repeats.seeds} repeats of the best {spec.repeats.top}"
    trials = f"{spec.search.trials} trials, sampler {spec.search.sampler}{repeats}"
    if earlier is not None:
        trials = f"goes on ({counts_text(earlier.trials)}) to {trials}"
    out.print(f"Study {spec.study}{':' if earlier is None else ''} {trials}", soft_wrap=True)


def counts_text(trials: "pd.DataFrame") -> str:
    """Return the number of trials in each state, in words."""
    from tuner.analysis.leaderboard import counts_by_state

    named = {"RUNNING": "in flight", "PAUSED": "waiting"}
    counts = counts_by_state(trials).items()
    return ", ".join(f"{count} {named.get(state, state.lower())}" for state, count in counts if count) or "no trials"


def print_table(table: RenderableType) -> None:
    """Print a table with whole cells, even where the terminal is narrower.

    Half a number reads like another.
    """
    unbounded = out.options.update(width=10_000)
    for column in table.columns if isinstance(table, Table) else ():
        if column.no_wrap:
            column.min_width = measure_renderables(out, unbounded, [column.header, *column.cells]).maximum
    width, needed = out.width, Measurement.get(out, unbounded, table).minimum
    try:
        out.width = max(width, needed)
        out.print(table)
    finally:
        out.width = width


def show_studies(folders: "Iterable[StudyFolder]") -> None:
    """Print one row per study.

    Trials that wait have a column where there are any.
    """
    rows = [_study_cells(row) for row in study_rows(folders)]
    waits = any(row["paused"] != "0" for row in rows)
    counts = [name for name in _COUNTS if name != "paused" or waits]
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("study", overflow="fold")
    for column in counts:
        table.add_column(column.replace("paused", "waiting"), justify="right", no_wrap=True)
    table.add_column("best")
    table.add_column("updated", no_wrap=True)
    for row in rows:
        table.add_row(*(row[column] for column in ("study", *counts, "best", "updated")))
    print_table(table)


def study_rows(folders: "Iterable[StudyFolder]") -> Iterator[dict[str, Any]]:
    """Yield the overview of each study.

    An unreadable study has a line on standard error instead.
    """
    from tuner.analysis.leaderboard import overview
    from tuner.results.folder import load_study

    for folder in folders:
        try:
            yield overview(load_study(str(folder)))
        except StudyError as error:
            err.print(redact(str(error)), style="red", soft_wrap=True, markup=False)


def _study_cells(row: Mapping[str, Any]) -> dict[str, str]:
    from tuner.analysis.formatting import format_duration

    at = row["updated_at"]
    updated = at and format_duration((datetime.now(UTC) - at).total_seconds()) + " ago"
    cells = {name: str(row[name]) for name in ("study", *_COUNTS)}
    return {**cells, "best": _best_text(row), "updated": updated or ""}


def _best_text(row: Mapping[str, Any]) -> str:
    """Write the best value, or the mean of its repeats."""
    from tuner.analysis.formatting import metric_text

    metric, value, mean = row["metric"], row["value"], row["repeats_mean"]
    if value is None:
        return ""
    if mean is None:
        return f"{metric_text(metric, value)} {metric}"
    return f"{metric_text(metric, mean)} {metric} (mean of repeats)"


def show_jobs(jobs: "list[Job]", address: str) -> None:
    """Print one row per job, with its study."""
    from tuner.analysis.formatting import format_duration

    if not jobs:
        out.print(f"No study was submitted to {address}; tuner submit does that", soft_wrap=True, markup=False)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("job", "study", "status", "begun", "results"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        ago = format_duration((datetime.now(UTC) - job.started_at).total_seconds()) + " ago"
        table.add_row(job.name, job.study, job.status.lower(), ago, job.results)
    print_table(table)


def show_nodes(reports: "Iterable[NodeReport]") -> None:
    """Print one line per node that was checked and found fit."""
    for report in reports:
        has = ", ".join(f"{amount:g} {kind}" for kind, amount in report.resources.items())
        versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        out.print(f"node {report.node}: {has}; {versions}", soft_wrap=True, markup=False)


def show_study(study: "StudyResults", top: int) -> None:
    """Print a study's objective, counts by state, failures and leaderboard."""
    from tuner.analysis.confirmation import winner_lines
    from tuner.analysis.formatting import board_table, join_intervals
    from tuner.analysis.leaderboard import leaderboard
    from tuner.results.schema import is_untried

    objectives = ", ".join(f"{objective.direction} {objective.metric}" for objective in study.spec.objective)
    out.print(f"[bold]{study.spec.study}[/bold]  {objectives}  ({counts_text(study.trials)})")
    if study.spec.protocol != "clean":
        out.print("as published: selection may have seen test images", style="yellow")
    failed = study.trials[study.trials["state"] == "FAILED"]
    for number, error in failed[["number", "error"]].head(3).itertuples(index=False):
        reason = shorten(printable(str(error)), LONGEST_LINE)
        out.print(f"  trial {number} FAILED: {reason}", markup=False, soft_wrap=True)
    if len(failed) > 3:
        out.print(f"  … and {len(failed) - 3} more that failed")
    if untried := int(is_untried(study.trials).sum()):
        out.print(f"  {untried} of the pruned trials were not trained, because they are outside of a constraint")
    board = leaderboard(study, top)
    if len(board):
        parameters = [name for name in study.spec.space.root if name in board and name != "epochs"]
        print_table(board_table(join_intervals(board, study.spec.objective[0].metric), parameters, out))
    elif (study.trials["state"] == "COMPLETE").any():
        out.print("  No completed trial is inside the constraints")
    if len(study.spec.objective) > 1 and len(board):
        print_front(study)
    for line in winner_lines(study.spec, study.trials):
        out.print(line, markup=False, soft_wrap=True)


def print_front(study: "StudyResults") -> None:
    """Print the size of the Pareto front, and its hypervolume."""
    from tuner.analysis.front import front, hypervolume_by_epochs

    values, by_epochs = front(study), hypervolume_by_epochs(study)
    inside = " inside the constraints" if study.spec.constraints else ""
    text = (
        f"front: {values['is_front'].sum()} of {len(values)} completed trials{inside},"
        " which none is better than in every objective"
    )
    for _, epochs, volume in by_epochs.tail(1).itertuples(index=False):  # no row if the epochs are damaged
        text += f"; hypervolume {volume:.3f} after {epochs:.0f} epochs"
    out.print(text, soft_wrap=True)


def print_next_steps(
    study: "StudyResults",
    results: str,
    halted: str | None,
    command: Callable[[list[str]], str],
    settings: list[str],
) -> None:
    """Print where the tables are, and the commands for the next steps.

    Args:
        study: The study.
        results: Its results directory.
        halted: Why the study stopped before its end, or None.
        command: Makes the command that resumes the study with the given settings.
        settings: The settings of this run.
    """
    from tuner.results.schema import IN_FLIGHT
    from tuner.study.budget import describe_limit

    spec, trials = study.spec, study.trials
    options = [] if results == DEFAULT_RESULTS else ["--results", results]
    steps = {
        "all trials": shlex.join([*program(), "show", spec.study, *options]),
        "in Python": f"tuner.load_study({str(study.folder)!r}).trials",
    }
    if halted:
        in_flight = int(trials["state"].isin(IN_FLIGHT).sum())
        why, when = "Interrupted", "it is run again"
        if halted.startswith("budget."):  # which is the study's, not each run's
            limit, more = describe_limit(spec.budget, halted.removeprefix("budget."))
            why, when = f"The budget ends the study after {limit}", "it is raised"
            kept = [setting for setting in settings if not setting.startswith(f"{halted}=")]
            settings = [*kept, more]
        out.print(f"\n{why}; {in_flight} unfinished trials go on where they were when {when}", style="yellow")
        steps = {"go on": command(settings), **steps}
    elif (trials["state"] == "COMPLETE").any() and spec.search.sampler != "grid" and not spec.single:
        kept = [setting for setting in settings if not setting.startswith("search.trials=")]
        steps = {"more trials": command([*kept, f"search.trials={2 * (spec.search.trials or 1)}"]), **steps}
    out.print(redact(f"\nTables: {study.folder}"), soft_wrap=True, markup=False)
    for name, step in steps.items():
        out.print(f"  {name + ':':13}{redact(step)}", soft_wrap=True, markup=False)


def show_plan(spec: "StudyConfig", slots: int, resources: str, milestones: Iterable[float], cost: "Estimate") -> None:
    """Print what a run would do, and how long it should take."""
    from tuner.analysis.formatting import format_duration
    from tuner.search.description import describe_rule, describe_sampler
    from tuner.study.budget import describe_budget

    out.print(spec.to_yaml(), markup=False, soft_wrap=True)
    rungs = ", ".join(f"{rung:g}" for rung in milestones) or "none, every trial runs to its end"
    speeds = ", ".join(f"{name} {speed:,.0f}" for name, speed in cost.images_per_second.items())
    repeats = "" if spec.repeats is None else f", then {spec.repeats.seeds} repeats of the best {spec.repeats.top}"
    full = (
        ""
        if spec.stopping.rule is None
        else f" ({format_duration(cost.hours_without_stopping * 3600)} if nothing were stopped)"
    )
    folds = spec.dataset.folds
    plan = {
        "trials": f"{spec.search.trials}{repeats}",
        **({"folds": f"{folds}: each trial trains {folds} networks, its value is their mean"} if folds > 1 else {}),
        "sampler": f"{spec.search.sampler}: {describe_sampler(spec)}",
        "stopping": describe_rule(spec),
        "rungs (epoch)": rungs,
        "slots": f"{slots}  (trials side by side, each with {resources})",
        "images/s": f"{speeds}  (training, one trial)",
        "time": f"about {format_duration(cost.hours * 3600)} of training{full}",
        "constraints": ", ".join(f"{metric} {bound}" for metric, bound in spec.constraints.items()) or "none",
        "budget": describe_budget(spec.budget),
    }
    for name, text in plan.items():
        out.print(f"{name:15}{text}", markup=False, soft_wrap=True)


def end_without_ray(error: RayLostError) -> NoReturn:
    """Print the error and exit at once.

    Nothing is cleaned up, because calls into a lost Ray may not return.
    """
    out.show_cursor()
    err.print(redact(str(error)), style="red", soft_wrap=True, markup=False)
    exit_at_once(INTERRUPTED if isinstance(error, StudyInterruptedError) else 1)
