"""Imports go one way, and what answers at once imports nothing heavy."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.folder import StudyFolder
from tuner.results import now
from tuner.spec import parse_spec

PACKAGE = Path(__file__).parents[1] / "tuner"
# fmt: off
ORDER = [
    "errors", "complaints", "catalogue", "yaml_file", "config", "search_space", "sections", "spec",
    "storage", "object_store", "lock", "results", "folder", "observer", "formatting",
    "analysis", "plots", "report", "display", "provenance",
    "models", "data", "reported", "reproduction",
    "randomness", "optimization", "precision", "measured", "training", "attempt", "estimate", "largest",
    "searcher", "search", "recorder", "trial", "watch", "cluster", "preflight", "placement", "jobs", "study",
    "screens", "cli", "__main__",
]
# fmt: on
"""Each module imports only from those before it; a package is one of them."""
HEAVY = ("ray", "torch", "torchvision", "optuna", "sklearn")
WATCHED = """
import json, sys
try:
    exec(sys.argv.pop(1))
finally:
    print(json.dumps([name for name in sys.modules if "." not in name]), file=sys.stderr)
"""
NO_RAY = ORDER[: ORDER.index("searcher")]
WITHOUT_RAY_AND_TORCH = (
    "folder",
    "results",
    "spec",
    "observer",
    "formatting",
    "analysis",
    "plots",
    "report",
    "display",
    "reported",
    "reproduction",
)


def place(file: Path) -> str:
    """The module of a file, or the package that it belongs to: `tuner/data/cache.py` is of `data`."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def sources(of: str = "") -> Iterator[Path]:
    return (file for file in sorted(PACKAGE.rglob("*.py")) if not of or place(file) == of)


def imported(file: Path) -> set[str]:
    """Every module that a file imports by its full name, wherever the import stands in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names |= {f"{node.module}.{name.name}" for name in node.names}
    return names


def rooms(file: Path) -> set[str]:
    """Modules and packages of ours that a file imports, its own package left out."""
    ours = [name.split(".") for name in imported(file) if name.startswith("tuner.")]
    return {parts[1] for parts in ours if not parts[1].startswith("__version")} - {place(file)}


def heavy_after(code: str, *arguments: str) -> tuple[set[str], "subprocess.CompletedProcess[str]"]:
    """Heavy packages that a new process has imported after some code, and how the process ended."""
    command = [sys.executable, "-c", WATCHED, code, *arguments]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=60)
    return {*json.loads(done.stderr.splitlines()[-1])} & {*HEAVY}, done


def test_every_module_has_its_place_in_the_order() -> None:
    assert {place(file) for file in sources()} - {"__init__"} <= {*ORDER}
    assert len(ORDER) == len({*ORDER})


@pytest.mark.parametrize("module", [name for name in ORDER if list(sources(name))])
def test_a_module_imports_only_from_those_before_it(module: str) -> None:
    allowed = {*ORDER[: ORDER.index(module)]}
    for file in sources(module):
        assert rooms(file) <= allowed, f"{file.name} imports {rooms(file) - allowed}"


def test_nothing_up_to_training_and_attempt_names_ray() -> None:
    assert "attempt" in NO_RAY
    for module in NO_RAY:
        for file in sources(module):
            assert not {name for name in imported(file) if name.split(".")[0] == "ray"}, file.name


def test_the_check_sees_imports_within_functions(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("def f():\n    import ray.tune\n    from tuner import data\n    from tuner.study import StudyRun\n")
    assert imported(file) == {"ray.tune", "tuner.data", "tuner.study.StudyRun"}


def test_training_runs_without_ray() -> None:
    heavy, done = heavy_after("import tuner.attempt, tuner.estimate")
    assert done.returncode == 0
    assert "torch" in heavy
    assert not heavy & {"ray", "optuna"}


def test_what_reads_tables_imports_neither_ray_nor_torch(results: Path) -> None:
    there = [f"tuner.{name}" for name in WITHOUT_RAY_AND_TORCH if list(sources(name))]
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


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Usage"),
        (["ls", "--results", "RESULTS"], 0, "small"),
        (["show", "small", "--results", "RESULTS"], 0, "small"),
        (["reproduce", "rubio", "--results", "RESULTS"], 0, "Table 2"),
        (["validate", "search_spaces/digits.yaml"], 0, "study: digits"),
        (["run", "search_spaces/digits.yaml", "--set", "search.sampler=tpu", "--results", "RESULTS"], 2, "sampler"),
    ],
    ids=["help", "ls", "show", "reproduce", "validate", "a-refused-spec"],
)
def test_a_command_that_trains_nothing_imports_neither_torch_nor_ray(
    arguments: list[str], code: int, said: str, results: Path
) -> None:
    given = [str(results) if argument == "RESULTS" else argument for argument in arguments]
    heavy, done = heavy_after("from tuner.cli import main; main()", *given)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert heavy == set()
