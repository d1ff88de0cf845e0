"""Studies as jobs of a Ray cluster: submitted, followed and listed through its HTTP address.

The command runs on the head node, in a copy of this package that travels with the study. The user
may disconnect, and follow the job again later.
"""

import asyncio
import json
import logging
import os
import re
import shlex
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

from tuner.cluster.code import stage
from tuner.cluster.connection import TOKEN_REMEDY
from tuner.config.registry import DATASETS
from tuner.config.study import StudyConfig
from tuner.errors import INTERRUPTED, ClusterError, UserError, suggest
from tuner.results.provenance import COMMAND, SOURCE, source
from tuner.search.ray_internals import show_token
from tuner.storage import is_url
from tuner.storage.redaction import redact

STUDY, RESULTS = "tuner_study", "tuner_results"
"""Keys of a job's metadata."""
CONTACT_SECONDS = 60.0
"""Seconds without an answer before giving the head node up. The job may go on."""
RETRY_SECONDS = 2.0
"""Seconds between two questions to a head node."""
BUSY = "No available agent|Initialization failure"
"""Ray's messages about a head node that may answer a little later."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A study's job.

    Attributes:
        name: Name of the job, for `follow`.
        study: Name of the study.
        results: Where its tables are.
        status: PENDING | RUNNING | STOPPED | SUCCEEDED | FAILED, as Ray names it.
        started_at: When it was submitted.
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
        ClusterError: No cluster answers there, it refuses this client, or `ray[default]` is not
            installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        show_token()
        from ray.job_submission import JobSubmissionClient  # because it takes seconds

        # because it announces the end of each log
        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.ERROR)
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # because Ray prefers RAY_ADDRESS to its argument
        with self._explained():
            self._client = _ask_until_ready(partial(JobSubmissionClient, address))

    def submit(
        self,
        spec: StudyConfig,
        verb: Literal["run", "validate"],
        *,
        results: str,
        data: Path | None = None,
        fresh: bool = False,
        accept_changes: bool = False,
        retry_failed: bool = False,
        command: str = "",
    ) -> str:
        """Submit a study. Returns the job's name.

        Args:
            spec: The study, which travels as a file.
            verb: The command to run with it.
            results: Where the tables will be: an absolute path on the cluster, or `s3://…`.
            data: Where the cluster looks for data sets first, an absolute path.
            fresh: Start over.
            accept_changes: Resume in spite of another identity of the study.
            retry_failed: Open FAILED trials again.
            command: The command that resumes the study from here, for the job to print.

        Raises:
            ClusterError: As when connecting.
            UserError: A path is not valid on the cluster.
        """
        _refuse_relative(results, data, spec)
        options = ["--results", results, *(["--data", str(data)] if data else [])]
        flags = {"--fresh": fresh, "--accept-changes": accept_changes, "--retry-failed": retry_failed}
        options += [flag for flag, is_given in flags.items() if is_given]
        words = ["python", "-m", "tuner", verb, f"{spec.study}.yaml", *options, "--address", "auto"]
        with tempfile.TemporaryDirectory(prefix="tuner-") as staged, self._explained():
            _stage(Path(staged), spec)
            submit = partial(
                self._client.submit_job,
                entrypoint=shlex.join(words),
                submission_id=f"{spec.study}-{uuid.uuid4().hex[:8]}",
                runtime_env={"working_dir": staged, "env_vars": _environment(command)},
                metadata={STUDY: spec.study, RESULTS: redact(results)},
            )
            return _ask_until_ready(submit)

    def follow(self, job: str, write: Callable[[str], Any]) -> int:
        """Write a job's output until the job ends.

        Returns the exit code of its command.

        Args:
            job: Its name.
            write: Called with each piece of its output.

        Raises:
            ClusterError: There is no such job, it could not be started, or the head node has not
                answered for `CONTACT_SECONDS`.
        """
        from aiohttp import ClientError

        self._refuse_unknown(job)
        shown, heard_at = 0, time.monotonic()
        while True:
            try:
                shown = asyncio.run(self._tail(job, write, shown))
                info = self._client.get_job_info(job)
                heard_at = time.monotonic()
            except (RuntimeError, OSError, ClientError) as error:  # the head node is busy or restarts
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
        """Write the output after the first `shown` characters.

        Returns the number shown now.
        """
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
            return INTERRUPTED
        if info.driver_exit_code is None or info.driver_exit_code < 0:
            reason = " ".join(str(info.message).split())
            raise ClusterError(f"job {info.submission_id} at {self.address} was not run to its end: {reason}")
        return int(info.driver_exit_code)

    def list(self) -> list[Job]:
        """List the studies' jobs that the cluster remembers, the latest first.

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
        """Turn the errors of Ray's client into one line with the remedy."""
        from ray.exceptions import AuthenticationError

        allowed = "allowed: http://HOST:8265 of the head of a running cluster"
        logging.disable(logging.WARNING)  # about uploads and versions
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


def _ask_until_ready(ask: Callable[[], T]) -> T:
    """Ask a head node until it is ready.

    A busy or new head node refuses at first.
    """
    began = time.monotonic()
    while True:
        try:
            return ask()
        except (RuntimeError, ConnectionError) as error:
            if not re.search(BUSY, str(error)) or time.monotonic() - began > CONTACT_SECONDS:
                raise
        time.sleep(RETRY_SECONDS)


def _refuse_relative(results: str, data: Path | None, spec: StudyConfig) -> None:
    """Refuse paths that have another meaning on the cluster, or none."""
    dataset = "/" if spec.dataset.name in DATASETS else spec.dataset.name
    paths = [("--results", results), ("--data", str(data or "/")), ("dataset.name", dataset)]
    paths += [("training.pretrained", path) for _, path in spec.weights if isinstance(path, str)]
    for option, path in paths:
        if not is_url(path) and not Path(path).is_absolute():
            allowed = "an absolute path there" + (", or s3://BUCKET/PREFIX" if option == "--results" else "")
            raise UserError(f"{option}: found '{path}', which the cluster cannot know; allowed: {allowed}")


def _stage(folder: Path, spec: StudyConfig) -> None:
    """Write a job's files into a folder.

    They are this package, the modules of the user's networks, and the study.
    """
    stage(folder, spec.code)
    (folder / f"{spec.study}.yaml").write_text(spec.to_yaml())


def _environment(command: str) -> dict[str, str]:
    """Return the job's environment variables.

    They tell its rows and messages where it comes from.
    """
    return {COMMAND: command, SOURCE: json.dumps(source(Path(__file__))), "PYTHONUNBUFFERED": "1"}
