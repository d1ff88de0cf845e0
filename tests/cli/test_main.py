"""The command line as its users run it: in a process, with and without a terminal."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import tuner
from tests.support.environment import clean_environment
from tests.support.forked import call_tuner
from tuner.reproduction.reported import load_study_file
from tuner.results.folder import StudyFolder
from tuner.results.tables import now

ROOT = Path(__file__).parents[2]
DIGITS = "search_spaces/digits.yaml"
SMALL = ("--set", "search.trials=4", "--set", "space.epochs=2", "--set", "resources.concurrent=1")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tuner", *map(str, arguments)]


def call(*arguments: object, address: str | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run the command outside of a terminal.

    With an address it uses that local Ray.
    """
    return call_tuner(*arguments, environment=clean_environment() | environment, address=address)


def refused(*arguments: object, **environment: str) -> str:
    """Return the one line of a refusal, which exits with 2 and prints nothing else."""
    done = call(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def first(ray_session: str, results: Path) -> "subprocess.CompletedProcess[str]":
    """Run a small study for the tests below."""
    return call("run", DIGITS, *SMALL, "--results", results, address=ray_session)


def test_run_prints_trials_and_next_steps(first: "subprocess.CompletedProcess[str]", results: Path) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    lines = first.stdout.splitlines()
    assert lines[:2] == ["Study digits: 4 trials, sampler mixed", "Ray and the workers are starting …"]
    ended = [line for line in lines if "COMPLETE: val_accuracy" in line or "PRUNED: val_accuracy" in line]
    assert [line[:4] for line in ended] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert f"Tables: {results}/digits" in lines
    more = "--set space.epochs=2 --set resources.concurrent=1 --set search.trials=8"
    assert f"  more trials: python -m tuner run {DIGITS} --results {results} {more}" in lines


@pytest.mark.usefixtures("first")
def test_run_writes_spec_tables_and_provenance(results: Path) -> None:
    study = tuner.load_study(results / "digits")
    assert study.spec.search.trials == len(study.trials) == 4
    (run,) = json.loads((results / "digits" / "provenance.json").read_text())["runs"]
    assert run["started_at"] < run["stopped_at"]


@pytest.mark.usefixtures("first")
def test_run_leaves_finished_study_alone(results: Path) -> None:
    done = call("run", DIGITS, *SMALL, "--results", results)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Study digits has all its trials; nothing is left to do\n")
    assert "Ray and the workers are starting" not in done.stdout


@pytest.mark.usefixtures("first")
def test_show_keeps_numbers_whole_in_narrow_terminal(results: Path) -> None:
    best = tuner.load_study(results / "digits").best
    for columns in ("20", "40", "60", "80", "120"):
        done = call("show", "digits", "--results", results, COLUMNS=columns)
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= max(60, int(columns))
        assert " ".join(done.stdout.split()).startswith("digits maximize val_accuracy (")
        row = next(line for line in lines if line.split()[0] == str(best["number"]))
        assert f"{best['val_accuracy']:.4f}" in row.split()
        assert f"{best['test_accuracy']:.4f}" in row.split()
        assert f"{best['param_learning_rate']:.4g}" in done.stdout.replace(",", " ").split()


@pytest.mark.usefixtures("first")
def test_show_takes_path_and_top(results: Path) -> None:
    done = call("show", results / "digits", "--top", "1", COLUMNS="120")
    board, _, ledger = done.stdout.partition("\n\n")
    assert len(board.splitlines()) == 3
    assert ledger.startswith("Time of the slots: ")


@pytest.mark.usefixtures("first")
def test_ls_lists_counts_and_best(results: Path) -> None:
    study = tuner.load_study(results / "digits")
    states = list(study.trials["state"])
    counts = [str(states.count(state)) for state in ("COMPLETE", "PRUNED", "FAILED", "RUNNING")]
    for columns in ("20", "40", "80"):
        done = call("ls", "--results", results, COLUMNS=columns)
        row = next(line.split() for line in done.stdout.splitlines() if line.startswith("digits"))
        assert row[1:6] == [*counts, "4"]
        assert row[6] == f"{study.best.value:.4f}"
    assert row[7] == "val_accuracy"


@pytest.mark.usefixtures("first")
def test_run_refuses_another_space_with_same_name(results: Path) -> None:
    changed = ("--set", "space.batch_size=64")
    line = refused("run", DIGITS, *SMALL, *changed, "--results", results)
    assert line.startswith(f"{results}/digits: ")
    for said in ("space.batch_size", "--fresh", "--name"):
        assert said in line


@pytest.mark.usefixtures("first")
def test_run_refuses_study_in_use(results: Path) -> None:
    with StudyFolder(results / "digits").lock():
        line = refused("run", DIGITS, "--set", "search.trials=9", "--set", "space.epochs=2", "--results", results)
    assert f"being run by process {os.getpid()}" in line


@pytest.mark.slow
def test_run_refuses_study_in_use_before_images(tmp_path: Path) -> None:
    nowhere = {"TUNER_DATA": str(tmp_path / "no"), "TUNER_CACHE": str(tmp_path / "cache")}
    with StudyFolder(tmp_path / "mnist").lock():
        line = refused("run", "search_spaces/mnist.yaml", "--results", tmp_path, **nowhere)
    assert f"being run by process {os.getpid()}" in line


@pytest.mark.usefixtures("first")
def test_show_suggests_nearest_name(results: Path) -> None:
    assert f"{results}: no study 'digitz'; did you mean 'digits'?" in refused("show", "digitz", "--results", results)


@pytest.mark.slow
def test_ls_and_show_refuse_missing_results(tmp_path: Path) -> None:
    assert str(tmp_path / "no") in refused("ls", "--results", tmp_path / "no")
    assert str(tmp_path / "no") in refused("show", "digits", "--results", tmp_path / "no")


def test_ls_of_empty_results_shows_run_command(tmp_path: Path) -> None:
    done = call("ls", "--results", tmp_path)
    assert done.returncode == 0
    assert f"python -m tuner run {DIGITS}" in done.stdout


@pytest.mark.slow
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
def test_run_refuses_mistake_in_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert refused("run", *arguments, "--results", tmp_path / "results").startswith(said)
    assert not (tmp_path / "results").exists()


def test_validate_refuses_broken_yaml_with_position(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("study: a\nspace: {b: [1,\n")
    assert refused("validate", tmp_path / "broken.yaml").startswith(f"{tmp_path}/broken.yaml:3:1: broken YAML: ")


def test_reproduce_without_tables_prints_every_row(tmp_path: Path) -> None:
    done = call("reproduce", "vazquez", "--results", tmp_path / "none", COLUMNS="60")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if line.startswith("Exp. ")]
    assert len(rows) == 30
    assert all(row.count("not run") == 2 for row in rows)
    way_on = f"python -m tuner reproduce vazquez --run --results {tmp_path}/none"
    assert done.stdout.splitlines()[-1].endswith(way_on)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_reproduce_trains_only_missing_trials(tmp_path: Path) -> None:
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
@pytest.mark.slow
def test_reproduce_refuses_unknown_names(arguments: list[str], said: str) -> None:
    assert refused("reproduce", *arguments).startswith(said)


@pytest.mark.slow
def test_run_refuses_missing_images_with_remedy(tmp_path: Path) -> None:
    nowhere = {"TUNER_CACHE": str(tmp_path / "cache"), "https_proxy": "http://127.0.0.1:9"}
    images = ("--set", "dataset.name=cifar10", "--data", tmp_path / "data")
    line = refused("run", DIGITS, *images, "--results", tmp_path / "results", **nowhere)
    assert line.startswith("cifar10: ")
    for said in (str(tmp_path / "data"), "train.parquet", "--data", DIGITS):
        assert said in line
    assert not (tmp_path / "results").exists()


def test_run_refuses_truncated_images(tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, head in (("train", 60000), ("t10k", 10000)):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, head, 28, 28) + bytes(1000))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, head) + bytes(head))
    images = ("--set", "dataset.name=mnist", "--data", tmp_path / "data")
    line = refused("run", DIGITS, *images, "--results", tmp_path / "results", TUNER_CACHE=str(tmp_path / "cache"))
    assert "ubyte: truncated" in line
    assert not (tmp_path / "results").exists()


def test_run_refuses_unwritable_results(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refused("run", DIGITS, "--results", tmp_path / "file" / "results")
    assert line == f"results: {tmp_path}/file/results/digits cannot be written: Not a directory"


def test_debug_shows_traceback() -> None:
    done = call("--debug", "run", "no-such-file.yaml")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1] == "no-such-file.yaml: no such file"


@pytest.mark.slow
def test_validate_prints_a_study_file(tmp_path: Path) -> None:
    done = call("validate", DIGITS, "--set", "search.trials=5")
    assert (done.returncode, done.stderr) == (0, f"{DIGITS}: valid\n")
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert "retries: 2" in done.stdout
    assert call("validate", tmp_path / "again.yaml").stdout == done.stdout


def test_python_without_packages_prints_one_line() -> None:
    lacking = "import runpy, sys; sys.modules['typer'] = None; runpy.run_module('tuner', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", lacking], cwd=ROOT, capture_output=True, text=True)
    said = f"{sys.executable} has no package 'typer'; install this project for it\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_version_and_help_answer() -> None:
    for option, said in (("--version", f"tuner {tuner.__version__}"), ("--help", "validate")):
        done = call(option)
        assert (done.returncode, said in done.stdout) == (0, True)


def test_dry_run_prints_plan_and_writes_nothing(ray_session: str, tmp_path: Path) -> None:
    done = call("run", DIGITS, "--dry-run", "--results", tmp_path / "results", address=ray_session)
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.split(maxsplit=1) for line in done.stdout.rpartition("\n\n")[2].splitlines())
    assert said["trials"] == "30"
    assert said["rungs"] == "(epoch)  2, 6, 18"
    assert int(said["slots"].split()[0]) >= 1
    assert said["images/s"].startswith("vazquez_base ")
    assert said["sampler"].startswith("mixed: the defaults, ")
    assert said["stopping"].startswith("asha: ")
    assert said["time"].startswith("about ")
    assert not (tmp_path / "results").exists()


def test_run_exits_1_when_no_trial_completes(ray_session: str, tmp_path: Path) -> None:
    hopeless = ("--set", "space.learning_rate=1e20", "--set", "search.trials=2", "--set", "resources.concurrent=1")
    done = call("run", DIGITS, *hopeless, "--results", tmp_path, address=ray_session)
    assert (done.returncode, done.stderr) == (1, "No trial was completed.\n")
    assert done.stdout.count("FAILED: training loss is nan in epoch 1") == 4  # two as they ended, two in the summary
    assert "Traceback" not in done.stdout
