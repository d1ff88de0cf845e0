"""A study on a Ray cluster of several nodes. One dies and another joins."""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

import tuner
from tests.support.nodes import ROOT, RayNode, assert_whole
from tests.support.waiting import PATIENCE, wait_until
from tuner.cluster.connection import SYSTEM_CONFIG

pytestmark = pytest.mark.cluster
DRIVER = """
import sys
from pathlib import Path
from tests.support import trainables
from tuner.config.study import load_spec
from tuner.study.run import StudyRun
folder, address = sys.argv[1:]
for study, trainable in ("free", trainables.FreeTrial), ("real", trainables.PlacedTrial):
    StudyRun(load_spec(Path(folder, f"{study}.yaml")), folder, address=address, trainable=trainable).run()
"""
TRAVELLED = """
import sys
import ray
from tuner.cluster import connection, nodes
connection.start(sys.argv[1], ["vazquez_base", "torchvision:resnet18", "own_network:Net"])

@ray.remote
def files():
    import own_network, tuner.config.study
    return [own_network.__file__, tuner.config.study.__file__]

print(*ray.get(files.remote()), sep="\\n")
"""


WAITING = """
import sys, time
from tuner.cluster import connection, nodes
connection.start(sys.argv[1])
while sys.argv[2] not in [node.address for node in nodes.alive()]:
    time.sleep(0.2)
"""

REFUSED = """
import sys
from tuner import errors
from tuner.cluster import connection
for address in sys.argv[1:]:
    try:
        connection.start(address)
    except errors.UserError as error:
        print(error)
"""
SYSTEM_CONFIG = {**SYSTEM_CONFIG, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


class Nodes:
    """A cluster on this machine. Each node has one core and its own address."""

    def __init__(self, folder: Path) -> None:
        self._temp_dir = str(folder / "ray")
        (folder / "ray").mkdir()
        self.cluster = Cluster()
        self._by_ip: dict[str, Any] = {}
        self.head = self.join(None).node_ip_address

    def join(self, ip: str | None, cpus: int = 1, gpus: int = 0) -> Any:
        """Add a node, by default of one core."""
        where = {"node_ip_address": ip} if ip else {"include_dashboard": False, "_system_config": SYSTEM_CONFIG}
        node = self.cluster.add_node(num_cpus=cpus, num_gpus=gpus, temp_dir=self._temp_dir, **where)
        self._by_ip[node.node_ip_address] = node
        return node

    @property
    def addresses(self) -> list[str]:
        """Addresses of the living nodes."""
        return list(self._by_ip)

    def wait_for(self, ip: str) -> None:
        """Wait until a node that was not started here has joined."""
        command = [sys.executable, "-c", WAITING, self.cluster.address, ip]
        subprocess.run(command, cwd=ROOT, check=True, timeout=PATIENCE, capture_output=True)

    def kill(self, ip: str) -> None:
        """End a node's processes without a warning, as a power cut does."""
        self.cluster.remove_node(self._by_ip.pop(ip), allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # because Ray keeps the latest address there
        started = Nodes(Path(folder))
        for ip in ("127.0.0.2", "127.0.0.3"):
            started.join(ip)
        yield started
        started.cluster.shutdown()


def study_file(folder: Path, name: str, trials: int, epochs: int, **resources: int) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(
        f"""
study: {name}
dataset: {{name: digits, validation: 0.2}}
training: {{architecture: vazquez_base, batch_size: 64, epochs: {epochs}}}
space:
  learning_rate: {{float: [1e-4, 1e-2], log: true}}
search: {{sampler: random, trials: {trials}}}
stopping: none
resources: {resources or {"cpu": 1}}
"""
    )
    return file


def run_command(spec: Path, address: str, verb: str = "run") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tuner", verb, str(spec), "--results", str(spec.parent), "--address", address]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)


DOOMED, JOINING = "127.0.0.3", "127.0.0.4"


@pytest.fixture(scope="module")
def results(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a study of free trials, and a real one while a node dies and another joins."""
    folder = tmp_path_factory.mktemp("results")
    study_file(folder, "free", 60, 2)
    study_file(folder, "real", 6, 6)
    placed, hold = folder / "real" / "placed", folder / "hold"
    hold.touch()  # because the others may finish before the new node is ready
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), nodes.cluster.address], cwd=ROOT)
    wait_until(lambda: len(list(placed.glob("*"))) == 3 and list((placed / DOOMED).glob("*-3")), driver)
    nodes.kill(DOOMED)
    nodes.join(JOINING)
    wait_until((placed / JOINING).exists, driver)
    hold.unlink()
    assert driver.wait(timeout=PATIENCE) == 0
    return folder


def test_study_on_nodes_runs_each_trial_once(results: Path) -> None:
    study = tuner.load_study(results / "free")
    assert_whole(study, 60, 2)
    assert set(study.trials["attempt"]) == {1}


def test_study_survives_node_death_and_uses_newcomer(nodes: Nodes, results: Path) -> None:
    study = tuner.load_study(results / "real")
    assert_whole(study, 6, 6)
    placed = {path.name for path in (results / "real" / "placed").iterdir()}
    assert placed == {nodes.head, "127.0.0.2", DOOMED, JOINING}
    assert set(study.trials["device"]) >= {nodes.head, "127.0.0.2", JOINING}
    history = study.folder.tables(study.spec).history("trials")
    (lost,) = history[history["state"] == "FAILED"].itertuples()
    assert (lost.device, lost.attempt) == (DOOMED, 1)
    assert study.trials["attempt"].to_dict() == {number: 2 if number == lost.number else 1 for number in range(6)}
    again = study.epochs.query(f"number == {lost.number} and attempt == 2")["epoch"]
    assert again.min() > 1  # it resumed from its checkpoint


def test_run_refuses_trial_larger_than_nodes(nodes: Nodes, tmp_path: Path) -> None:
    done = run_command(study_file(tmp_path, "large", 1, 1, cpu=2), nodes.cluster.address)
    assert done.returncode == 2
    assert done.stderr == "resources.cpu: a trial asks for 2, there are 1 on the largest of 3 nodes\n"
    assert not (tmp_path / "large").exists()


def test_run_refuses_trial_split_across_nodes(nodes: Nodes, tmp_path: Path) -> None:
    nodes.join("127.0.0.5", cpus=0, gpus=1)
    try:
        done = run_command(study_file(tmp_path, "large", 1, 1, cpu=1, gpu=1), nodes.cluster.address)
    finally:
        nodes.kill("127.0.0.5")
    assert done.returncode == 2
    assert done.stderr == "resources: a trial asks for 1 CPU and 1 GPU, and none of 4 nodes has both\n"


def test_validate_checks_every_node(nodes: Nodes, tmp_path: Path) -> None:
    done = run_command(study_file(tmp_path, "looked", 1, 1), nodes.cluster.address, "validate")
    assert done.returncode == 0, done.stderr
    looked = [line for line in done.stdout.splitlines() if line.startswith("node ")]
    assert {line.partition("(")[2].partition(")")[0] for line in looked} == {*nodes.addresses}
    assert all(f": 1 CPU; Python {platform.python_version()}, tuner {tuner.__version__}" in line for line in looked)
    assert f"{len(looked)} trials side by side, each with 1 core" in done.stdout
    assert [file.name for file in tmp_path.iterdir()] == ["looked.yaml"]


def test_run_refuses_gpu_unseen_by_torch(nodes: Nodes, tmp_path: Path) -> None:
    spec = study_file(tmp_path, "blind", 1, 1)
    nodes.join("127.0.0.6", cpus=1, gpus=1)
    try:
        done = run_command(spec, nodes.cluster.address)
    finally:
        nodes.kill("127.0.0.6")
    said = "(127.0.0.6): Ray counts a GPU here, but torch sees none; is this torch built for its driver?\n"
    assert done.returncode == 2
    assert done.stderr.startswith("node ")
    assert done.stderr.endswith(said)
    assert [file.name for file in tmp_path.iterdir()] == ["blind.yaml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a node a disk of its own")
def test_run_refuses_results_not_shared(nodes: Nodes, tmp_path: Path) -> None:
    own_disk = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path} && exec "$@"', "sh"]
    where = ["--address", nodes.cluster.address, "--node-ip-address", "127.0.0.7"]
    spec = study_file(tmp_path, "apart", 1, 1)
    apart = RayNode(*where, folder=tmp_path, environment={**os.environ}, inside=own_disk)
    try:
        nodes.wait_for("127.0.0.7")
        done = run_command(spec, nodes.cluster.address)
    finally:
        apart.kill()
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    remedy = "--results: a folder that all nodes see, or s3://BUCKET/PREFIX"
    assert line.startswith("node ")
    assert line.endswith(f"(127.0.0.7): does not share {tmp_path / 'apart'} with this machine; {remedy}")
    assert not (tmp_path / "apart").exists()


def test_start_ships_package_and_user_modules(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "own_network.py").write_text("class Net: ...")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}  # of the driver alone
    command = [sys.executable, "-c", TRAVELLED, nodes.cluster.address]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    of_user, of_package = done.stdout.splitlines()
    assert Path(of_user).parent != tmp_path
    assert Path(of_package).parents[1] != ROOT


def test_start_refuses_address_without_cluster() -> None:
    addresses = ["127.0.0.1:9", "ray://somewhere:10001", "somewhere"]
    done = subprocess.run([sys.executable, "-c", REFUSED, *addresses], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == [
        "--address: no Ray cluster at '127.0.0.1:9' (Connection refused);"
        " allowed: auto or HOST:PORT of a running cluster",
        "--address: 'ray://somewhere:10001'; allowed: auto or HOST:PORT of a running cluster, on one of its machines",
        "--address: 'somewhere'; allowed: auto or HOST:PORT of a running cluster",
    ]
