"""Studies as jobs of a Ray cluster, through its HTTP address: handed over, followed, listed.

The command runs on the cluster's head, in a copy of this package that travels with the study; whoever handed it over
may go, and follow it again later.
"""

import asyncio
import json
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from tuner.cluster.code import sources
from tuner.cluster.connection import TOKEN_REMEDY
from tuner.config.registry import DATASETS
from tuner.config.study import StudyConfig
from tuner.errors import ClusterError, UserError, suggest
from tuner.results.provenance import COMMAND, SOURCE, source
from tuner.storage import is_url

STUDY, RESULTS = "tuner_study", "tuner_results"
"""What a job's metadata says, so that it can be listed."""
CONTACT_SECONDS = 60.0
"""A head that does not answer for so long is given up; the job may go on without being watched."""
RETRY_SECONDS = 2.0
BUSY = "No available agent|Initialization failure"
"""What Ray says of a head that may answer a little later."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A study's job.

    Attributes:
        name: What `follow` takes.
        study: Name of the study.
        results: Where its tables are.
        status: PENDING | RUNNING | STOPPED | SUCCEEDED | FAILED, in Ray's words.
        started_at: When it was handed over.
    """

    name: str
    study: str
    results: str
    status: str
    started_at: datetime


class Jobs:
    """The jobs of the cluster at an address.

    Attributes:
        address: `http://HOST:8265` of its head, or `ray://HOST:10001`.

    Raises:
        ClusterError: No cluster answers there, it refuses this client, or `ray[default]` is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        _show_token()
        from ray.job_submission import JobSubmissionClient  # takes seconds

        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.ERROR)  # says when a log ends
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # or Ray would prefer what another variable says
        with self._explained():
            self._client = _patiently(partial(JobSubmissionClient, address))

    def submit(
        self,
        spec: StudyConfig,
        verb: Literal["run", "validate"],
        *,
        results: str,
        data: Path | None = None,
        fresh: bool = False,
        command: str = "",
    ) -> str:
        """Hand over a study; returns the job's name.

        Args:
            spec: The study; it travels as a file.
            verb: What to do with it.
            results: Where the tables will be: an absolute path on the cluster, or `s3://…`.
            data: Where data sets are looked for first, an absolute path on the cluster.
            fresh: Start over.
            command: What to run here to go on with the study; for what the job says of it.

        Raises:
            ClusterError: As when connecting.
            UserError: A path that the cluster cannot know.
        """
        _refuse_relative(results, data, spec.dataset.name)
        options = ["--results", results, *(["--data", str(data)] if data else []), *(["--fresh"] if fresh else [])]
        words = ["python", "-m", "tuner", verb, f"{spec.study}.yaml", *options, "--address", "auto"]
        with tempfile.TemporaryDirectory(prefix="tuner-") as staged, self._explained():
            _stage(Path(staged), spec)
            submit = partial(
                self._client.submit_job,
                entrypoint=shlex.join(words),
                submission_id=f"{spec.study}-{uuid.uuid4().hex[:8]}",
                runtime_env={"working_dir": staged, "env_vars": _environment(command)},
                metadata={STUDY: spec.study, RESULTS: results},
            )
            return _patiently(submit)

    def follow(self, job: str, write: Callable[[str], Any]) -> int:
        """Pass on what a job prints, from its beginning to its end; returns the exit code of its command.

        Args:
            job: Its name.
            write: Called with each piece of its output.

        Raises:
            ClusterError: There is no such job, it could not be started, or the head has not answered for
                `CONTACT_SECONDS`.
        """
        from aiohttp import ClientError

        self._refuse_unknown(job)
        shown, heard_at = 0, time.monotonic()
        while True:
            try:
                shown = asyncio.run(self._tail(job, write, shown))
                info = self._client.get_job_info(job)
                heard_at = time.monotonic()
            except (RuntimeError, OSError, ClientError) as error:  # the head is busy, or starts again
                if time.monotonic() - heard_at > CONTACT_SECONDS:
                    raise ClusterError(f"{self.address} does not answer any more; job {job} may go on") from error
            else:
                if info.status.is_terminal():
                    return self._exit_code(info)
            time.sleep(RETRY_SECONDS)

    def _refuse_unknown(self, job: str) -> None:
        with self._explained():
            known = [str(each.submission_id) for each in self._client.list_jobs()]
        if job not in known:
            raise ClusterError(f"--follow: no job '{job}' at {self.address}; {suggest(job, known)}")

    async def _tail(self, job: str, write: Callable[[str], Any], shown: int) -> int:
        """Pass on the output after the first `shown` characters, until the connection ends; returns how many now."""
        passed = 0
        async for piece in self._client.tail_job_logs(job):
            if passed + len(piece) > shown:
                write(piece[max(0, shown - passed) :])
            passed += len(piece)
            shown = max(shown, passed)
        return shown

    def _exit_code(self, info: Any) -> int:
        if info.status == "SUCCEEDED":
            return 0
        if info.status == "STOPPED":
            return 130
        if info.driver_exit_code is None or info.driver_exit_code < 0:
            reason = " ".join(str(info.message).split())
            raise ClusterError(f"job {info.submission_id} at {self.address} was not run to its end: {reason}")
        return int(info.driver_exit_code)

    def list(self) -> list[Job]:
        """The studies' jobs that the cluster remembers, the latest first.

        Raises:
            ClusterError: As when connecting.
        """
        with self._explained():
            found = self._client.list_jobs()
        jobs = [
            Job(
                str(job.submission_id),
                job.metadata[STUDY],
                job.metadata[RESULTS],
                str(job.status.value),
                datetime.fromtimestamp((job.start_time or 0) / 1000, UTC),
            )
            for job in found
            if job.metadata and STUDY in job.metadata
        ]
        return sorted(jobs, key=lambda job: job.started_at, reverse=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What Ray's client raises becomes one line with the remedy."""
        from ray.exceptions import AuthenticationError

        allowed = "allowed: http://HOST:8265 of the head of a running cluster"
        logging.disable(logging.WARNING)  # of packages on their way, and versions
        try:
            yield
        except AuthenticationError:
            raise ClusterError(f"--address: {self.address} refuses this client (401): {TOKEN_REMEDY}") from None
        except (ConnectionError, OSError, ValueError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(f"--address: no Ray cluster at '{self.address}' ({reason}); {allowed}") from None
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            if "ray[default]" in reason:
                reason = "handing over studies needs more of Ray: pip install 'tuner[cluster]'"
            raise ClusterError(f"--address: {self.address}: {reason}") from None
        finally:
            logging.disable(logging.NOTSET)


def _show_token() -> None:
    """Show the operators' token, where this user has one; only here, for a driver would demand it of all others."""
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

    logging.disable(logging.WARNING)  # of what was switched on
    try:
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    finally:
        logging.disable(logging.NOTSET)


def _patiently(ask: Callable[[], T]) -> T:
    """Ask a head until it can answer: one that has just started, or is busy, cannot at once."""
    began = time.monotonic()
    while True:
        try:
            return ask()
        except (RuntimeError, ConnectionError) as error:
            if not re.search(BUSY, str(error)) or time.monotonic() - began > CONTACT_SECONDS:
                raise
        time.sleep(RETRY_SECONDS)


def _refuse_relative(results: str, data: Path | None, dataset: str) -> None:
    """Paths that mean another place, or none, on the cluster."""
    places = {"--results": results, "--data": str(data or "/"), "dataset.name": "/" if dataset in DATASETS else dataset}
    for option, place in places.items():
        if not is_url(place) and not Path(place).is_absolute():
            allowed = "an absolute path there" + (", or s3://BUCKET/PREFIX" if option == "--results" else "")
            raise UserError(f"{option}: found '{place}', which the cluster cannot know; allowed: {allowed}")


def _stage(folder: Path, spec: StudyConfig) -> None:
    """What a job needs: this package, the modules of the user's own networks, and the study."""
    for path in sources(spec.architectures):
        if path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, folder)
    (folder / f"{spec.study}.yaml").write_text(spec.to_yaml())


def _environment(command: str) -> dict[str, str]:
    """Variables of the job: what its rows and its last words say of where it comes from."""
    return {COMMAND: command, SOURCE: json.dumps(source(Path(__file__))), "PYTHONUNBUFFERED": "1"}
