"""A study whose Ray is killed ends in one line, and resumes."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tests.support.nodes import (
    ROOT,
    RayNode,
    assert_whole,
    free_port,
    held_study_file,
    operators_environment,
)
from tests.support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.cluster
EPOCHS = 10
LOST = "Ray was lost: its processes were killed"
IMPATIENT = "from tuner.cli import main as cli; from tuner.cluster import health; health.LOST_SECONDS = 1.0; cli.main()"


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def start(arguments: list[str], environment: dict[str, str]) -> "subprocess.Popen[str]":
    """Start Python with these arguments, in a process group of its own."""
    command, pipe = [sys.executable, *arguments], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=pipe, process_group=0)


def epochs_are_written(folder: Path) -> bool:
    return any(folder.glob("small/epochs/part-*"))


def test_study_resumes_with_the_next_head(short: Path, tmp_path: Path) -> None:
    environment = operators_environment(tmp_path)
    spec, hold = held_study_file(tmp_path, environment, 2, EPOCHS)
    port = free_port()
    command = ["-m", "tuner", "run", str(spec), "--results", str(tmp_path), "--address", f"127.0.0.1:{port}"]
    where = ["--head", "--port", str(port), "--node-ip-address", "127.0.0.1", "--include-dashboard", "false"]

    def head() -> RayNode:
        return RayNode(*where, "--temp-dir", str(short / "r"), folder=tmp_path, environment=environment)

    node = head()
    try:
        node.wait_for_port("127.0.0.1", port)
        driver = start(command, environment)
        wait_until(lambda: epochs_are_written(tmp_path), driver)
        node.kill()
        out, err = driver.communicate(timeout=PATIENCE)
        assert (driver.returncode, err.count("\n")) == (1, 1), err
        assert err.startswith(LOST)
        assert "the same command goes on once Ray is back" in err
        before = tuner.load_study(tmp_path / "small")
        assert "RUNNING" in set(before.trials["state"])
        hold.unlink()
        node = head()
        node.wait_for_port("127.0.0.1", port)
        driver = start(command, environment)
        out, err = driver.communicate(timeout=PATIENCE)
        assert (driver.returncode, err) == (0, ""), out
    finally:
        node.kill()

    study = tuner.load_study(tmp_path / "small")
    assert_whole(study, 2, EPOCHS)
    history = study.folder.tables(study.spec).history("trials")
    assert not (history["state"] == "FAILED").any()  # to lose Ray is no failure of a trial
    in_flight = set(before.trials.query("state == 'RUNNING'")["number"])
    assert study.trials["attempt"].to_dict() == {number: 2 if number in in_flight else 1 for number in range(2)}
    assert len(study.folder.provenance()["runs"]) == 2


@pytest.mark.parametrize("killed", ["raylet", "gcs_server"])
def test_study_resumes_after_its_ray_was_killed(killed: str, short: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_TMPDIR": str(short)}
    spec, hold = held_study_file(tmp_path, environment, 2, EPOCHS)
    command = ["-c", IMPATIENT, "run", str(spec), "--results", str(tmp_path)]
    driver = start(command, environment)
    wait_until(lambda: epochs_are_written(tmp_path), driver)
    children = subprocess.run(["ps", "--ppid", str(driver.pid), "-o", "pid=,comm="], capture_output=True, text=True)
    (pid,) = [line.split()[0] for line in children.stdout.splitlines() if line.split()[1] == killed]
    os.kill(int(pid), signal.SIGKILL)
    out, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, out
    assert err.splitlines()[-1] == f"{LOST}; what was finished is kept, and the same command goes on"
    hold.unlink()
    driver = start(command, environment)
    out, err = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, err) == (0, ""), out
    assert_whole(tuner.load_study(tmp_path / "small"), 2, EPOCHS)


def test_signal_to_all_processes_ends_with_130(short: Path, tmp_path: Path) -> None:
    """As a terminal, a container or a batch system ends a command."""
    environment = {**os.environ, "RAY_TMPDIR": str(short)}
    spec, hold = held_study_file(tmp_path, environment, 2, EPOCHS)
    command = ["-m", "tuner", "run", str(spec), "--results", str(tmp_path)]
    driver = start(command, environment)
    wait_until(lambda: epochs_are_written(tmp_path), driver)
    os.killpg(driver.pid, signal.SIGTERM)
    out, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, (out, err)
    assert "Ray was lost" not in err
    assert "Traceback" not in err
    study = tuner.load_study(tmp_path / "small")
    assert not (study.folder.tables(study.spec).history("trials")["state"] == "FAILED").any()
    hold.unlink()
    driver = start(command, environment)
    out, err = driver.communicate(timeout=PATIENCE)
    assert (driver.returncode, err) == (0, ""), out
    assert_whole(tuner.load_study(tmp_path / "small"), 2, EPOCHS)
