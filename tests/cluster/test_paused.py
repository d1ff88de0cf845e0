"""A node is cut off while trials wait that it has trained."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tuner
from tests.support import namespaces
from tests.support.namespaces import Network, address
from tests.support.nodes import ROOT, RayNode, operators_environment, study_file
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
while len(nodes.alive()) < 2:
    time.sleep(0.1)
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=PlacedTrial).run()
"""
PORT, TRIALS, EPOCHS = 6379, 7, 5
HEAD, DOOMED = 1, 2
RULE = "{asha: {type: promote, grace_period: 1, reduction_factor: 2, min_trials: 3}}"
MISSING = namespaces.missing()
pytestmark = pytest.mark.cluster


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_waiting_trials_outlive_their_node(tmp_path: Path) -> None:
    spec, environment = study_file(tmp_path, TRIALS, EPOCHS), operators_environment(tmp_path)
    spec.write_text(spec.read_text().replace("stopping: none", f"stopping: {RULE}"))
    folder, hold = tmp_path / "small", tmp_path / "hold"
    hold.touch()  # because those from 3 on must not begin before the first three wait
    until_both_nodes_train = tmp_path / "hold-0"
    until_both_nodes_train.touch()
    nodes: list[RayNode] = []

    def have_begun_to_wait() -> bool:
        if not any(folder.glob("trials/part-*")):
            return False
        trials = tuner.load_study(folder).trials
        waiting = trials[(trials["state"] == "PAUSED") & (trials["number"] < 3)]
        return len(waiting) == 3 and (trials["number"] >= 3).sum() == 2

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
            node = RayNode(*where, *own, folder=tmp_path, environment=environment, inside=inside)
            nodes.append(node)

        try:
            join(HEAD)
            nodes[0].wait_for_port(address(HEAD), PORT)
            join(DOOMED)
            python = [*network.inside(HEAD), sys.executable, "-c", DRIVER]
            command, pipe = [*python, str(spec), f"{address(HEAD)}:{PORT}"], subprocess.PIPE
            driver = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=pipe, stderr=pipe)
            wait_until((folder / "placed" / address(DOOMED)).exists, driver)
            until_both_nodes_train.unlink()
            wait_until(have_begun_to_wait, driver)
            before = tuner.load_study(folder).trials.set_index("number")
            network.pull_the_cable(DOOMED)
            wait_until(lambda: any(folder.glob("logs/*")), driver)
            hold.unlink()
            _, err = driver.communicate(timeout=PATIENCE)
            assert driver.returncode == 0, err
        finally:
            for node in nodes:
                node.kill()
    study = tuner.load_study(folder)
    assert address(DOOMED) in set(before["device"][:3])
    assert set(study.trials["state"]) == {"COMPLETE", "PRUNED"}
    failed = study.folder.tables(study.spec).history("trials").query("state == 'FAILED'")
    assert set(failed["error_kind"]) == {"environment"}
    assert failed["number"].min() >= 3  # because those that wait have lost nothing
    for number, epochs in study.epochs.groupby("number"):
        run = int(study.trials["epochs_run"][int(str(number))])
        assert list(epochs["epoch"]) == list(range(1, run + 1))
    went_on = study.decisions.query("number < 3 and verdict in ('go', 'promote', 'finish')")
    assert len(went_on)
