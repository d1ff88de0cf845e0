"""A trial that fails on a node is tried again on another node."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import tuner
from tests.support.nodes import ROOT, RayNode, free_port, operators_environment, study_file
from tests.support.waiting import PATIENCE

DRIVER = """
import sys
import time
from pathlib import Path
from tests.support.trainables import BrokenNodeTrial
from tuner.cluster import connection, nodes
from tuner.config.study import load_spec
from tuner.study.run import StudyRun

spec, address = sys.argv[1:]
connection.start(address)
while len(nodes.alive()) < 2:
    time.sleep(0.1)
StudyRun(load_spec(spec), Path(spec).parent, address=address, trainable=BrokenNodeTrial).run()
"""
TRIALS = 6
pytestmark = pytest.mark.cluster


def test_crashed_trial_is_retried_on_another_node(tmp_path: Path) -> None:
    spec = study_file(tmp_path, TRIALS, 2, retries=1)
    environment = operators_environment(tmp_path)
    address = f"127.0.0.1:{free_port()}"
    nodes: list[RayNode] = []
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as short:
        common = ["--node-ip-address=127.0.0.1"]
        try:
            head = ["--head", f"--port={address.split(':')[1]}", "--include-dashboard=false", f"--temp-dir={short}/0"]
            nodes.append(RayNode(*head, *common, folder=tmp_path, environment=environment))
            nodes[0].wait_for_port("127.0.0.1", int(address.split(":")[1]))
            nodes.append(RayNode(f"--address={address}", *common, folder=tmp_path, environment=environment))
            command = [sys.executable, "-c", DRIVER, str(spec), address]
            driver = subprocess.run(
                command, cwd=ROOT, env=environment, text=True, capture_output=True, timeout=PATIENCE
            )
            assert driver.returncode == 0, driver.stderr
        finally:
            for node in nodes:
                node.kill()
    study = tuner.load_study(tmp_path / "small")
    assert list(study.trials["state"]) == ["COMPLETE"] * TRIALS
    broken = (tmp_path / "small" / "broken").read_text()
    assert broken not in set(study.trials["device"])
    history = study.folder.tables(study.spec).history("trials")
    assert set(history["error_kind"].dropna()) == {"crash"}
    assert study.trials["attempt"].max() == 2
