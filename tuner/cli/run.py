"""`run` and `validate`: a study on this machine, or on a cluster that this machine belongs to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.options import (
    AcceptChanges,
    Address,
    Data,
    Fresh,
    Name,
    Results,
    RetryFailed,
    Settings,
    StudyFile,
    load_study_file,
)
from tuner.cli.submit import connect_jobs, follow_job, resume_command
from tuner.cli.tables import (
    DEFAULT_RESULTS,
    end_without_ray,
    err,
    out,
    print_next_steps,
    print_start,
    show_nodes,
    show_plan,
    show_study,
)
from tuner.errors import INTERRUPTED
from tuner.storage import is_url

if TYPE_CHECKING:  # because torch and Ray take seconds, which a refused study file should not
    from tuner.config.study import StudyConfig
    from tuner.results.folder import StudyFolder, StudyResults
    from tuner.study.budget import Spent
    from tuner.study.progress import Progress


def run(
    study: StudyFile,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    name: Name = None,
    settings: Settings = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    retry_failed: RetryFailed = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run and how long, and stop.")] = False,
    address: Address = None,
) -> None:
    """Run a study, or resume it."""
    spec = load_study_file(study, settings, name)
    again = partial(resume_command, study, results, data, name, address)
    if dry_run:
        print_plan(spec, data, address, results)
    elif address and is_url(address):  # because the study's driver has to run on the cluster
        jobs = connect_jobs(address)
        job = jobs.submit(
            spec,
            "run",
            results=results,
            data=data,
            fresh=fresh,
            accept_changes=accept_changes,
            retry_failed=retry_failed,
            command=again(settings or []),
        )
        raise typer.Exit(follow_job(jobs, job))
    else:
        ways = {"accept_changes": accept_changes, "retry_failed": retry_failed}
        raise typer.Exit(_run_and_show(spec, results, data, fresh, address, again, settings or [], **ways))


def _run_and_show(
    spec: "StudyConfig",
    results: str,
    data: Path | None,
    fresh: bool,
    address: str | None,
    again: Callable[[list[str]], str],
    settings: list[str],
    *,
    accept_changes: bool = False,
    retry_failed: bool = False,
) -> int:
    """Run a study from here, and print its state at the end.

    Returns the exit code.
    """
    from tuner.results.folder import StudyFolder, load_study

    folder = StudyFolder(f"{results}/{spec.study}")
    check_before_start(folder, spec, data, fresh, accept_changes)
    if fresh and folder.holds_a_study:
        with folder.lock():
            aside = folder.move_aside(datetime.now(UTC))
        out.print(f"The earlier study was moved to {aside}", soft_wrap=True)
    try:
        earlier = load_study(str(folder)) if folder.holds_a_study else None
        stop_reason = run_here(spec, results, data, earlier, address, accept_changes, retry_failed)
    except KeyboardInterrupt:
        err.print("Interrupted at once; the same command without --fresh goes on", style="yellow")
        return INTERRUPTED
    after = load_study(str(folder))
    show_study(after, 5)
    print_next_steps(after, results, stop_reason, again, settings)
    if stop_reason == "interrupt":
        return INTERRUPTED
    if stop_reason is None and not (after.trials["state"] == "COMPLETE").any():
        err.print("No trial was completed.", style="red")
        return 1
    return 0


def check_before_start(
    folder: "StudyFolder", spec: "StudyConfig", data: Path | None, fresh: bool, accept_changes: bool = False
) -> None:
    """Refuse at once what the run would refuse under its lock.

    The run would refuse it only after Ray has started.
    """
    from tuner.cluster.hidden_modules import refuse_hidden_modules
    from tuner.data.weights import hash_all
    from tuner.results.folder import check_comparable
    from tuner.results.identity import check_identity, identify
    from tuner.study.dataset import load_fitting

    refuse_hidden_modules(Path.cwd())
    if not fresh:
        check_comparable(folder, spec)
    with folder.lock():  # first, because decoding images may take minutes
        dataset = load_fitting(spec, data, _say)
        if not fresh:
            identity = identify(spec, dataset.fingerprint, hash_all(spec.weights, data))
            check_identity(folder, identity, accept=accept_changes)
        print_learned(folder, spec, dataset.fingerprint, fresh)


def _say(line: str) -> None:
    """Print a line as it is."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def print_learned(folder: "StudyFolder", spec: "StudyConfig", fingerprint: str, fresh: bool) -> None:
    """Print the studies that a study learns from.

    Raise StudyError if it cannot learn from them.
    """
    if not spec.search.learn_from:
        return
    from tuner.study.learning import gather, learn

    for study in (gather if fresh else learn)(folder, spec, fingerprint):
        _say(f"Learns from {study}")


def run_here(
    spec: "StudyConfig",
    results: str,
    data: Path | None,
    earlier: "StudyResults | None",
    address: str | None = None,
    accept_changes: bool = False,
    retry_failed: bool = False,
) -> str | None:
    """Run a study and watch it.

    Returns what stopped it before its end, or None.
    """
    from tuner.cli.live import watching
    from tuner.results.folder import StudyFolder, is_finished
    from tuner.study.budget import BudgetMeter, read_spent
    from tuner.study.trial_logs import catch_up

    reopens = retry_failed and earlier is not None and bool((earlier.trials["state"] == "FAILED").any())
    if earlier is not None and is_finished(spec, earlier.trials) and not reopens:
        out.print(f"Study {spec.study} has all its trials; nothing is left to do")
        if spec.log_to:
            catch_up(spec, earlier.folder)
        return None
    folder = StudyFolder(f"{results}/{spec.study}")
    spent = read_spent(spec, folder.provenance(), folder.tables(spec))
    if limit := BudgetMeter(spec, spent).limit:
        return f"budget.{limit}"
    print_start(spec, earlier)
    progress = progress_so_far(spec, earlier, spent, reopens)
    with folder.lock(), watching(out, progress) as observer:  # because Ray is for the winner of two drivers
        from tuner.cluster import connection

        with signals_later():
            connection.start(address, spec.code, end_without_ray)
        from tuner.study.run import StudyRun  # because Tune takes seconds

        study = StudyRun(
            spec,
            results,
            folder=folder,
            data=data,
            observer=observer,
            address=address,
            on_lost=end_without_ray,
            accept_changes=accept_changes,
            retry_failed=retry_failed,
        )
        study.run()
    return study.stop_reason


def progress_so_far(
    spec: "StudyConfig", earlier: "StudyResults | None", spent: "Spent", reopens: bool = False
) -> "Progress":
    """Return the progress of a study's earlier runs.

    Failed trials are left out if they are opened again.
    """
    from tuner.study.progress import Progress

    if earlier is None:
        return Progress(spec, spent=spent)
    trials = earlier.trials
    kept = trials[trials["state"] != "FAILED"] if reopens else trials
    verdicts = earlier.decisions[["number", "rung", "verdict"]]
    return Progress(spec, kept.to_dict("records"), spent, verdicts.to_dict("records"))


@contextmanager
def signals_later() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the end of the block.

    They are held back because a half-started Ray would leave processes behind.
    """
    received: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: received.append(number)) for number in signals]
    try:
        yield
    except SystemExit:  # from Ray's handler for SIGTERM
        received.append(signal.SIGTERM)
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt


def validate(
    study: StudyFile,
    name: Name = None,
    settings: Settings = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    address: Address = None,
) -> None:
    """Check a study file and print it with every default.

    With --address, check every node too.
    """
    spec = load_study_file(study, settings, name)
    if address and is_url(address):
        jobs = connect_jobs(address)
        raise typer.Exit(follow_job(jobs, jobs.submit(spec, "validate", results=results, data=data)))
    if address:
        _validate_cluster(spec, results, data, address)
    out.print(spec.to_yaml(), markup=False, end="", soft_wrap=True)
    err.print(f"{study}: valid", markup=False, soft_wrap=True)


def _validate_cluster(spec: "StudyConfig", results: str, data: Path | None, address: str) -> None:
    """Check every node, as `run --address` does first."""
    from tuner.cluster.connection import connected
    from tuner.storage import open_storage
    from tuner.study.dataset import load_fitting

    dataset = load_fitting(spec, data)
    storage = open_storage(results)
    storage.create()
    with out.status("Every node is checked …"), connected(address, spec.code):
        from tuner.cluster.placement import place

        placement = place(spec, dataset.folder, data and data.absolute(), results=str(storage))
    show_nodes(placement.nodes)
    out.print(f"{placement.slots} trials side by side, each with {placement.trial}")


def print_plan(spec: "StudyConfig", data: Path | None, address: str | None, results: str) -> None:
    """Print what a run would do, after a moment of training."""
    from tuner.results.folder import StudyFolder
    from tuner.study.dataset import load_fitting

    dataset = load_fitting(spec, data, _say)
    print_learned(StudyFolder(f"{results}/{spec.study}"), spec, dataset.fingerprint, fresh=False)
    with out.status("A few configurations are trained for a moment …"):
        from tuner.cluster.connection import connected
        from tuner.cluster.placement import choose_resources
        from tuner.cluster.slots import count_slots
        from tuner.search.schedulers import rung_epochs
        from tuner.study.estimate import estimate

        with connected(address, spec.code):
            trial = choose_resources(spec, dataset.folder, data)
            slots = count_slots(spec, trial)
        cost = estimate(spec, data, slots)
    show_plan(spec, slots, str(trial), rung_epochs(spec), cost)
