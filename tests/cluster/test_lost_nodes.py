"""Studies whose nodes are lost, one after the other, and replaced."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuner
from tests.support import namespaces
from tests.support.namespaces import Network, address
from tests.support.nodes import (
    ROOT,
    RayNode,
    assert_whole,
    free_port,
    kill_session,
    operators_environment,
    study_file,
)
from tests.support.waiting import PATIENCE, wait_until

DRIVER = """
import sys
import time
from pathlib import Path
from tests.support.trainables import PlacedTrial
from tuner.cluster import connection, nodes
from tuner.config.study import load_spec
from tuner.study.run import StudyRun

spec, address = sys.argv[1:]
connection.start(address)
while len(nodes.alive()) < 3:
    time.sleep(0.1)
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=PlacedTrial).run()
"""
LOCAL_DRIVER = """
import sys
import time
from pathlib import Path
from tests.support import trainables
from tuner.cluster import connection, nodes
from tuner.config.study import load_spec
from tuner.study import retries
from tuner.study.run import StudyRun

spec, address, trainable, count = sys.argv[1:]
retries.BACKOFF_SECONDS = (0.1, 0.1)
connection.start(address)
while len(nodes.alive()) < int(count):
    time.sleep(0.1)
trainable = getattr(trainables, trainable)
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=trainable).run()
"""
PORT, TRIALS, EPOCHS = 6379, 5, 8
HEAD, DOOMED, JOINING = 1, 3, 4
MISSING = namespaces.missing()
pytestmark = pytest.mark.cluster


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_study_survives_a_node_without_network(tmp_path: Path) -> None:
    spec, environment = study_file(tmp_path, TRIALS, EPOCHS), operators_environment(tmp_path)
    placed, hold = tmp_path / "small" / "placed", tmp_path / "hold"
    hold.touch()  # because the others may finish before the new machine is ready
    nodes: list[RayNode] = []

    with (
        tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as short,
        Network() as network,
    ):

        def join(number: int) -> None:
            network.join(number)
            role = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            where = role if number == HEAD else [f"--address={address(HEAD)}:{PORT}"]
            own = [f"--node-ip-address={address(number)}", f"--temp-dir={short}/{number}"]
            inside = network.inside(number)
            nodes.append(RayNode(*where, *own, folder=tmp_path, environment=environment, inside=inside))

        def has_begun(number: int) -> bool:
            return (placed / address(number)).exists()

        try:
            join(HEAD)
            nodes[0].wait_for_port(address(HEAD), PORT)
            join(2)
            join(DOOMED)
            command = [*network.inside(HEAD), sys.executable, "-c", DRIVER, str(spec), f"{address(HEAD)}:{PORT}"]
            pipe = subprocess.PIPE
            driver = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=pipe)
            wait_until(lambda: list((placed / address(DOOMED)).glob("*-3")), driver)
            network.pull_the_cable(DOOMED)
            join(JOINING)
            wait_until(lambda: has_begun(JOINING), driver)
            hold.unlink()
            _, err = driver.communicate(timeout=PATIENCE)
            assert driver.returncode == 0, err
        finally:
            for node in nodes:
                node.kill()
    study = tuner.load_study(tmp_path / "small")
    assert_whole(study, TRIALS, EPOCHS)
    everywhere = [address(number) for number in (HEAD, 2, DOOMED, JOINING)]
    assert sorted(path.name for path in placed.iterdir()) == everywhere
    history = study.folder.tables(study.spec).history("trials")
    (lost,) = history[history["state"] == "FAILED"].itertuples()
    assert (lost.device, lost.attempt) == (address(DOOMED), 1)
    assert study.trials["attempt"].to_dict() == {number: 1 + (number == lost.number) for number in range(TRIALS)}
    log = lost.error.rpartition("log ")[2].rstrip(")")
    assert "missing too many heartbeats" in (tmp_path / "small" / log).read_text()
    again = study.epochs.query(f"number == {lost.number} and attempt == 2")["epoch"]
    assert again.min() > 1  # it resumed from its checkpoint
    assert set(study.trials["device"]) >= {address(HEAD), address(2), address(JOINING)}


class Cluster:
    """A head node without cores and workers with one, all on this machine."""

    def __init__(self, folder: Path, short: Path) -> None:
        self._folder, self._environment = folder, operators_environment(folder)
        self._port, self._short = free_port(), short
        head = ["--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={short}", "--num-cpus=0"]
        self._nodes: list[RayNode] = []
        self._start(head)
        self._nodes[0].wait_for_port("127.0.0.1", self._port)
        wait_until(self._listening)  # because the head would count as the first worker

    def join(self) -> RayNode:
        """Start another worker node, and wait until it listens because two at once take the same names."""
        begun = self._listening()
        node = self._start([f"--address=127.0.0.1:{self._port}"])
        wait_until(lambda: self._listening() > begun)
        return node

    def _listening(self) -> int:
        return len(list(self._short.glob("session_2*/sockets/raylet*")))

    def _start(self, where: list[str]) -> RayNode:
        own = ["--node-ip-address=127.0.0.1", *where]
        self._nodes.append(RayNode(*own, folder=self._folder, environment=self._environment))
        return self._nodes[-1]

    def drive(self, spec: Path, trainable: str, count: int) -> "subprocess.Popen[str]":
        """Start a driver that waits for a number of nodes."""
        command = [sys.executable, "-c", LOCAL_DRIVER, spec, f"127.0.0.1:{self._port}", trainable, count]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*map(str, command)], cwd=ROOT, env=self._environment, text=True, stdout=pipe, stderr=pipe
        )

    def kill(self) -> None:
        """Kill all nodes."""
        for node in self._nodes:
            node.kill()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as short:
        started = Cluster(tmp_path, Path(short))
        yield started
        started.kill()


def test_trial_outlives_three_nodes_in_a_row(cluster: Cluster, tmp_path: Path) -> None:
    spec = study_file(tmp_path, 1, EPOCHS, retries=0)
    node = cluster.join()
    driver = cluster.drive(spec, "PreemptedTrial", 2)
    try:
        for _ in range(3):
            wait_until(lambda lost=node: lost.has_ended(), driver)
            node = cluster.join()
        _, err = driver.communicate(timeout=PATIENCE)
    finally:
        driver.kill()
    assert driver.returncode == 0, err
    study = tuner.load_study(tmp_path / "small")
    assert_whole(study, 1, EPOCHS)
    history = study.folder.tables(study.spec).history("trials")
    lost = history[history["state"] == "FAILED"]
    assert list(lost["attempt"]) == [1, 2, 3]
    assert set(lost["error_kind"]) == {"environment"}
    assert lost["error"].str.startswith("the node was lost").all()
    assert study.trials["attempt"][0] == 4


def test_retry_goes_anywhere_without_another_node(cluster: Cluster, tmp_path: Path) -> None:
    spec, hold = study_file(tmp_path, 2, EPOCHS, retries=1), tmp_path / "hold"
    hold.touch()
    for _ in range(2):
        cluster.join()
    driver = cluster.drive(spec, "HeldNodeTrial", 3)
    try:
        wait_until(lambda: waits_for_another_node(tmp_path / "small"), driver)
        (holder,) = (tmp_path / "small" / "began").glob("1-*")
        kill_session(int(holder.name.partition("-")[2]))  # the only node that trial 0 may take
        hold.unlink()
        _, err = driver.communicate(timeout=PATIENCE)
    finally:
        driver.kill()
    assert driver.returncode == 0, err
    study = tuner.load_study(tmp_path / "small")
    assert_whole(study, 2, EPOCHS)
    assert study.trials["device"].nunique() == 1
    history = study.folder.tables(study.spec).history("trials")
    failed = history[history["state"] == "FAILED"]
    assert dict(zip(failed["number"], failed["error_kind"], strict=True)) == {0: "crash", 1: "environment"}


def waits_for_another_node(folder: Path) -> bool:
    """Return True if the first trial's second attempt is recorded."""
    if not (folder / "crashed").exists():
        return False
    return 2 in set(tuner.load_study(folder).trials["attempt"])
