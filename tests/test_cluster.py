"""A study on a Ray cluster of several nodes, of which one dies and another joins."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

import tuner
from tuner.cluster import SYSTEM_CONFIG
from tuner.folder import StudyResults

ROOT = Path(__file__).parents[1]
DRIVER = """
import sys
from pathlib import Path
from tests import trainables
from tuner.spec import load_spec
from tuner.study import StudyRun
spec, results, address, trainable = sys.argv[1:]
StudyRun(load_spec(spec), results, address=address, trainable=getattr(trainables, trainable)).run()
"""
TRAVELLED = """
import sys
import ray
from tuner import cluster
cluster.start(sys.argv[1], ["vazquez_base", "torchvision:resnet18", "own_network:Net"])

@ray.remote
def files():
    import own_network, tuner.training
    return [own_network.__file__, tuner.training.__file__]

print(*ray.get(files.remote()), sep="\\n")
"""


SYSTEM_CONFIG = {**SYSTEM_CONFIG, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


class Nodes:
    """A head and the nodes of a cluster on this machine, each of one core and with an address of its own."""

    def __init__(self, folder: Path) -> None:
        self._temp_dir = str(folder / "ray")
        (folder / "ray").mkdir()
        self.cluster = Cluster()
        self._by_ip: dict[str, Any] = {}
        self.head = self.join(None).node_ip_address

    def join(self, ip: str | None) -> Any:
        """Add a node of one core."""
        where = {"node_ip_address": ip} if ip else {"include_dashboard": False, "_system_config": SYSTEM_CONFIG}
        node = self.cluster.add_node(num_cpus=1, temp_dir=self._temp_dir, **where)
        self._by_ip[node.node_ip_address] = node
        return node

    def kill(self, ip: str) -> None:
        """End a node's processes without a warning, as a power cut does."""
        self.cluster.remove_node(self._by_ip.pop(ip), allow_graceful=False)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # where Ray writes down the address of the latest cluster
        there = Nodes(Path(folder))
        for ip in ("127.0.0.2", "127.0.0.3"):
            there.join(ip)
        yield there
        there.cluster.shutdown()


def study_file(folder: Path, trials: int, epochs: int, **resources: int) -> Path:
    file = folder / "spread.yaml"
    file.write_text(
        f"""
study: spread
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


def drive(spec: Path, address: str, trainable: str) -> "subprocess.Popen[bytes]":
    arguments = [str(spec), str(spec.parent), address, trainable]
    return subprocess.Popen([sys.executable, "-c", DRIVER, *arguments], cwd=ROOT)


def run_command(spec: Path, address: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tuner", "run", str(spec), "--results", str(spec.parent), "--address", address]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def wait_until(true: Callable[[], Any], driver: "subprocess.Popen[bytes]") -> None:
    """Look again and again, for as long as the driver runs."""
    while not true():
        assert driver.poll() is None
        time.sleep(0.1)


def assert_whole(study: StudyResults, trials: int, epochs: int) -> None:
    """Every trial is complete, and has each of its epochs once."""
    assert list(study.trials["number"]) == list(range(trials))
    assert set(study.trials["state"]) == {"COMPLETE"}
    for number, rows in study.epochs.groupby("number"):
        assert list(rows["epoch"]) == list(range(1, epochs + 1)), number


def test_a_study_runs_on_all_nodes_while_one_dies_and_another_joins(nodes: Nodes, tmp_path: Path) -> None:
    trials, epochs, doomed, joining = 6, 6, "127.0.0.3", "127.0.0.4"
    placed, hold = tmp_path / "spread" / "placed", tmp_path / "hold"
    hold.touch()  # or the others may have done everything before the new node is ready
    driver = drive(study_file(tmp_path, trials, epochs), nodes.cluster.address, "PlacedTrial")
    wait_until(lambda: len(list(placed.glob("*"))) == 3 and list((placed / doomed).glob("*-3")), driver)
    nodes.kill(doomed)
    nodes.join(joining)
    wait_until((placed / joining).exists, driver)
    hold.unlink()
    assert driver.wait(timeout=60) == 0

    study = tuner.load_study(tmp_path / "spread")
    assert_whole(study, trials, epochs)
    assert {path.name for path in placed.iterdir()} == {nodes.head, "127.0.0.2", doomed, joining}
    assert set(study.trials["device"]) >= {nodes.head, "127.0.0.2", joining}
    history = study.folder.tables(study.spec).history("trials")
    (lost,) = history[history["state"] == "FAILED"].itertuples()
    assert (lost.device, lost.attempt) == (doomed, 1)
    assert study.trials["attempt"].to_dict() == {n: 2 if n == lost.number else 1 for n in range(trials)}
    again = study.epochs.query(f"number == {lost.number} and attempt == 2")["epoch"]
    assert again.min() > 1  # it went on from its checkpoint


def test_free_trials_are_neither_lost_nor_doubled_on_several_nodes(nodes: Nodes, tmp_path: Path) -> None:
    driver = drive(study_file(tmp_path, 60, 2), nodes.cluster.address, "FreeTrial")
    assert driver.wait(timeout=60) == 0
    study = tuner.load_study(tmp_path / "spread")
    assert_whole(study, 60, 2)
    assert set(study.trials["attempt"]) == {1}
    assert len(list((tmp_path / "spread" / "starts").iterdir())) >= 3  # a worker on each node


def test_the_command_says_at_once_that_a_trial_fits_on_no_node(nodes: Nodes, tmp_path: Path) -> None:
    done = run_command(study_file(tmp_path, 1, 1, cpu=2), nodes.cluster.address)
    assert done.returncode == 2
    assert done.stderr == "resources.cpu: a trial asks for 2, there are 1 on the largest of 3 nodes\n"
    assert not (tmp_path / "spread").exists()


def test_nodes_get_this_package_and_the_modules_of_the_users_own_networks(nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "own_network.py").write_text("class Net: ...")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}  # of the driver alone
    command = [sys.executable, "-c", TRAVELLED, nodes.cluster.address]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    own, ours = done.stdout.splitlines()
    assert Path(own).parent != tmp_path
    assert Path(ours).parents[1] != ROOT


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", r"no Ray cluster at '127.0.0.1:9' \(Connection refused\); allowed: auto or HOST:PORT of a"),
        ("ray://somewhere:10001", r"'ray://somewhere:10001'; allowed: auto or .* on one of its machines"),
        ("somewhere", "'somewhere'; allowed: auto or HOST:PORT of a running cluster"),
    ],
)
def test_an_address_without_a_cluster_is_refused_in_one_line(address: str, said: str) -> None:
    code = f"from tuner import cluster; cluster.start({address!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert re.search(f"UserError: --address: {said}", done.stderr.splitlines()[-1])
