"""Files and folders that may not be read or written are named in one line."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.results.test_damaged_folders import SPEC, write_study
from tests.support.environment import clean_environment
from tests.support.image_files import write_folder
from tests.support.permissions import MISSING, bound
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=MISSING or "")]
ROOT = Path(__file__).parents[2]
COMMANDS = """
import contextlib, io, json, os, sys
from tuner.cli import main

def outcome(folder, words):
    os.chdir(folder)
    os.environ["TUNER_CACHE"] = f"{folder}/cache"
    sys.argv, said = ["tuner", *words.split()], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main.main()
        except SystemExit as end:
            return end.code, said.getvalue()

print(json.dumps([outcome(*call) for call in json.loads(sys.argv[1])]))
"""


@dataclass(frozen=True)
class Case:
    """A path that a user lost permission to, and the line that tells it."""

    forbidden: str
    mode: int
    said: str
    words: str = "run study.yaml --results results"


CACHE = "; the cache of images must be writable; set TUNER_CACHE to another folder"
OWN = "; check its permissions"
CASES = {
    "study file": Case("study.yaml", 0o000, "study.yaml: cannot be read: Permission denied"),
    "folder of images": Case("images", 0o000, f"images/train: Permission denied{OWN}"),
    "class": Case("images/train/b", 0o000, f"images/train/b: Permission denied{OWN}"),
    "names of a class": Case("images/train/b", 0o400, f"images/train/b/0.png: Permission denied{OWN}"),
    "image": Case("images/train/b/0.png", 0o000, f"images/train/b/0.png: Permission denied{OWN}"),
    "folder above": Case(
        "above", 0o000, f"above/images: Permission denied{OWN}", "run above.yaml --results results"
    ),
    "folder of data sets": Case(
        "data", 0o000, f"data/mnist: Permission denied{OWN}",
        "run study.yaml --results results --data data --set dataset.name=mnist",
    ),
    "cache": Case("cache", 0o500, f"cache/arrays: Permission denied{CACHE}"),
    "results": Case("results", 0o500, "results: results/study cannot be written: Permission denied"),
    "parent of a study": Case(
        "other", 0o500, "other/demo: cannot be renamed to ", "run demo.yaml --results other --fresh"
    ),
    "study": Case("other/demo", 0o500, "results: other/demo cannot be written: ", "run demo.yaml --results other"),
    "table": Case(
        "other/demo/trials", 0o500, f"other/demo/trials: cannot be written: Permission denied{OWN}",
        "run demo.yaml --results other",
    ),
}  # fmt: skip


def lay_out(base: Path) -> None:
    """Write two studies, images and a study that exists."""
    for folder in ("images", "above/images"):
        write_folder(base / folder, "train", ["a", "b"], 10, 16, 16)
    for name, images in (("study", "images"), ("above", "above/images")):
        (base / f"{name}.yaml").write_text(
            f"study: {name}\ndataset: {{name: ./{images}, validation: 4}}\ntraining: {{architecture: lenet5}}\n"
            "space: {learning_rate: {float: [0.1, 0.2]}}\n"
        )
    (base / "demo.yaml").write_text(SPEC.to_yaml())
    for folder in ("results", "cache", "data"):
        (base / folder).mkdir()
    write_study(base / "other" / "demo")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Run all commands in one process, each in a folder of its own."""
    scratch = tmp_path_factory.mktemp("cases")
    folders = {name: scratch / str(number) for number, name in enumerate(CASES)}
    for name, case in CASES.items():
        lay_out(folders[name])
        (folders[name] / case.forbidden).chmod(case.mode)
    calls = json.dumps([(str(folders[name]), case.words) for name, case in CASES.items()])
    command = bound([sys.executable, "-c", COMMANDS, calls])
    environment = clean_environment() | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    for name, case in CASES.items():
        (folders[name] / case.forbidden).chmod(0o700)  # so that it can be removed
    said = zip(CASES, json.loads(done.stdout), strict=True)
    return {name: (code, line.replace(f"{folders[name]}/", "")) for name, (code, line) in said}


@pytest.mark.parametrize("name", CASES)
def test_forbidden_path_is_named_in_one_line(name: str, outcomes: dict[str, tuple[int, str]]) -> None:
    code, said = outcomes[name]
    assert said.startswith(CASES[name].said)
    assert (code, said.count("\n")) == (2, 1)
