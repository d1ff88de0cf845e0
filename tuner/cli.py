"""The command line: the only place that parses arguments, prints, and exits.

Exit codes: 0 done; 1 the study ran but nothing completed; 2 the user's mistake; 130 interrupted, and resumable.
"""

import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner import __version__
from tuner.errors import StudyError, UserError, nearest

if TYPE_CHECKING:  # pandas, torch and Ray take seconds, and a refused study file or --help should not
    import pandas as pd

    from tuner.folder import StudyFolder, StudyResults
    from tuner.spec import StudySpec

PIPED_WIDTH = 200
"""Columns where nobody looks at a terminal: tables are for files and other programs then, and must not be folded."""

app = typer.Typer(
    help="Hyperparameter search for PyTorch image classifiers: YAML in, Ray Tune and Optuna, Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
err = Console(stderr=True, highlight=False)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Results = Annotated[
    str, typer.Option("--results", envvar="TUNER_RESULTS", help="The results directory, or s3://BUCKET/PREFIX.")
]
Data = Annotated[Path | None, typer.Option("--data", envvar="TUNER_DATA", help="Where data sets are looked for first.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PLACE=VALUE", help="Change a setting: --set search.trials=64.")
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the study, instead of the file's.")]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.")]
Top = Annotated[int, typer.Option("--top", min=1, help="How many of the best trials are shown.")]
Address = Annotated[
    str | None, typer.Option("--address", help="A running Ray cluster: auto or HOST:PORT; otherwise this machine.")
]
DEFAULT_RESULTS = "results"
REFERENCE_RESULTS = "notebooks/results"
"""Where the committed tables of the published studies are."""


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
    address: Address = None,
) -> None:
    """Run a study, or go on with it where it stopped."""
    spec = _load(study, settings, name)
    if dry_run:
        _show_plan(spec, data, address)
        return
    from tuner.folder import StudyFolder, load_study

    folder = StudyFolder(f"{results}/{spec.study}")
    _refuse_before_the_start(folder, spec, data, fresh)
    if fresh and folder.holds_a_study:
        with folder.lock():
            aside = folder.move_aside(datetime.now(UTC))
        out.print(f"The earlier study was moved to {aside}", soft_wrap=True)
    try:
        halted = _run(spec, results, data, load_study(str(folder)) if folder.holds_a_study else None, address)
    except KeyboardInterrupt:
        err.print("Interrupted at once; the same command without --fresh goes on", style="yellow")
        raise typer.Exit(130) from None
    after = load_study(str(folder))
    _show_study(after, 5)
    _show_ways_on(after, results, halted, partial(_command, study, results, data, name, address), settings or [])
    if halted == "interrupt":
        raise typer.Exit(130)
    if not (after.trials["state"] == "COMPLETE").any():
        err.print("No trial was completed.", style="red")
        raise typer.Exit(1)


def _load(study: Path, settings: list[str] | None, name: str | None) -> "StudySpec":
    from tuner.spec import load_spec

    return load_spec(study, [*(settings or []), *([f"study={name}"] if name else [])])


def _refuse_before_the_start(folder: "StudyFolder", spec: "StudySpec", data: Path | None, fresh: bool) -> None:
    """What the run would refuse after seconds, when Ray has started; it looks again, under the study's lock."""
    from tuner import data as datasets
    from tuner.folder import check_comparable

    if not fresh:
        check_comparable(folder, spec)
    datasets.split(datasets.load(spec.dataset, data), spec.dataset)
    with folder.lock():
        pass


def _run(
    spec: "StudySpec", results: str, data: Path | None, earlier: "StudyResults | None", address: str | None = None
) -> str | None:
    from tuner.display import Standing, watching
    from tuner.folder import is_finished

    if earlier is not None and is_finished(spec, earlier.trials):
        out.print(f"Study {spec.study} has all its trials; nothing is left to do")
        return None
    _say_what_there_is(spec, earlier)
    standing = Standing(spec, [] if earlier is None else earlier.trials.to_dict("records"))
    with watching(out, standing) as observer:
        from tuner import cluster

        with _signals_later():
            cluster.start(address, spec.architectures)
        from tuner.study import StudyRun  # takes seconds: Tune

        study = StudyRun(spec, results, data=data, observer=observer, address=address)
        study.run()
    return study.halted


@contextmanager
def _signals_later() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until Ray has started: half started it would leave processes behind."""
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in both]
    try:
        yield
    except SystemExit:  # Ray sets a handler of its own for SIGTERM
        came.append(signal.SIGTERM)
    finally:
        for number, handler in zip(both, before, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def _say_what_there_is(spec: "StudySpec", earlier: "StudyResults | None") -> None:
    repeats = "" if spec.repeats is None else f", then {spec.repeats.seeds} repeats of the best {spec.repeats.top}"
    trials = f"{spec.search.trials} trials, sampler {spec.search.sampler}{repeats}"
    if earlier is not None:
        trials = f"goes on ({_counts(earlier.trials)}) to {trials}"
    out.print(f"Study {spec.study}{':' if earlier is None else ''} {trials}", soft_wrap=True)


def _counts(trials: "pd.DataFrame") -> str:
    from tuner.analysis import counts_by_state

    named = {"RUNNING": "in flight"}
    counts = counts_by_state(trials).items()
    return ", ".join(f"{count} {named.get(state, state.lower())}" for state, count in counts if count) or "no trials"


@app.command()
def validate(study: StudyFile, name: Name = None, settings: Settings = None) -> None:
    """Check a study file without running anything, and print it with every default written out."""
    spec = _load(study, settings, name)
    out.print(spec.to_yaml(), markup=False, end="", soft_wrap=True)
    err.print(f"{study}: valid", markup=False, soft_wrap=True)


@app.command("ls")
def list_studies(results: Results = DEFAULT_RESULTS) -> None:
    """List the studies of a results directory."""
    from tuner.folder import find_studies

    if results != DEFAULT_RESULTS and "://" not in results and not Path(results).is_dir():
        raise StudyError(f"--results: no folder {results}; allowed: the folder that studies were run into")
    studies = find_studies(results)
    if not studies:
        first = shlex.join([*_program(), "run", "search_spaces/digits.yaml"])
        out.print(f"No studies in {results}; begin one with: {first}", soft_wrap=True, markup=False)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("study", overflow="fold")
    for column in ("complete", "pruned", "failed", "running", "of"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("best")
    table.add_column("updated", no_wrap=True)
    for folder in studies:
        try:
            table.add_row(folder.name, *_study_cells(folder))
        except StudyError as error:
            err.print(str(error), style="red", soft_wrap=True, markup=False)
    out.print(table)


def _study_cells(folder: "StudyFolder") -> list[str]:
    from tuner.analysis import counts_by_state
    from tuner.folder import load_study, rank
    from tuner.formatting import metric_text, rough

    study = load_study(str(folder))
    trials, metric = study.trials, study.spec.objective[0].metric
    ranked = rank(study.spec, trials)
    best = "" if ranked.empty else f"{metric_text(metric, ranked['value'][0])} {metric}"
    updated = "" if trials.empty else rough((datetime.now(UTC) - trials["updated_at"].max()).total_seconds()) + " ago"
    counts = [str(count) for count in counts_by_state(trials).values()]
    return [*counts, str(study.spec.search.trials), best, updated]


@app.command()
def show(study: StudyName, results: Results = DEFAULT_RESULTS, top: Top = 10) -> None:
    """Show the best trials of a study and how it stands."""
    from tuner.folder import StudyFolder, find_studies, load_study

    is_place = "://" in study or StudyFolder(study).holds_a_study
    folder = StudyFolder(study if is_place else f"{results}/{study}")
    if not folder.holds_a_study and (studies := [other.name for other in find_studies(results)]):
        raise StudyError(f"{results}: no study '{study}'; {nearest(study, studies)}")
    _show_study(load_study(str(folder)), top)


def _show_study(study: "StudyResults", top: int) -> None:
    from tuner.analysis import leaderboard
    from tuner.formatting import board_table

    objectives = ", ".join(f"{objective.direction} {objective.metric}" for objective in study.spec.objective)
    out.print(f"[bold]{study.spec.study}[/bold]  {objectives}  ({_counts(study.trials)})")
    if study.spec.protocol != "clean":
        out.print("as published: selection may have seen test images", style="yellow")
    failed = study.trials[study.trials["state"] == "FAILED"]
    for number, error in failed[["number", "error"]].head(3).itertuples(index=False):
        out.print(f"  trial {number} FAILED: {error}", markup=False, soft_wrap=True)
    if len(failed) > 3:
        out.print(f"  … and {len(failed) - 3} more that failed")
    board = leaderboard(study, top)
    if len(board):
        parameters = [name for name in study.spec.space.root if name in board and name != "epochs"]
        out.print(board_table(board, parameters, out))


@app.command()
def reproduce(
    report: Annotated[str, typer.Argument(metavar="NAME", help="vazquez, higueros, rubio, tinoco or cesar.")],
    results: Results = REFERENCE_RESULTS,
    data: Data = None,
    train: Annotated[bool, typer.Option("--run", help="Train what is missing first.")] = False,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="With --run: seeds of a configuration.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", help="as_published or clean.")] = "as_published",
) -> None:
    """Set what a published report printed against what its studies measured here, row by row and claim by claim."""
    from tuner import reported
    from tuner.reproduction.screen import full_width, screen

    studies = reported.studies(report, protocol)
    if "://" in results:
        raise UserError(f"--results: found '{results}'; allowed here: a folder")
    if seeds and not train:
        raise UserError("--seeds: only together with --run")
    if train:
        _train_report(report, [reported.load_study_file(study, seeds) for study in studies], results, data)
    where = [] if results == REFERENCE_RESULTS else ["--results", results]
    how = [] if protocol == "as_published" else ["--protocol", protocol]
    way_on = shlex.join([*_program(), "reproduce", report, "--run", *where, *how])
    for part in screen(report, Path(results), protocol, way_on):
        if isinstance(part, Table):
            out.width = max(out.width, full_width(part, out))
        out.print(part, soft_wrap=isinstance(part, Text))


def _train_report(report: str, specs: "list[StudySpec]", results: str, data: Path | None) -> None:
    """Run the studies of a report one after the other, each as `run` does; then measure its shapes."""
    from tuner.folder import StudyFolder, is_finished, load_study
    from tuner.reproduction.shapes import write_shapes

    for spec in specs:
        folder = StudyFolder(f"{results}/{spec.study}")
        earlier = load_study(str(folder)) if folder.holds_a_study else None
        if earlier is None or not is_finished(spec, earlier.trials):
            _refuse_before_the_start(folder, spec, data, fresh=False)
        if _run(spec, results, data, earlier) == "interrupt":
            err.print("Interrupted; the same command goes on", style="yellow")
            raise typer.Exit(130)
    write_shapes(report, Path(results))


def _show_ways_on(
    study: "StudyResults",
    results: str,
    halted: str | None,
    command: Callable[[list[str]], str],
    settings: list[str],
) -> None:
    spec, trials = study.spec, study.trials
    where = [] if results == DEFAULT_RESULTS else ["--results", results]
    ways = {
        "all trials": shlex.join([*_program(), "show", spec.study, *where]),
        "in Python": f"tuner.load_study({str(study.folder)!r}).trials",
    }
    if halted:
        in_flight = int((trials["state"] == "RUNNING").sum())
        why = "The budget is used up" if halted == "budget" else "Interrupted"
        out.print(f"\n{why}; {in_flight} trials in flight go on where they were when it is run again", style="yellow")
        ways = {"go on": command(settings), **ways}
    elif (trials["state"] == "COMPLETE").any() and spec.search.sampler != "grid" and not spec.single:
        others = [setting for setting in settings if not setting.startswith("search.trials=")]
        ways = {"more trials": command([*others, f"search.trials={2 * (spec.search.trials or 1)}"]), **ways}
    out.print(f"\nTables: {study.folder}", soft_wrap=True, markup=False)
    for name, way in ways.items():
        out.print(f"  {name + ':':13}{way}", soft_wrap=True, markup=False)


def _command(
    study: Path, results: str, data: Path | None, name: str | None, address: str | None, settings: list[str]
) -> str:
    """The command that goes on with a study; `--fresh` would begin it anew."""
    words = [*_program(), "run", str(study)]
    words += [] if results == DEFAULT_RESULTS else ["--results", results]
    words += [] if data is None else ["--data", str(data)]
    words += [] if name is None else ["--name", name]
    words += [] if address is None else ["--address", address]
    return shlex.join([*words, *(word for setting in settings for word in ("--set", setting))])


def _program() -> list[str]:
    """How this program was called."""
    return ["python", "-m", "tuner"] if Path(sys.argv[0]).name == "__main__.py" else ["tuner"]


def _show_plan(spec: "StudySpec", data: Path | None, address: str | None) -> None:
    from tuner import data as datasets

    datasets.split(datasets.load(spec.dataset, data), spec.dataset)
    out.print(spec.to_yaml(), markup=False, soft_wrap=True)
    with out.status("A few configurations are trained for a moment …"):
        from tuner.cluster import connected
        from tuner.estimate import estimate
        from tuner.formatting import rough
        from tuner.scheduler import rungs
        from tuner.study import count_slots

        with connected(address, spec.architectures):
            slots = count_slots(spec)
        cost = estimate(spec, data, slots)
    milestones = ", ".join(f"{rung:g}" for rung in rungs(spec)) or "none, every trial runs to its end"
    speeds = ", ".join(f"{name} {speed:,.0f}" for name, speed in cost.images_per_second.items())
    repeats = "" if spec.repeats is None else f", then {spec.repeats.seeds} repeats of the best {spec.repeats.top}"
    full = (
        "" if spec.stopping.rule is None else f" ({rough(cost.hours_without_stopping * 3600)} if nothing were stopped)"
    )
    budget = f"; the budget ends it after {rough(spec.budget.hours * 3600)}" if spec.budget.hours else ""
    plan = {
        "trials": f"{spec.search.trials}{repeats}",
        "rungs (epoch)": milestones,
        "slots": f"{slots}  (trials side by side)",
        "images/s": f"{speeds}  (training, one trial)",
        "time": f"about {rough(cost.hours * 3600)} of training{full}{budget}",
    }
    for name, text in plan.items():
        out.print(f"{name:15}{text}", markup=False, soft_wrap=True)


def _refuse(error: UserError) -> NoReturn:
    if os.environ.get("TUNER_DEBUG"):
        traceback.print_exception(error)
    for line in str(error).splitlines():
        err.print(line, style="red", soft_wrap=True, markup=False)
    sys.exit(2)


def _show_warning(message: Warning | str, *_: object) -> None:
    err.print(f"warning: {message}", style="yellow", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except UserError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(130)
