"""A study whose images, network or settings have changed since its rows: refused in one line, or accepted."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import tuner
from tests.support.environment import clean_environment
from tests.support.forked import call_tuner
from tests.support.image_files import write_folder

CLASSES = ["cat", "dog"]
STUDY = """
study: own
dataset: {name: ./pictures, validation: 0.2}
training: {architecture: "nets:Net", epochs: 1}
space: {learning_rate: {float: [1e-3, 1e-2]}}
search: {sampler: random, trials: 1}
"""
NETS = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, in_channels: int, classes: int, image_size: int, *, width: int = 4) -> None:
        inputs = in_channels * image_size**2
        super().__init__(nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))
"""


def call(folder: Path, *arguments: object, address: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the study of a folder, with the images below `data`."""
    words = ("run", "own.yaml", "--data", "data", *arguments)
    environment = clean_environment() | {"TUNER_CACHE": str(folder.parent / "cache")}
    return call_tuner(*words, folder=folder, environment=environment, address=address)


def refused(folder: Path, *arguments: object) -> str:
    """Return the one line of a refusal, which leaves the study as it was."""
    before = {file: file.read_bytes() for file in (folder / "results").rglob("*") if file.is_file()}
    done = call(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert {file: file.read_bytes() for file in (folder / "results").rglob("*") if file.is_file()} == before
    (line,) = done.stderr.splitlines()
    assert all(way in line for way in ("--name", "--fresh", "--accept-changes"))
    return line


@pytest.fixture(scope="module")
def finished(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of one trial that has ended."""
    folder = tmp_path_factory.mktemp("changed") / "first"
    for part in ("train", "test"):
        write_folder(folder / "data" / "pictures", part, CLASSES, 20, 8, 8)
    (folder / "own.yaml").write_text(STUDY)
    (folder / "nets.py").write_text(NETS)
    done = call(folder, address=ray_session)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the folder, for one test to change."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_run_refuses_images_replaced_in_place(folder: Path) -> None:
    write_folder(folder / "data" / "pictures", "train", CLASSES[::-1], 20, 8, 8)
    assert "(images: " in refused(folder, "--set", "search.trials=2")


def test_run_refuses_another_data_folder(folder: Path) -> None:
    for part in ("train", "test"):
        write_folder(folder / "other" / "pictures", part, CLASSES, 30, 8, 8)
    assert "(images: " in refused(folder, "--set", "search.trials=2", "--data", "other")


def test_run_refuses_an_edited_network(folder: Path) -> None:
    (folder / "nets.py").write_text(NETS.replace("width: int = 4", "width: int = 8"))
    line = refused(folder, "--set", "search.trials=2")
    assert "(code of nets:Net: " in line
    assert "; width of nets:Net: 4 -> 8)" in line


def test_run_refuses_changed_precision_and_threads(folder: Path) -> None:
    line = refused(folder, "--set", "training.precision=bfloat16", "--set", "resources.cpu=2")
    assert "(training.precision: auto -> bfloat16; resources.cpu: 1 -> 2)" in line


def test_run_allows_other_comments_and_formatting(folder: Path) -> None:
    (folder / "nets.py").write_text("# as in the paper\n" + NETS.replace(", *,", ",\n *,"))
    done = call(folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_records_changes_that_are_accepted(ray_session: str, folder: Path) -> None:
    (folder / "nets.py").write_text(NETS.replace("nn.ReLU()", "nn.Tanh()"))
    more = ("--set", "search.trials=2")
    assert call(folder, *more, "--accept-changes", address=ray_session).returncode == 0
    runs = json.loads((folder / "results" / "own" / "provenance.json").read_text())["runs"]
    first, (change,) = [run["accepted_changes"] for run in runs]
    assert first == []
    assert change.startswith("code of nets:Net: ")
    old, new = tuner.load_study(folder / "results" / "own").trials["code"]
    assert change.endswith(f"{old[:12]} -> {new[:12]}")
    assert call(folder, *more).returncode == 0, "the accepted identity is the study's from then on"
