"""Ctrl-C in a terminal, and the run that goes on: each with a local Ray of its own."""

import fcntl
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

import tuner
from tests.cli.test_main import ROOT, command
from tests.cli.test_streams import shell
from tests.support.processes import alive, descendants
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.cluster
LONG = """
study: long
dataset: {name: digits, validation: 0.2}
training: {architecture: "tests.support.networks:Held", epochs: 10, batch_size: 64}
space: {learning_rate: {float: [1e-3, 1e-2], log: true}}
search: {sampler: random, trials: 2}
stopping: none
"""


@contextmanager
def terminal(*arguments: object, **environment: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Start the command in a terminal of 80 columns. Gives its process and the terminal."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen(
        command(*arguments), stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment
    )
    os.close(terminal)
    try:
        yield process, reader
    finally:
        process.kill()
        process.wait()
        os.close(reader)


def read_until(said: str, stream: int, seconds: float = PATIENCE) -> str:
    """Return the text of a terminal until it holds `said`, or until its process is gone."""
    shown, until = b"", time.monotonic() + seconds
    with suppress(OSError):  # because Linux raises when the process has closed it
        while time.monotonic() < until and (not said or said.encode() not in shown):
            shown += os.read(stream, 4096)
    return shown.decode()


@dataclass(frozen=True)
class Interrupted:
    """A study that Ctrl-C ended in a terminal.

    Attributes:
        arguments: The words of its command.
        shown: What the terminal showed before Ctrl-C, and after it.
        code: The exit code.
        started: The processes that the command had started.
        results: The results directory.
    """

    arguments: tuple[object, ...]
    shown: tuple[str, str]
    code: int
    started: set[int]
    results: Path


@pytest.fixture(scope="module")
def interrupted(starts_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Interrupted:  # noqa: ARG001
    """Run a study on a local Ray of its own, in a terminal, and press Ctrl-C."""
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "long.yaml").write_text(LONG)
    (hold := folder / "hold").touch()
    arguments = ("run", folder / "long.yaml", "--results", folder)
    with terminal(*arguments, HOLD=str(hold)) as (process, stream):
        before = read_until(" left", stream)
        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        hold.unlink()  # only now, so that no trial ends before
        after = read_until("", stream)
        return Interrupted(arguments, (before, after), process.wait(PATIENCE), started, folder)


def test_ctrl_c_exits_130_and_ends_ray(interrupted: Interrupted) -> None:
    before, after = interrupted.shown
    assert "Ray and the workers are starting" in before
    assert "running, 0 complete" in before
    assert interrupted.code == 130
    assert "Interrupted; " in after
    assert "Traceback" not in after
    assert interrupted.started
    wait_until(lambda: not any(map(alive, interrupted.started)))


def test_interrupted_run_resumes_with_closed_pipe(interrupted: Interrupted, tmp_path: Path) -> None:
    results = Path(shutil.copytree(interrupted.results, tmp_path / "results"))
    before = tuner.load_study(results / "long").trials
    running = list(before.loc[before["state"] == "RUNNING", "number"])
    assert running
    words = ("run", results / "long.yaml", "--results", results, "--set", "resources.concurrent=1")
    done = shell("{} | head -1", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Study long goes on (")
    study = tuner.load_study(results / "long")
    assert list(study.trials["state"]) == ["COMPLETE"] * 2
    assert list(study.trials["attempt"]) == [2 if number in running else 1 for number in range(2)]
    for _, epochs in study.epochs.groupby("number"):
        assert list(epochs["epoch"]) == list(range(1, 11))
    _, run = json.loads((results / "long" / "provenance.json").read_text())["runs"]
    assert run["command"][1:] == ["-m", "tuner", *map(str, words)]
