"""`submit`: submit a study to a cluster, and follow it."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tuner.cli.completion import complete_study_file
from tuner.cli.options import (
    AcceptChanges,
    Data,
    Fresh,
    HttpAddress,
    Name,
    Results,
    RetryFailed,
    Settings,
    load_study_file,
)
from tuner.cli.tables import DEFAULT_RESULTS, err, out, program
from tuner.errors import INTERRUPTED, UserError
from tuner.storage import is_url
from tuner.storage.redaction import redact

if TYPE_CHECKING:  # because Ray takes seconds
    from tuner.cluster.jobs import Jobs


def submit(
    address: HttpAddress,
    study: Annotated[
        Path | None,
        typer.Argument(
            metavar="STUDY.yaml", help="The study file.", readable=False, autocompletion=complete_study_file
        ),
    ] = None,
    results: Results = DEFAULT_RESULTS,
    data: Data = None,
    name: Name = None,
    settings: Settings = None,
    fresh: Fresh = False,
    accept_changes: AcceptChanges = False,
    retry_failed: RetryFailed = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the study to its end, or print its job.")
    ] = True,
    follow: Annotated[str | None, typer.Option("--follow", metavar="JOB", help="Follow a job once more.")] = None,
) -> None:
    """Submit a study to a Ray cluster and follow it.

    The exit code is the study's. --results and --data are paths on the cluster.
    """
    if (study is None) == (follow is None):
        raise UserError("submit: one is needed, STUDY.yaml or --follow JOB")
    if follow is not None or study is None:
        raise typer.Exit(follow_job(connect_jobs(address), str(follow)))
    spec = load_study_file(study, settings, name)  # before the cluster, which takes seconds
    jobs = connect_jobs(address)
    again = resume_command(study, results, data, name, address, settings or [], verb="submit")
    job = jobs.submit(
        spec,
        "run",
        results=results,
        data=data,
        fresh=fresh,
        accept_changes=accept_changes,
        retry_failed=retry_failed,
        command=again,
    )
    if wait:
        raise typer.Exit(follow_job(jobs, job))
    out.print(job, soft_wrap=True)


def connect_jobs(address: str) -> "Jobs":
    """Connect to the jobs of a cluster.

    Refuse an address that is no URL.
    """
    from tuner.cluster.jobs import Jobs

    if not is_url(address):
        raise UserError(f"--address: found '{address}'; allowed: http://HOST:8265 of the cluster's head")
    return Jobs(address)


def follow_job(jobs: "Jobs", job: str) -> int:
    """Print a job's output to its end. Ctrl-C leaves the job running."""
    follow_command = shlex.join([*program(), "submit", "--address", jobs.address, "--follow", job])
    err.print(f"job {job}", style="dim", soft_wrap=True)
    try:
        return jobs.follow(job, _write)
    except KeyboardInterrupt:
        err.print(f"The job goes on; to follow it again: {redact(follow_command)}", style="yellow", soft_wrap=True)
        return INTERRUPTED


def _write(piece: str) -> None:
    sys.stdout.write(piece)
    sys.stdout.flush()


def resume_command(
    study: Path,
    results: str,
    data: Path | None,
    name: str | None,
    address: str | None,
    settings: list[str],
    verb: str = "run",
) -> str:
    """Return the command that resumes a study.

    It lacks `--fresh`, which would start over.
    """
    from tuner.results.provenance import COMMAND

    words = shlex.split(os.environ.get(COMMAND, ""))
    if words:  # this is a job, whose study file holds the first settings
        return shlex.join([*words, *_set(settings)])
    words = [*program(), verb, str(study)]
    words += [] if results == DEFAULT_RESULTS else ["--results", results]
    words += [] if data is None else ["--data", str(data)]
    words += [] if name is None else ["--name", name]
    words += [] if address is None else ["--address", address]
    return shlex.join([*words, *_set(settings)])


def _set(settings: list[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]
