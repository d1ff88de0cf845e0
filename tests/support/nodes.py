"""Ray nodes as operators start them, each by a `ray start`, and killed."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.waiting import PATIENCE
from tuner.results.folder import StudyResults

ROOT = Path(__file__).parents[2]
QUICK = {
    f"RAY_health_check_{name}": value
    for name, value in {"period_ms": "500", "timeout_ms": "500", "failure_threshold": "3"}.items()
}
"""Health checks of a head node that misses a node after two seconds, not thirty."""


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


class RayNode:
    """A node that its `ray start` keeps. Its processes form a process session.

    Args:
        arguments: Arguments of `ray start`.
        folder: Parent of Ray's temp directory. Its path must be short.
        environment: Environment of its processes.
        inside: Words before a command that make it run where the node runs.
    """

    def __init__(self, *arguments: str, folder: Path, environment: dict[str, str], inside: Sequence[str] = ()) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        quiet = ["--disable-usage-stats", "--include-log-monitor", "false"]
        common = ["--block", "--num-cpus", "1", "--object-store-memory", str(100 << 20), *quiet]
        self._inside = inside
        with tempfile.TemporaryFile(dir=folder) as log:
            self._process = subprocess.Popen(
                [*inside, ray, "start", *common, *arguments],
                env=environment,
                cwd=ROOT,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def wait_for_port(self, host: str, port: int) -> None:
        """Wait until somebody listens at a port, as seen from the node."""
        knock = f"until (: > /dev/tcp/{host}/{port}) 2> /dev/null; do sleep 0.1; done"
        subprocess.run([*self._inside, "bash", "-c", knock], check=True, timeout=PATIENCE)

    def kill(self) -> None:
        """Kill all its processes, as a power cut does."""
        kill_session(self._process.pid)
        self._process.wait()

    def has_ended(self) -> bool:
        """Return True if somebody has killed it."""
        return self._process.poll() is not None


def kill_session(session: int) -> None:
    """Kill all processes of a process session, this one last."""
    for _ in range(2):  # a worker may have been starting
        found = subprocess.run(["ps", "-s", str(session), "-o", "pid="], capture_output=True, text=True).stdout
        for pid in sorted(map(int, found.split()), key=os.getpid().__eq__):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def operators_environment(home: Path) -> dict[str, str]:
    """Return the environment of every node and command, with the cluster's token."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {**kept, **QUICK, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def study_file(folder: Path, trials: int, epochs: int, architecture: str = "vazquez_base", **more: Any) -> Path:
    """Write a study of digits that trains about a tenth of a second per epoch."""
    file = folder / "small.yaml"
    file.write_text(
        f"""
study: small
dataset: {{name: digits, validation: 0.2}}
training: {{architecture: "{architecture}", batch_size: 16, epochs: {epochs}}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
search: {{sampler: random, trials: {trials}}}
stopping: none
resources: {{cpu: 1}}
"""
        + "".join(f"{name}: {value}\n" for name, value in more.items())
    )
    return file


def held_study_file(folder: Path, environment: dict[str, str], trials: int, epochs: int) -> tuple[Path, Path]:
    """Write a study whose trials stop in their fourth epoch while a file is there. Return both files.

    `environment` is that of all its processes.
    """
    hold = folder / "hold"
    hold.touch()
    environment["HOLD"] = str(hold)
    return study_file(folder, trials, epochs, "tests.support.networks:Held", retries=0), hold


def assert_whole(study: StudyResults, trials: int, epochs: int) -> None:
    """Assert that every trial is complete and has each of its epochs once."""
    assert list(study.trials["number"]) == list(range(trials))
    assert set(study.trials["state"]) == {"COMPLETE"}
    for number, rows in study.epochs.groupby("number"):
        assert list(rows["epoch"]) == list(range(1, epochs + 1)), number
