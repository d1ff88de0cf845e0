"""The command line: the only place that parses arguments, prints, and exits.

Exit codes: 0 done; 1 the study ran but nothing completed, or Ray was lost; 2 the user's mistake; 130 interrupted, and
resumable.
"""

import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from tuner import __version__
from tuner.errors import RayLostError, StudyError, UserError, nearest
from tuner.screens import (
    DEFAULT_RESULTS,
    err,
    out,
    program,
    say_what_there_is,
    show_jobs,
    show_nodes,
    show_plan,
    show_studies,
    show_study,
    show_ways_on,
)

if TYPE_CHECKING:  # pandas, torch and Ray take seconds, and a refused study file or --help should not
    from tuner.folder import StudyFolder, StudyResults
    from tuner.jobs import Jobs
    from tuner.spec import StudySpec

app = typer.Typer(
    help="Hyperparameter search for PyTorch image classifiers: YAML in, Ray Tune and Optuna, Parquet out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
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
    str | None,
    typer.Option(
        "--address", help="A running Ray cluster: auto, HOST:PORT or ray://HOST:PORT; otherwise this machine."
    ),
]
HttpAddress = Annotated[str, typer.Option("--address", help="The cluster's head: http://HOST:8265.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over; the earlier study is moved aside.")]
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
    fresh: Fresh = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and how long, and stop.")] = False,
    address: Address = None,
) -> None:
    """Run a study, or go on with it where it stopped."""
    spec = _load(study, settings, name)
    if address and "://" in address and not dry_run:  # the study's driver has to run on the cluster
        again = _command(study, results, data, name, address, settings or [])
        jobs = _jobs(address)
        job = jobs.submit(spec, "run", results=results, data=data, fresh=fresh, command=again)
        raise typer.Exit(_follow(jobs, job))
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
    show_study(after, 5)
    show_ways_on(after, results, halted, partial(_command, study, results, data, name, address), settings or [])
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
    say_what_there_is(spec, earlier)
    standing = Standing(spec, [] if earlier is None else earlier.trials.to_dict("records"))
    with watching(out, standing) as observer:
        from tuner import cluster

        with _signals_later():
            cluster.start(address, spec.architectures)
        from tuner.study import StudyRun  # takes seconds: Tune

        study = StudyRun(spec, results, data=data, observer=observer, address=address, on_lost=_end_without_ray)
        study.run()
    return study.halted


def _end_without_ray(error: RayLostError) -> NoReturn:
    """Say so and end at once: where calls into Ray do not return, nothing else ends this process."""
    out.show_cursor()
    err.print(str(error), style="red", soft_wrap=True, markup=False)
    os._exit(1)


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


@app.command()
def submit(
    address: HttpAddress,
    study: Annotated[Path | None, typer.Argument(metavar="STUDY.yaml", help="The study file.")] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    name: Name = None,
    settings: Settings = None,
    fresh: Fresh = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or print its job.")] = True,
    follow: Annotated[str | None, typer.Option("--follow", metavar="JOB", help="Follow a job once more.")] = None,
) -> None:
    """Hand a study over to a Ray cluster, and follow it; ends as the study does.

    --results and --data are places on the cluster.
    """
    if (study is None) == (follow is None):
        raise UserError("submit: one is needed, STUDY.yaml or --follow JOB")
    if follow is not None or study is None:
        raise typer.Exit(_follow(_jobs(address), str(follow)))
    spec = _load(study, settings, name)  # before a cluster is asked: what is refused is refused at once
    jobs = _jobs(address)
    again = _command(study, results, data, name, address, settings or [], verb="submit")
    job = jobs.submit(spec, "run", results=results, data=data, fresh=fresh, command=again)
    if wait:
        raise typer.Exit(_follow(jobs, job))
    out.print(job, soft_wrap=True)


def _jobs(address: str) -> "Jobs":
    from tuner.jobs import Jobs

    if "://" not in address:
        raise UserError(f"--address: found '{address}'; allowed: http://HOST:8265 of the cluster's head")
    return Jobs(address)


def _follow(jobs: "Jobs", job: str) -> int:
    """Pass on what a job prints; Ctrl-C leaves it to itself."""
    way_back = shlex.join([*program(), "submit", "--address", jobs.address, "--follow", job])
    err.print(f"job {job}", style="dim", soft_wrap=True)
    try:
        return jobs.follow(job, _pass_on)
    except KeyboardInterrupt:
        err.print(f"The job goes on; to follow it again: {way_back}", style="yellow", soft_wrap=True)
        return 130


def _pass_on(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


@app.command()
def validate(
    study: StudyFile,
    name: Name = None,
    settings: Settings = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    address: Address = None,
) -> None:
    """Check a study file and print it with every default; with --address, check every node of a cluster for it too."""
    spec = _load(study, settings, name)
    if address and "://" in address:
        jobs = _jobs(address)
        raise typer.Exit(_follow(jobs, jobs.submit(spec, "validate", results=results, data=data)))
    if address:
        _validate_cluster(spec, results, data, address)
    out.print(spec.to_yaml(), markup=False, end="", soft_wrap=True)
    err.print(f"{study}: valid", markup=False, soft_wrap=True)


def _validate_cluster(spec: "StudySpec", results: str, data: Path | None, address: str) -> None:
    """The look at each node that `run --address` begins with."""
    from tuner import data as datasets
    from tuner.cluster import connected
    from tuner.object_store import open_storage

    dataset = datasets.load(spec.dataset, data)
    datasets.split(dataset, spec.dataset)
    storage = open_storage(results)
    storage.create()
    with out.status("Every node is looked at …"), connected(address, spec.architectures):
        from tuner.placement import place

        placement = place(spec, dataset.folder, data and data.absolute(), results=str(storage))
    show_nodes(placement.nodes)
    out.print(f"{placement.slots} trials side by side, each with {placement.share}")


@app.command("ls")
def list_studies(
    results: Results = DEFAULT_RESULTS,
    address: Annotated[
        str | None, typer.Option("--address", help="List the jobs of a cluster: http://HOST:8265.")
    ] = None,
) -> None:
    """List the studies of a results directory, or the studies that were handed over to a cluster."""
    from tuner.folder import find_studies

    if address:
        show_jobs(_jobs(address).list(), address)
        return
    if results != DEFAULT_RESULTS and "://" not in results and not Path(results).is_dir():
        raise StudyError(f"--results: no folder {results}; allowed: the folder that studies were run into")
    studies = find_studies(results)
    if not studies:
        first = shlex.join([*program(), "run", "search_spaces/digits.yaml"])
        out.print(f"No studies in {results}; begin one with: {first}", soft_wrap=True, markup=False)
        return
    show_studies(studies)


@app.command()
def show(study: StudyName, results: Results = DEFAULT_RESULTS, top: Top = 10) -> None:
    """Show the best trials of a study and how it stands."""
    from tuner.folder import StudyFolder, find_studies, load_study

    is_place = "://" in study or StudyFolder(study).holds_a_study
    folder = StudyFolder(study if is_place else f"{results}/{study}")
    if not folder.holds_a_study and (studies := [other.name for other in find_studies(results)]):
        raise StudyError(f"{results}: no study '{study}'; {nearest(study, studies)}")
    show_study(load_study(str(folder)), top)


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
    way_on = shlex.join([*program(), "reproduce", report, "--run", *where, *how])
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


def _command(
    study: Path,
    results: str,
    data: Path | None,
    name: str | None,
    address: str | None,
    settings: list[str],
    verb: str = "run",
) -> str:
    """The command that goes on with a study; `--fresh` would begin it anew."""
    from tuner.provenance import COMMAND

    words = shlex.split(os.environ.get(COMMAND, ""))
    if words:  # a job: what was handed over has its settings in the file
        return shlex.join([*words, *_set(settings)])
    words = [*program(), verb, str(study)]
    words += [] if results == DEFAULT_RESULTS else ["--results", results]
    words += [] if data is None else ["--data", str(data)]
    words += [] if name is None else ["--name", name]
    words += [] if address is None else ["--address", address]
    return shlex.join([*words, *_set(settings)])


def _set(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _show_plan(spec: "StudySpec", data: Path | None, address: str | None) -> None:
    from tuner import data as datasets

    dataset = datasets.load(spec.dataset, data)
    datasets.split(dataset, spec.dataset)
    with out.status("A few configurations are trained for a moment …"):
        from tuner.cluster import connected
        from tuner.estimate import estimate
        from tuner.placement import choose_share, count_slots
        from tuner.search.schedulers import rung_epochs

        with connected(address, spec.architectures):
            share = choose_share(spec, dataset.folder, data)
            slots = count_slots(spec, share)
        cost = estimate(spec, data, slots)
    show_plan(spec, slots, str(share), rung_epochs(spec), cost)


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
    except RayLostError as error:
        _end_without_ray(error)
    except KeyboardInterrupt:
        sys.exit(130)
