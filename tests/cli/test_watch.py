"""`watch`: the page and the panel of a study that another process runs."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.support.environment import clean_environment
from tests.support.studies import START, epoch_rows, trial_row, write_study
from tests.support.waiting import PATIENCE
from tuner.cli.watch import describe_server
from tuner.results.folder import StudyResults

ROOT = Path(__file__).parents[2]
HALVING = {"search": {"trials": 6}, "stopping": {"asha": {"grace_period": 2}}}


@pytest.fixture
def study(tmp_path: Path) -> StudyResults:
    """A study whose driver was killed: one trial runs and one is complete."""
    rows = [trial_row(0, 0.75, epochs_run=2), trial_row(1, state="RUNNING", epochs_run=None)]
    found = write_study(tmp_path / "killed", HALVING, trials=rows, epochs=epoch_rows(0, [0.5, 0.75]))
    found.folder.write_provenance({"runs": [{"started_at": START.isoformat(), "stopped_at": None}]})
    return found


def complete(study: StudyResults) -> None:
    """Let the study end as a resumed driver ends it."""
    tables = study.folder.tables(study.spec)
    for number in range(1, 6):
        for row in epoch_rows(number, [0.5, 0.6]):
            tables.append("epochs", row)
        tables.append("trials", trial_row(number, 0.6, "PRUNED"))
    tables.flush()
    runs = [{"started_at": START.isoformat(), "stopped_at": START.isoformat(), "halted": None}]
    study.folder.write_provenance({"runs": runs})


def arguments(study: StudyResults, *options: str) -> list[str]:
    return ["-m", "tuner", "watch", "killed", "--results", str(study.folder.storage.root.parent), *options]


@contextmanager
def watched(study: StudyResults, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """Run `watch` without a terminal until the end of the block."""
    command = [sys.executable, *arguments(study, *options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=clean_environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.slow
def test_page_is_served_until_ctrl_c(study: StudyResults) -> None:
    with watched(study) as process:
        found = re.fullmatch(r"killed: http://localhost:(\d+) \(Ctrl-C ends\)\n", line(process))
        assert found is not None
        connection = http.client.HTTPConnection("localhost", int(found[1]), timeout=PATIENCE)
        connection.request("GET", "/data.json")
        answer = connection.getresponse()
        assert b'"killed"' in answer.read()
        assert "1%20complete" in answer.headers["X-Status"]
        assert "interrupted%2C%201%20trials%20in%20flight" in answer.headers["X-Status"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_lines_tell_of_study_until_its_end(study: StudyResults) -> None:
    with watched(study, "--terminal") as process:
        first = line(process)
        assert "1 complete, 1 running, best val_accuracy 0.7500 (trial 0); interrupted, 1 trials in flight" in first
        complete(study)
        assert "1 complete, 5 pruned, best val_accuracy 0.7500" in line(process)
        assert line(process) == "killed  maximize val_accuracy  (1 complete, 5 pruned)\n"
        assert process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_panel_follows_study_and_leaves_leaderboard(study: StudyResults) -> None:
    environment = {**clean_environment(), "TERM": "xterm"}
    child = pexpect.spawn(
        sys.executable, arguments(study, "--terminal"), cwd=str(ROOT), env=environment, encoding="utf-8",
        dimensions=(24, 80), timeout=PATIENCE,
    )  # fmt: skip
    try:
        child.expect("1/6 trials .*interrupted")
        complete(study)
        child.expect("6/6 trials")
        child.expect(r"\(1 complete, 5 pruned\)")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0


def test_forwarding_is_printed_for_remote_shells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert len(describe_server("demo", 8640)) == 1
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.7 22")
    monkeypatch.setenv("LOGNAME", "ada")
    assert describe_server("demo", 8640)[1] == "From your machine: ssh -L 8640:localhost:8640 ada@192.0.2.7"


def test_reading_leaves_folder_as_it_is(study: StudyResults) -> None:
    from tuner.study.following import StudyFollower

    root = study.folder.storage.root
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    StudyFollower(study.folder).poll()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert not os.path.lexists(root / ".lock")
