"""A study on a cluster that begins without a worker, grows, and gives idle nodes back."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tests.support.autoscaler import PORT, VERSIONS, growing_cluster, port_is_taken, write_config
from tests.support.nodes import ROOT, assert_whole, operators_environment
from tests.support.waiting import PATIENCE, wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(port_is_taken(), reason=f"port {PORT} is taken, which the fake autoscaler needs"),
]
DRIVER = """
import sys
from pathlib import Path
from tests.support.trainables import GrowingTrial
from tuner.cluster import slots
from tuner.config.study import load_spec
from tuner.search import worker_scheduler
from tuner.study.run import StudyRun

worker_scheduler.IDLE_SECONDS = slots.COUNT_SECONDS = 1.0
spec, address = sys.argv[1:]
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=GrowingTrial).run()
"""
WATCHER = """
import sys, time
from pathlib import Path
from tuner.cluster import connection, nodes
connection.start(sys.argv[1])
while True:
    Path(sys.argv[2]).write_text(" ".join(node.id for node in nodes.alive()))
    time.sleep(0.2)
"""
TRIALS, EPOCHS = 4, 3
ONE_VERSION = pytest.mark.parametrize("growing", ["v1"], indirect=True)


class Growing:
    """A cluster without workers, and the files that tell what happens on it."""

    def __init__(self, folder: Path, short: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.config = short / "types.json"
        self.environment = environment
        self.address = f"127.0.0.1:{PORT}"
        self._seen = folder / "nodes"

    def watch(self) -> "subprocess.Popen[str]":
        """Start a process that writes the living nodes down."""
        return self.start([sys.executable, "-c", WATCHER, self.address, str(self._seen)])

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        """Start a command in the cluster's environment."""
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, text=True, stdout=pipe, stderr=pipe)

    def workers(self) -> int:
        """Count the living nodes without the head. -1: nobody has looked yet."""
        return len(self._seen.read_text().split()) - 1 if self._seen.exists() else -1


@pytest.fixture(params=VERSIONS)
def growing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Growing]:
    environment = operators_environment(tmp_path)
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as short:
        cluster = Growing(tmp_path, Path(short), environment)
        write_config(cluster.config, {"small": 1})
        of_head = environment | VERSIONS[request.param]
        with growing_cluster(Path(short), cluster.config, of_head):
            watcher = cluster.watch()
            try:
                wait_until(lambda: cluster.workers() == 0, watcher)
                yield cluster
            finally:
                watcher.kill()
                watcher.communicate()


def study_file(folder: Path, cores: int = 1) -> Path:
    file = folder / "grown.yaml"
    file.write_text(
        f"""
study: grown
dataset: {{name: digits, validation: 0.2}}
training: {{architecture: vazquez_base, batch_size: 64, epochs: {EPOCHS}}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
search: {{sampler: random, trials: {TRIALS}}}
stopping: none
resources: {{cpu: {cores}}}
repeats: {{top: 1, seeds: 1}}
"""
    )
    return file


def test_study_grows_from_zero_and_gives_nodes_back(growing: Growing) -> None:
    home = growing.folder / "grown"
    hold, rest = growing.folder / "hold-0", growing.folder / "hold-rest"
    hold.touch()
    rest.touch()
    driver = growing.start([sys.executable, "-c", DRIVER, str(study_file(growing.folder)), growing.address])

    def running() -> int:
        return len(list(home.glob("held/*")))

    wait_until(lambda: running() == 1, driver)
    wait_until(lambda: growing.workers() == 1, driver)
    write_config(growing.config, {"small": 1, "further": 2})
    wait_until(lambda: running() == 3, driver)  # the further node has two cores
    wait_until(lambda: growing.workers() == 2, driver)
    rest.unlink()
    wait_until(lambda: growing.workers() == 1, driver)  # the repeats wait for the first trial
    assert hold.exists()
    hold.unlink()
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, err
    assert err.count("waiting until the cluster's autoscaler adds one") == 1
    wait_until(lambda: growing.workers() == 0)
    study = tuner.load_study(home)
    assert study.trials["purpose"].value_counts().to_dict() == {"search": TRIALS, "repeat": 1}
    assert_whole(study, TRIALS + 1, EPOCHS)
    assert set(study.trials["attempt"]) == {1}
    assert study.trials["device"].nunique() >= 2


@ONE_VERSION
def test_run_is_interrupted_while_it_waits(growing: Growing) -> None:
    write_config(growing.config, {})
    command = ["run", str(study_file(growing.folder)), "--results", str(growing.folder)]
    driver = growing.start([sys.executable, "-m", "tuner", *command, "--address", growing.address])
    assert driver.stderr is not None
    lines = iter(driver.stderr.readline, "")
    assert any("waiting until the cluster's autoscaler adds one" in line for line in lines)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, err
    assert "Traceback" not in err


@ONE_VERSION
def test_run_refuses_what_no_type_holds(growing: Growing) -> None:
    write_config(growing.folder / "ray_bootstrap_config.yaml", {"small": 1})  # as Ray's launcher
    command = ["run", str(study_file(growing.folder, 4)), "--results", str(growing.folder)]
    driver = growing.start([sys.executable, "-m", "tuner", *command, "--address", growing.address])
    _, err = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 2
    assert err == "resources.cpu: a trial asks for 4, there are 1 on the largest of 2 nodes\n"
