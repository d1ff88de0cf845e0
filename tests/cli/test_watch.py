"""`watch`: the page and the panel of a study that another process runs."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pexpect
import pytest
from playwright.sync_api import Browser, Page
from rich.console import Console

from tests.support.browser import open_page
from tests.support.environment import clean_environment
from tests.support.serving import serving
from tests.support.studies import START, epoch_rows, trial_row, write_study
from tests.support.waiting import PATIENCE, wait_until
from tuner.cli import report, tables, watch
from tuner.cli.watch import describe_server
from tuner.errors import UserError
from tuner.report import Extras
from tuner.results.folder import StudyFolder, StudyResults

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
    written = study.folder.tables(study.spec)
    for number in range(1, 6):
        for row in epoch_rows(number, [0.5, 0.6]):
            written.append("epochs", row)
        written.append("trials", trial_row(number, 0.6, "PRUNED"))
    written.flush()
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


def test_lines_tell_of_study_until_its_end(
    study: StudyResults, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "out", Console(width=200, highlight=False))
    monkeypatch.setattr(tables, "out", Console(width=200, highlight=False))
    monkeypatch.setattr(watch, "time", SimpleNamespace(sleep=lambda _: complete(study), monotonic=time.monotonic))
    watch.watch_in_terminal(study.folder)
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert "1 complete, 1 running, best val_accuracy 0.7500 (trial 0); interrupted, 1 trials in flight" in first
    assert "1 complete, 5 pruned, best val_accuracy 0.7500" in second
    assert third == "killed  maximize val_accuracy  (1 complete, 5 pruned)"


def test_port_is_refused_beside_terminal(study: StudyResults) -> None:
    with pytest.raises(UserError, match="--port: only without --terminal"):
        watch.watch(str(study.folder), port=8640, terminal=True)


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


@contextmanager
def served_page(browser: Browser, folder: StudyFolder) -> Iterator[Page]:
    """Serve the page of a study, and open it."""
    with (
        serving(watch.make_page(folder)) as served,
        open_page(browser, f"http://localhost:{served.server_port}") as page,
    ):
        yield page


@pytest.mark.slow
def test_page_goes_on_when_study_is_resumed(
    browser: Browser, study: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "gather_extras", lambda _: Extras())  # because importance takes seconds
    with served_page(browser, study.folder) as page:
        page.evaluate("window.mark = 'same'")
        status = page.locator("#status")
        status.filter(has_text="interrupted, 1 trials in flight").wait_for()
        with study.folder.lock():
            status.filter(has_text="; running").or_(status.filter(has_text="no new row")).wait_for()
            complete(study)
            page.locator("#s0_all_trials tr[data-trial='5']").wait_for()
        status.filter(has_text="; finished").wait_for()
        assert page.evaluate("window.mark") == "same"


WATCHED = """
study: watched
dataset: {name: digits, train: 128, validation: 64}
training: {architecture: vazquez_base, batch_size: 64, epochs: 2}
space: {learning_rate: {float: [1e-4, 1e-2], log: true}}
search: {sampler: random, trials: 3}
resources: {concurrent: 1}
stopping: none
"""


@pytest.mark.slow
def test_browser_follows_real_study_over_kill(ray_session: str, browser: Browser, tmp_path: Path) -> None:
    from tests.support.forked import start_driver
    from tests.support.trainables import HeldTrial

    file, folder = tmp_path / "watched.yaml", StudyFolder(tmp_path / "watched")
    file.write_text(WATCHED)
    (hold := tmp_path / "hold").touch()
    driver = start_driver(file, tmp_path, ray_session, HeldTrial)
    wait_until(lambda: folder.provenance())
    with served_page(browser, folder) as page:
        page.evaluate("window.mark = 'same'")
        for number in (0, 1):
            page.locator(f"#s0_board tr[data-trial='{number}']").wait_for()
        driver.kill()
        driver.join()
        status = page.locator("#status")
        status.filter(has_text="interrupted, 1 trials in flight").wait_for()
        hold.unlink()
        driver = start_driver(file, tmp_path, ray_session, HeldTrial)
        page.locator("#s0_board tr[data-trial='2']").wait_for()
        status.filter(has_text="3 complete").filter(has_text="; finished").wait_for()
        assert page.evaluate("window.mark") == "same"
    driver.join()
