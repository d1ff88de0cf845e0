"""The command line, run as its users run it: in processes of its own, with and without a terminal.

Ray is started five times in all.
"""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import tuner
from tuner.reproduction.reported import load_study_file
from tuner.results.folder import StudyFolder
from tuner.results.tables import now

ROOT = Path(__file__).parents[2]
DIGITS = "search_spaces/digits.yaml"
SMALL = ("--set", "search.trials=4", "--set", "space.epochs=2")
LONG = """
study: long
dataset: {name: digits, validation: 0.2}
training: {architecture: vazquez_base, epochs: 30, batch_size: 16}
space: {learning_rate: {float: [1e-3, 1e-2], log: true}}
search: {sampler: random, trials: 2}
stopping: none
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tuner", *map(str, arguments)]


def call(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command outside of a terminal."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TUNER_", "RAY_", "TUNE_"))}
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, cwd=ROOT, env=inherited | environment
    )


def refused(*arguments: object, **environment: str) -> str:
    """The line with which the command refuses: exit code 2, nothing else on either stream."""
    done = call(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def first(results: Path) -> "subprocess.CompletedProcess[str]":
    """The first run of a small study, which the tests below read."""
    return call("run", DIGITS, *SMALL, "--results", results)


def test_a_study_runs_to_its_end_and_says_how_and_how_to_go_on(
    first: "subprocess.CompletedProcess[str]", results: Path
) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[:2] == ["Study digits: 4 trials, sampler tpe", "Ray and the workers are starting …"]
    ended = [line for line in lines if "COMPLETE: val_accuracy" in line or "PRUNED: val_accuracy" in line]
    assert [line[:4] for line in ended] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert f"Tables: {results}/digits" in lines
    again = f"python -m tuner run {DIGITS} --results {results} --set space.epochs=2 --set search.trials=8"
    assert f"  more trials: {again}" in lines


@pytest.mark.usefixtures("first")
def test_a_run_leaves_its_spec_its_tables_and_where_they_come_from(results: Path) -> None:
    study = tuner.load_study(results / "digits")
    assert study.spec.search.trials == len(study.trials) == 4
    (run,) = json.loads((results / "digits" / "provenance.json").read_text())["runs"]
    assert run["command"][1:] == ["-m", "tuner", "run", DIGITS, *SMALL, "--results", str(results)]
    assert run["started_at"] < run["stopped_at"]


@pytest.mark.usefixtures("first")
def test_a_finished_study_is_not_run_again(results: Path) -> None:
    began = time.monotonic()
    done = call("run", DIGITS, *SMALL, "--results", results)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Study digits has all its trials; nothing is left to do\n")
    assert time.monotonic() - began < 10  # Ray and its workers take longer


@pytest.mark.usefixtures("first")
def test_show_prints_the_best_trials_with_whole_numbers_however_narrow_the_terminal(results: Path) -> None:
    best = tuner.load_study(results / "digits").best
    for columns in ("60", "80", "120"):
        done = call("show", "digits", "--results", results, COLUMNS=columns)
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= int(columns)
        assert lines[0].startswith("digits  maximize val_accuracy  (")
        row = next(line for line in lines if line.split()[0] == str(best["number"]))
        assert f"{best['val_accuracy']:.4f}" in row.split()
        assert f"{best['test_accuracy']:.4f}" in row.split()
        assert f"{best['param_learning_rate']:.4g}" in row.replace(",", " ").split()


@pytest.mark.usefixtures("first")
def test_show_takes_the_path_of_a_study_and_as_many_trials_as_asked_for(results: Path) -> None:
    done = call("show", results / "digits", "--top", "1", COLUMNS="120")
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.usefixtures("first")
def test_ls_lists_each_study_with_its_counts_and_its_best(results: Path) -> None:
    study = tuner.load_study(results / "digits")
    done = call("ls", "--results", results, COLUMNS="80")
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("digits"))
    states = list(study.trials["state"])
    counts = [str(states.count(state)) for state in ("COMPLETE", "PRUNED", "FAILED", "RUNNING")]
    assert row[1:6] == [*counts, "4"]
    assert row[6:8] == [f"{study.best.value:.4f}", "val_accuracy"]


@pytest.mark.usefixtures("first")
def test_another_space_under_the_same_name_is_refused_with_what_changed_and_the_two_ways_on(results: Path) -> None:
    changed = ("--set", "space.batch_size=64")
    line = refused("run", DIGITS, *SMALL, *changed, "--results", results)
    assert line.startswith(f"{results}/digits: ")
    for said in ("space.batch_size", "--fresh", "--name"):
        assert said in line


@pytest.mark.usefixtures("first")
def test_a_study_that_another_process_runs_is_refused(results: Path) -> None:
    with StudyFolder(results / "digits").lock():
        line = refused("run", DIGITS, "--set", "search.trials=9", "--set", "space.epochs=2", "--results", results)
    assert f"being run by process {os.getpid()}" in line


@pytest.mark.usefixtures("first")
def test_an_unknown_study_is_refused_with_the_nearest_name(results: Path) -> None:
    assert f"{results}: no study 'digitz'; did you mean 'digits'?" in refused("show", "digitz", "--results", results)


def test_a_results_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path / "no") in refused("ls", "--results", tmp_path / "no")
    assert str(tmp_path / "no") in refused("show", "digits", "--results", tmp_path / "no")


def test_an_empty_results_directory_says_how_to_begin(tmp_path: Path) -> None:
    done = call("ls", "--results", tmp_path)
    assert done.returncode == 0
    assert f"python -m tuner run {DIGITS}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-file.yaml"], "no-such-file.yaml: no such file"),
        ([DIGITS, "--set", "dataset.name=digts"], f"{DIGITS}: dataset.name: found 'digts'; did you mean 'digits'?"),
        ([DIGITS, "--set", "search.trials=many"], f"{DIGITS}: search.trials: found 'many'; allowed: a whole number"),
        ([DIGITS, "--set", "search.trials"], "--set search.trials: write --set PLACE=VALUE"),
        ([DIGITS, "--name", "../up"], f"{DIGITS}: study: found '../up'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_nothing_is_written(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    assert refused("run", *arguments, "--results", tmp_path / "results").startswith(said)
    assert not (tmp_path / "results").exists()


def test_broken_yaml_is_refused_with_line_and_column(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("study: a\nspace: {b: [1,\n")
    assert refused("validate", tmp_path / "broken.yaml").startswith(f"{tmp_path}/broken.yaml:3:1: broken YAML: ")


def test_reproduce_prints_every_row_without_any_tables_and_how_to_run_them_and_writes_nothing(tmp_path: Path) -> None:
    done = call("reproduce", "vazquez", "--results", tmp_path / "none", COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if line.startswith("Exp. ")]
    assert len(rows) == 30
    assert all(row.count("not run") == 2 for row in rows)
    way_on = f"python -m tuner reproduce vazquez --run --results {tmp_path}/none"
    assert done.stdout.splitlines()[-1].endswith(way_on)
    assert not (tmp_path / "none").exists()


def test_reproduce_trains_only_what_is_missing_and_measures_shapes(tmp_path: Path) -> None:
    spec = load_study_file("cesar", seeds=1)
    folder = StudyFolder(tmp_path / "cesar")
    folder.storage.create()
    folder.write_spec(spec)
    tables = folder.tables(spec)
    for number, accuracy in enumerate((0.91, 0.92, 0.93)):
        row = {"number": number, "attempt": 1, "state": "COMPLETE", "purpose": "search", "updated_at": now()}
        point = {"param_architecture": "lenet5_cesar", "param_output_relu": bool(number)} if number < 2 else {}
        tables.append("trials", row | {"test_accuracy": accuracy} | point)
    tables.flush()
    done = call("reproduce", "cesar", "--results", tmp_path, "--run", "--seeds", "1", TUNER_DATA=str(tmp_path / "no"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Study cesar has all its trials; nothing is left to do\n")
    cells = [line.split() for line in done.stdout.splitlines()]
    assert [line[3:] for line in cells if line[:2] == ["layer", "6:"]] == [
        ["84"] * 2 + ["exact"],
        ["84", "82", "differs"],
    ]
    assert next(line for line in cells if line[:2] == ["code,", "ReLU"])[5] == "92.00"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vasquez"], "reproduce: no report 'vasquez'; did you mean 'vazquez'?"),
        (["rubio", "--protocol", "clear"], "--protocol: found 'clear'; did you mean 'clean'?"),
        (["rubio", "--seeds", "3"], "--seeds: only together with --run"),
    ],
)
def test_a_reproduction_that_cannot_be_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    assert refused("reproduce", *arguments).startswith(said)


def test_images_that_are_nowhere_are_refused_with_where_to_put_them_and_what_runs_without(tmp_path: Path) -> None:
    nowhere = {"TUNER_CACHE": str(tmp_path / "cache"), "https_proxy": "http://127.0.0.1:9"}
    images = ("--set", "dataset.name=cifar10", "--data", tmp_path / "data")
    line = refused("run", DIGITS, *images, "--results", tmp_path / "results", **nowhere)
    assert line.startswith("cifar10: ")
    for said in (str(tmp_path / "data"), "train.parquet", "--data", DIGITS):
        assert said in line
    assert not (tmp_path / "results").exists()


def test_images_that_are_truncated_are_refused_by_file(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, head in (("train", 60000), ("t10k", 10000)):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, head, 28, 28) + bytes(1000))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, head) + bytes(head))
    images = ("--set", "dataset.name=mnist", "--data", tmp_path / "data")
    line = refused("run", DIGITS, *images, "--results", tmp_path / "results", TUNER_CACHE=str(tmp_path / "cache"))
    assert "ubyte: truncated" in line
    assert not (tmp_path / "results").exists()


def test_a_results_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refused("run", DIGITS, "--results", tmp_path / "file" / "results")
    assert line == f"results: {tmp_path}/file/results/digits cannot be written: Not a directory"


def test_a_traceback_is_shown_where_it_is_asked_for() -> None:
    done = call("--debug", "run", "no-such-file.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "no-such-file.yaml: no such file"


def test_validate_writes_every_default_out_and_its_output_is_a_study_file(tmp_path: Path) -> None:
    done = call("validate", DIGITS, "--set", "search.trials=5")
    assert (done.returncode, done.stderr) == (0, f"{DIGITS}: valid\n")
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert "retries: 2" in done.stdout
    assert call("validate", tmp_path / "again.yaml").stdout == done.stdout


def test_a_python_without_what_is_needed_is_said_in_one_line() -> None:
    lacking = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('tuner', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", lacking], cwd=ROOT, capture_output=True, text=True)
    said = f"{sys.executable} has no package 'typer'; install this project for it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_version_and_help_answer_at_once() -> None:
    for option, said in (("--version", f"tuner {tuner.__version__}"), ("--help", "validate")):
        began = time.monotonic()
        done = call(option)
        assert time.monotonic() - began < 4  # about half a second where nothing else runs
        assert (done.returncode, said in done.stdout) == (0, True)


def test_a_dry_run_says_what_would_run_and_how_long_and_writes_nothing(tmp_path: Path) -> None:
    done = call("run", DIGITS, "--dry-run", "--results", tmp_path / "results")
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.split(maxsplit=1) for line in done.stdout.rpartition("\n\n")[2].splitlines())
    assert said["trials"] == "30"
    assert said["rungs"] == "(epoch)  2, 6, 18"
    assert int(said["slots"].split()[0]) >= 1
    assert said["images/s"].startswith("vazquez_base ")
    assert said["time"].startswith("about ")
    assert not (tmp_path / "results").exists()


def test_a_study_that_completes_nothing_ends_with_1_and_says_why(tmp_path: Path) -> None:
    hopeless = ("--set", "space.learning_rate=1e20", "--set", "search.trials=2")
    done = call("run", DIGITS, *hopeless, "--results", tmp_path)
    assert (done.returncode, done.stderr) == (1, "No trial was completed.\n")
    assert done.stdout.count("FAILED: training loss is nan in epoch 1") == 4  # two as they ended, two in the summary
    assert "Traceback" not in done.stdout


@contextmanager
def terminal(*arguments: object) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The command in a terminal of 80 columns: its process, and what it writes to."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    process = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(said: str, stream: int, seconds: float = 90) -> str:
    """What a terminal shows until it shows this, or until its process is gone."""
    shown, until = b"", time.monotonic() + seconds
    with suppress(OSError):  # how Linux tells that the other side was closed
        while time.monotonic() < until and (not said or said.encode() not in shown):
            shown += os.read(stream, 4096)
    return shown.decode()


def descendants(process: int) -> set[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, new = set[int](), [process]
    while new:
        children = parents.get(new.pop(), [])
        found |= {*children}
        new += children
    return found


def alive(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_ctrl_c_in_a_terminal_ends_with_130_leaves_nothing_behind_and_the_same_command_goes_on(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    arguments = ("run", tmp_path / "long.yaml", "--results", tmp_path)
    with terminal(*arguments) as (process, stream):
        shown = read_until(" left", stream)
        assert "Ray and the workers are starting" in shown
        assert "running, 0 complete" in shown
        started = descendants(process.pid)
        assert started
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        shown = read_until("", stream)
        assert process.wait(60) == 130
        assert time.monotonic() - began < 20
    assert "Interrupted; " in shown
    assert "Traceback" not in shown
    study = tuner.load_study(tmp_path / "long")
    assert (study.trials["state"] == "RUNNING").any()
    time.sleep(1)
    assert not [child for child in started if alive(child)]

    done = call(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Study long goes on (")
    again = tuner.load_study(tmp_path / "long")
    assert list(again.trials["state"]) == ["COMPLETE"] * 2
    assert len(json.loads((tmp_path / "long" / "provenance.json").read_text())["runs"]) == 2
