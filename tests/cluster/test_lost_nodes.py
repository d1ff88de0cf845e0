"""A study on machines with separate networks. One is cut off and another joins."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tuner
from tests.support import namespaces
from tests.support.namespaces import Network, address
from tests.support.nodes import ROOT, RayNode, assert_whole, operators_environment, study_file
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
while len(nodes.nodes()) < 3:
    time.sleep(0.1)
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=PlacedTrial).run()
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
