"""Studies submitted to a real Ray head node that asks for a token, through its HTTP address."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import tuner
from tests.support.waiting import PATIENCE, wait_until
from tuner.results.provenance import source

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
STUDY = """
study: {name}
dataset: {{name: digits, validation: 0.2}}
training: {{architecture: "{architecture}", batch_size: 64, epochs: 2, learning_rate: 1e-3}}
space:
  label_smoothing: {{float: [0, 0.2]}}
search: {{sampler: random, trials: 2}}
stopping: none
"""
NETWORK = """
from pathlib import Path
from time import sleep
from torch import nn

class Net(nn.Sequential):
    def __init__(self, in_channels, classes, image_size):
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))


class Hopeless(Net):
    def forward(self, images):
        while Path(__file__).with_name("hold").exists():
            sleep(0.1)
        return super().forward(images) * float("nan")
"""


class Head:
    """A head node, started as operators do, that asks for the token in its home folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        (self.home / ".ray").mkdir(parents=True)
        (self.home / ".ray" / "auth_token").write_text("0123456789abcdef" * 4)
        with ExitStack() as stack:  # all at once, because two might be the same
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(6)]
            gcs, http, client, *agent = (each.getsockname()[1] for each in sockets)
        self.http, self.client = f"http://127.0.0.1:{http}", f"ray://127.0.0.1:{client}"
        options = ["--port", gcs, "--dashboard-port", http, "--ray-client-server-port", client, "--num-cpus", 2]
        options += ["--dashboard-agent-listen-port", agent[0], "--dashboard-agent-grpc-port", agent[1]]
        options += ["--metrics-export-port", agent[2], "--temp-dir", folder / "ray", "--disable-usage-stats"]
        options += ["--min-worker-port", 0, "--max-worker-port", 0]
        command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *options]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen([*map(str, command)], env=self.environment(), stdout=log, stderr=log)
        wait_until(lambda: self._process.poll() is not None or not self.tuner("ls", "--address", self.http).returncode)
        assert self._process.poll() is None, (folder / "log").read_text()

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """Return a user's environment, whose home folder may hold the token."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNER_", "TUNE_"))}
        return {**kept, "HOME": str(home or self.home), "PATH": path, "PYTHONPATH": str(self.home)}

    def tuner(self, *arguments: str, home: Path | None = None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tuner", *arguments]
        environment = self.environment(home)
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        started = Head(Path(folder))
        yield started
        started.stop()


def study_file(folder: Path, name: str, *, architecture: str = "vazquez_base") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(STUDY.format(name=name, architecture=architecture))
    return str(file)


def test_submit_runs_and_resumes_a_study(head: Head, tmp_path: Path) -> None:
    (head.home / "own_network.py").write_text(NETWORK)
    file = study_file(tmp_path, "handed", architecture="own_network:Net")
    where = ["--results", str(tmp_path / "results")]
    done = head.tuner("submit", file, "--address", head.http, *where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trial 0 COMPLETE" in done.stdout
    assert f"python -m tuner submit {file} --results {where[1]} --address {head.http}" in done.stdout
    study = tuner.load_study(tmp_path / "results" / "handed")
    assert list(study.trials["state"]) == ["COMPLETE"] * 2
    (run,) = study.folder.provenance()["runs"]
    assert run["source"] == source(ROOT / "tuner" / "__init__.py")

    done = head.tuner("run", file, "--address", head.client, *where, "--set", "search.trials=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on (2 complete) to 3 trials" in done.stdout
    assert list(tuner.load_study(tmp_path / "results" / "handed").trials["state"]) == ["COMPLETE"] * 3


def test_follow_returns_the_studys_exit_code(head: Head, tmp_path: Path) -> None:
    (head.home / "own_network.py").write_text(NETWORK)
    hold = head.home / "hold"
    hold.touch()  # so that the job is there to be followed
    file = study_file(tmp_path, "hopeless", architecture="own_network:Hopeless")
    where = ["--results", str(tmp_path / "results")]
    handed = head.tuner("submit", file, "--address", head.http, *where, "--no-wait")
    assert handed.returncode == 0, handed.stderr
    job = handed.stdout.strip()
    listed = head.tuner("ls", "--address", head.http).stdout
    assert any(line.split()[:2] == [job, "hopeless"] for line in listed.splitlines())

    follow = ["submit", "--address", head.http, "--follow", job]
    command = [sys.executable, "-m", "tuner", *follow]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=head.environment(), **pipes) as follower:  # type: ignore[call-overload]
        follower.stdout.readline()  # it is connected
        follower.send_signal(signal.SIGINT)
        _, said = follower.communicate(timeout=PATIENCE)
    assert follower.returncode == 130
    assert said.splitlines()[-1] == f"The job goes on; to follow it again: python -m tuner {' '.join(follow)}"

    hold.unlink()
    done = head.tuner(*follow)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "No trial was completed." in done.stdout
    assert list(tuner.load_study(tmp_path / "results" / "hopeless").trials["state"]) == ["FAILED"] * 2


def test_validate_checks_nodes_through_http(head: Head, tmp_path: Path) -> None:
    file, results = study_file(tmp_path, "looked"), tmp_path / "results"
    done = head.tuner("validate", file, "--address", head.http, "--results", str(results))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": 2 CPU; Python " in done.stdout
    assert "2 trials side by side, each with 1 core" in done.stdout
    assert not results.exists()


def test_submit_refuses_relative_paths(head: Head, tmp_path: Path) -> None:
    file, address = study_file(tmp_path, "handed"), ["--address", head.http]
    for option, allowed in (
        ("--results", "an absolute path there, or s3://BUCKET/PREFIX"),
        ("--data", "an absolute path there"),
    ):
        where = {"--results": str(tmp_path), option: "here"}
        done = head.tuner("submit", file, *address, *(word for pair in where.items() for word in pair))
        said = f"{option}: found 'here', which the cluster cannot know; allowed: {allowed}\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_jobs_refuse_missing_token_and_unknown_job(head: Head, tmp_path: Path) -> None:
    done = head.tuner("ls", "--address", head.http, home=tmp_path)
    said = f"--address: {head.http} refuses this client (401): put the cluster's token into ~/.ray/auth_token"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    done = head.tuner("submit", "--address", head.http, "--follow", "nosuch")
    assert done.returncode == 2
    assert f"--follow: no job 'nosuch' at {head.http}; " in done.stderr


def test_jobs_refuse_address_without_cluster(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tuner", "ls", "--address", "http://127.0.0.1:9"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("--address: no Ray cluster at 'http://127.0.0.1:9' (")
    assert done.stderr.count("\n") == 1
