"""The start of a local Ray: killed, left behind, and on machines that lack things."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tests.cli.test_main import DIGITS, ROOT, command
from tests.support.processes import alive, descendants
from tests.support.waiting import wait_until
from tuner.cluster import connection
from tuner.errors import RayLostError
from tuner.storage.scratch import sweep_scratch_folders

pytestmark = pytest.mark.cluster
SMALL = ("--set", "search.trials=1", "--set", "space.epochs=2")
HOLDING = """
import sys
from tuner.cluster import connection
connection.start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """Make a folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.parametrize("killed", ["gcs_server", "raylet"])
def test_run_ends_when_ray_dies_at_start(killed: str, short: Path, tmp_path: Path) -> None:
    arguments = ("run", DIGITS, *SMALL, "--results", tmp_path)
    environment = {**os.environ, "RAY_TMPDIR": str(short)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command(*arguments), stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment
    ) as driver:
        started: list[int] = []
        while not started:
            assert driver.poll() is None
            started = [child for child in descendants(driver.pid) if name_of(child) == killed]
        children = descendants(driver.pid)
        os.kill(started[0], signal.SIGKILL)
        _, said = driver.communicate()
    assert driver.returncode == 1
    (line,) = said.splitlines()
    assert line.startswith((f"Ray did not start: its process {killed} ended; ", "Ray was lost: "))
    wait_until(lambda: not any(map(alive, children)))


def test_sweep_removes_rays_files_of_dead_drivers(short: Path) -> None:
    environment = {**os.environ, "RAY_TMPDIR": str(short)}
    (short / "tuner-of-somebody-else").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == b"\n"
        sweep_scratch_folders(short)
        (session,) = short.glob("tuner-*/session_2*")
        driver.kill()
    assert session.exists()

    def is_swept() -> bool:
        sweep_scratch_folders(short)  # again and again, because Ray's agents write a little longer
        return [path.name for path in short.iterdir()] == ["tuner-of-somebody-else"]

    wait_until(is_swept)


def test_start_names_a_folder_it_cannot_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file"))
    with pytest.raises(RayLostError) as caught:
        connection._start_local()
    remedy = "set RAY_TMPDIR to another folder; the study is as it was, and the same command goes on"
    assert str(caught.value) == f"Ray did not start: {tmp_path}/file cannot be written (Not a directory); {remedy}"


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "--user", "--map-user=54321", "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces",
)
def test_run_needs_neither_home_nor_user(short: Path, tmp_path: Path) -> None:
    long = short / ("x" * 100)
    long.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")}
    nobody = ["unshare", "--user", "--map-user=54321"]
    arguments = ("run", DIGITS, *SMALL, "--results", tmp_path)
    done = subprocess.run(
        [*nobody, *command(*arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, "TMPDIR": str(long)},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tuner.load_study(tmp_path / "digits").trials["state"]) == ["COMPLETE"]
