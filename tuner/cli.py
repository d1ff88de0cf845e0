"""The command line: the only place that parses arguments, prints, and exits.

Exit codes: 0 done; 1 the study ran but nothing completed; 2 the user's mistake; 130 interrupted, and resumable.
"""

import os
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from tuner import __version__
from tuner.errors import StudyError, UserError

if TYPE_CHECKING:  # pandas, torch and Ray take seconds, and a refused study file or --help should not
    import pandas as pd

    from tuner.display import Standing
    from tuner.folder import StudyResults
    from tuner.spec import StudySpec

app = typer.Typer(
    help="Hyperparameter search for PyTorch image classifiers: YAML in, Ray Tune and Optuna, Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Results = Annotated[Path, typer.Option("--results", envvar="TUNER_RESULTS", help="The results directory.")]
Data = Annotated[Path | None, typer.Option("--data", envvar="TUNER_DATA", help="Where data sets are looked for first.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PLACE=VALUE", help="Change a setting: --set search.trials=64.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the study, instead of the file's.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.")]
DEFAULT_RESULTS = Path("results")


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        out.print(f"tuner {__version__}")
        raise typer.Exit
    if debug:
        os.environ["TUNER_DEBUG"] = "1"


@app.command()
def run(
    study: StudyFile,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    name: Name = None,
    settings: Settings = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over; the earlier study is moved aside.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and how long, and stop.")] = False,
) -> None:
    """Run a study, or go on with it where it stopped."""
    spec = _load(study, settings, name)
    if dry_run:
        _show_plan(spec, data)
        return
    from tuner.folder import StudyFolder, check_comparable, load_study

    folder = StudyFolder(results / spec.study)
    if fresh and folder.holds_a_study:
        with folder.lock():
            aside = folder.move_aside(datetime.now(UTC))
        out.print(f"The earlier study was moved to {aside}")
    check_comparable(folder, spec)
    _say_what_there_is(folder.holds_a_study and load_study(str(folder)), spec)
    halted = _run(spec, results, data)
    finished = load_study(results / spec.study)
    _show_end(finished, halted, study, results)
    if halted == "interrupt":
        raise typer.Exit(130)
    if not (finished.trials["state"] == "COMPLETE").any():
        raise typer.Exit(1)


def _load(study: Path, settings: list[str] | None, name: str | None) -> "StudySpec":
    from tuner.spec import load_spec

    return load_spec(study, [*(settings or []), *([f"study={name}"] if name else [])])


def _say_what_there_is(there: "StudyResults | bool", spec: "StudySpec") -> None:
    if isinstance(there, bool):
        out.print(f"Study {spec.study}: {spec.search.trials} trials, sampler {spec.search.sampler}")
        return
    from tuner.analysis import counts_by_state

    counts = counts_by_state(there.trials)
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no trials"
    out.print(f"Study {spec.study} goes on ({said}), {spec.search.trials} trials are asked for")


def _run(spec: "StudySpec", results: Path, data: Path | None) -> str | None:
    from tuner import cluster
    from tuner.display import watching

    cluster.start()
    from tuner.study import StudyRun  # takes seconds: Tune

    standing = _standing(spec, results)
    with watching(out, standing) as observer:
        study = StudyRun(spec, results, data=data, observer=observer)
        study.run()
    return study.halted


@app.command()
def validate(study: StudyFile, name: Name = None, settings: Settings = None) -> None:
    """Check a study file without running anything, and print it with every default written out."""
    spec = _load(study, settings, name)
    out.print(spec.to_yaml(), markup=False, end="")
    err.print(f"{study}: valid", markup=False)


@app.command("ls")
def list_studies(results: Results = DEFAULT_RESULTS) -> None:
    """List the studies of a results directory."""
    from tuner.analysis import counts_by_state
    from tuner.folder import load_study, rank

    studies = sorted(path.parent for path in results.glob("*/study.yaml"))
    if not studies:
        out.print(f"No studies in {results}; begin one with: tuner run search_spaces/digits.yaml")
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("study", "complete", "pruned", "failed", "running", "asked for", "best", "value", "updated"):
        table.add_column(column)
    for path in studies:
        try:
            study = load_study(path)
        except StudyError as error:
            table.add_row(path.name, f"[red]{error}[/red]")
            continue
        ranked, updated = rank(study.spec, study.trials), study.trials["updated_at"].max()
        best = ("", "") if ranked.empty else (str(ranked["number"][0]), f"{ranked['value'][0]:.4f}")
        counts = [str(count) for count in counts_by_state(study.trials).values()]
        when = f"{updated:%Y-%m-%d %H:%M}" if study.trials.size else ""
        table.add_row(path.name, *counts, str(study.spec.search.trials), *best, when)
    out.print(table)


@app.command()
def show(study: StudyName, results: Results = DEFAULT_RESULTS, top: int = 10) -> None:
    """Show the best trials of a study and how it stands."""
    from tuner.folder import load_study

    path = Path(study) if (Path(study) / "study.yaml").exists() else results / study
    _show_study(load_study(path), top)


def _show_study(study: "StudyResults", top: int) -> None:
    from tuner.analysis import counts_by_state, leaderboard

    objective = study.spec.objective[0]
    label = "" if study.spec.protocol == "clean" else "  (as published: selection may have seen test images)"
    counts = ", ".join(f"{count} {state}" for state, count in counts_by_state(study.trials).items() if count)
    out.print(
        f"[bold]{study.spec.study}[/bold]  {objective.direction} {objective.metric}  {counts or 'no trials'}{label}"
    )
    failed = study.trials[study.trials["state"] == "FAILED"]
    for number, error in failed[["number", "error"]].head(3).itertuples(index=False):
        out.print(f"  trial {number} FAILED: {error}", markup=False)
    table = leaderboard(study, top)
    if len(table):
        out.print(_as_table(table))


def _as_table(frame: "pd.DataFrame") -> Table:
    import pandas as pd

    from tuner.display import number_text

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in frame.columns:
        table.add_column(column.replace("number", "trial").replace("_", " "), overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*("" if pd.isna(cell) else number_text(cell) for cell in row))
    return table


def _show_end(study: "StudyResults", halted: str | None, file: Path, results: Path) -> None:
    _show_study(study, 5)
    running = int((study.trials["state"] == "RUNNING").sum())
    if halted:
        why = "The budget is used up" if halted == "budget" else "Interrupted"
        out.print(f"{why}; {running} trials in flight go on from their checkpoints when the same command is run again.")
    where = "" if results == DEFAULT_RESULTS else f" --results {results}"
    trials = 2 * (study.spec.search.trials or 1)
    out.print(
        f"\nTables: {study.folder}\n"
        f"  more trials:  tuner run {file}{where} --set search.trials={trials}\n"
        f"  all results:  tuner show {study.spec.study}{where}\n"
        f"  in Python:    tuner.load_study({str(results / study.spec.study)!r}).trials",
        soft_wrap=True,
        markup=False,
    )


def _show_plan(spec: "StudySpec", data: Path | None) -> None:
    from tuner.cluster import connected
    from tuner.estimate import estimate
    from tuner.scheduler import rungs
    from tuner.study import count_slots

    out.print(spec.to_yaml(), markup=False)
    with connected():
        slots = count_slots(spec)
    milestones = ", ".join(f"{rung:g}" for rung in rungs(spec)) or "none, every trial runs to its end"
    cost = estimate(spec, data, slots)
    speeds = ", ".join(f"{name} {speed:,.0f}" for name, speed in cost.images_per_second.items())
    out.print(
        f"trials         {spec.search.trials}\n"
        f"rungs (epoch)  {milestones}\n"
        f"slots          {slots}\n"
        f"images/s       {speeds}  (training, one trial)\n"
        f"time           about {_hours(cost.hours)}; {_hours(cost.hours_without_stopping)} if nothing were stopped"
        + (f"; the budget ends it after {_hours(spec.budget.hours)}" if spec.budget.hours else "")
    )


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def _standing(spec: "StudySpec", results: Path) -> "Standing":
    from tuner.analysis import counts_by_state
    from tuner.display import Standing
    from tuner.folder import StudyFolder, load_study, rank

    folder = StudyFolder(results / spec.study)
    if not folder.holds_a_study:
        return Standing(spec, {}, None)
    study = load_study(str(folder))
    ranked = rank(study.spec, study.trials)
    best = None if ranked.empty else (float(ranked["value"][0]), int(ranked["number"][0]))
    return Standing(spec, counts_by_state(study.trials), best)


def _refuse(error: UserError) -> NoReturn:
    if os.environ.get("TUNER_DEBUG"):
        raise error
    for line in str(error).splitlines():
        err.print(line, style="red", soft_wrap=True, markup=False)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: object) -> None:
    err.print(f"warning: {message}", style="yellow", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except UserError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(130)
