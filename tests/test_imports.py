"""Imports go one way, and what answers at once imports nothing heavy."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE
from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder
from tuner.results.tables import now

PACKAGE = Path(__file__).parents[1] / "tuner"
ORDER = [
    "errors",
    "storage",
    "config",
    "results",
    "analysis",
    "plots",
    "report",
    "data",
    "models",
    "training",
    "search",
    "cluster",
    "study",
    "reproduction",
    "cli",
]
"""The rooms. Each imports only from those before it."""
HEAVY = ("ray", "torch", "torchvision", "optuna", "sklearn", "scipy.stats", "mlflow")
WATCHED = """
import json, sys
try:
    exec(sys.argv.pop(1))
finally:
    print(json.dumps(list(sys.modules)), file=sys.stderr)
"""
ONE_AFTER_ANOTHER = """
import contextlib, io
from tuner.cli import main
ended = []
for sys.argv[1:] in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            main.main()
        except SystemExit as exit:
            ended.append((exit.code or 0, out.getvalue()))
        else:
            ended.append((0, out.getvalue()))
print(json.dumps(ended))
"""
NO_TORCH = ORDER[: ORDER.index("report") + 1]
NO_RAY = ORDER[: ORDER.index("training") + 1]
LIGHT = ("training", "cluster", "study")
"""Rooms whose `__init__` imports nothing heavy, because commands that answer at once pass by it."""


def room_of(file: Path) -> str:
    """The room of a file: `tuner/data/cache.py` is of `data`."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def sources(room: str = "") -> Iterator[Path]:
    return (file for file in sorted(PACKAGE.rglob("*.py")) if not room or room_of(file) == room)


@lru_cache
def imported(file: Path) -> frozenset[str]:
    """Every module that a file imports by its full name, wherever the import stands in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return frozenset(names)


def rooms(file: Path) -> set[str]:
    """Modules and packages of ours that a file imports, its own package left out."""
    ours = [name.split(".") for name in imported(file) if name.startswith("tuner.")]
    return {parts[1] for parts in ours if not parts[1].startswith("__version")} - {room_of(file)}


def heavy_after(code: str, *arguments: str) -> tuple[set[str], "subprocess.CompletedProcess[str]"]:
    """Heavy packages that a new process has imported after some code, and how the process ended."""
    command = [sys.executable, "-c", WATCHED, code, *arguments]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=PATIENCE)
    return {*json.loads(done.stderr.splitlines()[-1])} & {*HEAVY}, done


def test_rooms_are_fifteen_and_hold_every_module() -> None:
    assert len({*ORDER}) == 15
    assert {room_of(file) for file in sources()} <= {*ORDER, "__init__", "__main__"}


@pytest.mark.parametrize("room", [name for name in ORDER if list(sources(name))])
def test_rooms_import_from_those_before(room: str) -> None:
    allowed = {*ORDER[: ORDER.index(room)]}
    for file in sources(room):
        assert rooms(file) <= allowed, f"{file} imports {rooms(file) - allowed}"


@pytest.mark.parametrize(("forbidden", "allowed"), [("torch", NO_TORCH), ("ray", NO_RAY)], ids=["torch", "ray"])
def test_rooms_leave_heavy_packages_to_later_ones(forbidden: str, allowed: list[str]) -> None:
    for file in (file for room in allowed for file in sources(room)):
        assert not {name for name in imported(file) if name.split(".")[0] == forbidden}, file


def test_rooms_that_stay_light_import_nothing_heavy() -> None:
    heavy, done = heavy_after(f"import {', '.join(f'tuner.{room}' for room in LIGHT)}")
    assert done.returncode == 0
    assert heavy == set()


def test_the_check_sees_imports_within_functions(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text(
        "def f():\n    import ray.tune\n    from tuner import data\n    from tuner.study.run import StudyRun\n"
    )
    assert imported(file) == {"ray.tune", "tuner.data", "tuner.study.run.StudyRun"}


@pytest.mark.slow
def test_driver_of_a_study_imports_no_torch() -> None:
    heavy, done = heavy_after("import tuner.study.run, tuner.cli.run, tuner.cluster.placement")
    assert done.returncode == 0, done.stderr
    assert "ray" in heavy
    assert not heavy & {"torch", "scipy.stats", "mlflow"}


@pytest.mark.slow
def test_training_runs_without_ray() -> None:
    heavy, done = heavy_after("import tuner.training.run_trial, tuner.study.estimate, tuner.study.final")
    assert done.returncode == 0
    assert "torch" in heavy
    assert not heavy & {"ray", "optuna"}


@pytest.mark.slow
def test_reading_tables_imports_neither_ray_nor_torch(results: Path) -> None:
    there = [
        ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for name in NO_TORCH for file in sources(name)
    ]
    reads = "study = tuner.load_study(sys.argv[1]); print(study.best.value, len(study.epochs))"
    heavy, done = heavy_after(f"import tuner, {', '.join(there)}; {reads}", str(results / "small"))
    assert done.stdout == "0.5 0\n"
    assert heavy == set()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results directory with a study of one trial."""
    root = tmp_path_factory.mktemp("results")
    spec = parse_spec({"study": "small", "training": {"architecture": "vazquez_base"}, "space": {}})
    folder = StudyFolder(root / "small")
    folder.write_spec(spec)
    tables = folder.tables(spec)
    row = {"study": "small", "number": 0, "attempt": 1, "state": "COMPLETE", "value": 0.5, "values": [0.5]}
    tables.append("trials", row | {"purpose": "search", "updated_at": now()})
    tables.flush()
    return root


@pytest.mark.slow
def test_light_commands_import_neither_torch_nor_ray(results: Path) -> None:
    commands: list[tuple[list[str], int, str]] = [
        (["--help"], 0, "Usage"),
        (["ls", "--results", str(results)], 0, "small"),
        (["show", "small", "--results", str(results)], 0, "small"),
        (["reproduce", "rubio", "--results", str(results)], 0, "Table 2"),
        (["validate", "search_spaces/digits.yaml"], 0, "study: digits"),
        (["run", "search_spaces/digits.yaml", "--set", "search.sampler=tpu", "--results", str(results)], 2, "sampler"),
    ]
    heavy, done = heavy_after(ONE_AFTER_ANOTHER, json.dumps([arguments for arguments, _, _ in commands]))
    assert done.returncode == 0, done.stderr
    for (arguments, code, said), (actual, output) in zip(commands, json.loads(done.stdout), strict=True):
        assert (actual, said in output) == (code, True), (arguments, output)
    assert heavy == set()
