"""Every notebook is committed as it executes from the committed tables, and from no tables at all."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks.execute import HERE, execute
from tuner.reproduction.reported import REPORTS

WITHOUT_RESULTS = ["004_rubio", "tuned_cifar"]
PATHS = sorted(HERE.glob("*.ipynb"))
IMPORTABLE = {"tuner", "pandas", "matplotlib", "pathlib", "IPython"}
ABSOLUTE = re.compile(r"(?<![\w.<])/(?:home|root|tmp|usr|var|opt|mnt|work|Users)/")
Notebook = nbformat.NotebookNode


def read(path: Path) -> Notebook:
    return nbformat.read(path, as_version=4)


def code(notebook: Notebook) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook: Notebook) -> Iterator[str]:
    """Every output that is no picture."""
    for output in (output for cell in code(notebook) for output in cell.outputs):
        yield output.get("text", "")
        yield from (text for kind, text in sorted(output.get("data", {}).items()) if kind.startswith("text/"))


def shows(cell: Any) -> bool:
    """Whether a cell ends in something to be seen: an expression, or a loop that draws or displays."""
    last = ast.parse(cell.source).body[-1]
    return isinstance(last, ast.Expr | ast.For) and not ast.unparse(last).startswith(("pd.", "plt."))


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def committed(request: pytest.FixtureRequest) -> tuple[str, Notebook]:
    return request.param.stem, read(request.param)


@pytest.fixture(scope="module")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder without results."""
    return tmp_path_factory.mktemp("nowhere")


def without_results(path: Path, nowhere: Path) -> Notebook:
    notebook = read(path)
    first = code(notebook)[0]
    first.source = first.source.replace('RESULTS = "results"', f"RESULTS = {str(nowhere)!r}")
    return notebook


def execute_in_turn(notebooks: Mapping[str, Notebook]) -> dict[str, Notebook]:
    """Execute notebooks in one kernel, which imports once. Their names are forgotten in between."""
    cells: list[Notebook] = []
    for notebook in notebooks.values():
        cells += [*notebook.cells, nbformat.v4.new_code_cell("%reset -f")]
    for number, cell in enumerate(cells):
        cell.id = str(number)  # because they repeat from one to another
    again = iter(execute(nbformat.v4.new_notebook(cells=cells)).cells)
    executed = {}
    for name, notebook in notebooks.items():
        executed[name] = nbformat.v4.new_notebook(cells=[next(again) for _ in notebook.cells])
        next(again)
    return executed


@pytest.fixture(scope="module")
def executed(nowhere: Path) -> dict[str, Notebook]:
    """Each notebook executed again: by its name, and by its name with `-` where there are no results."""
    notebooks = {path.stem: read(path) for path in PATHS}
    notebooks |= {f"{name}-": without_results(HERE / f"{name}.ipynb", nowhere) for name in WITHOUT_RESULTS}
    return execute_in_turn(notebooks)


def test_notebooks_cover_reports_and_the_search() -> None:
    assert {path.stem.split("_")[1] for path in PATHS} == {*REPORTS, "cifar"}


@pytest.mark.slow
def test_notebook_executes_as_committed(committed: tuple[str, Notebook], executed: dict[str, Notebook]) -> None:
    name, notebook = committed
    again = executed[name]
    assert list(texts(again)) == list(texts(notebook))
    for cell, cell_again in zip(code(notebook), code(again), strict=True):
        kinds = [[sorted(output.get("data", {})) for output in each.outputs] for each in (cell, cell_again)]
        assert kinds[0] == kinds[1]


def test_notebook_has_outputs_without_errors(committed: tuple[str, Notebook]) -> None:
    _, notebook = committed
    for cell in code(notebook):
        assert cell.outputs or not shows(cell), cell.source
        assert all(output.output_type not in ("error", "stream") for output in cell.outputs), cell.source


def test_notebook_names_no_machine_folder(committed: tuple[str, Notebook]) -> None:
    _, notebook = committed
    for text in [*texts(notebook), *(cell.source for cell in notebook.cells)]:
        assert not ABSOLUTE.search(text)


def test_notebook_imports_only_what_shows_tables(committed: tuple[str, Notebook]) -> None:
    _, notebook = committed
    for node in (node for cell in code(notebook) for node in ast.walk(ast.parse(cell.source))):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= IMPORTABLE
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] in IMPORTABLE


def test_notebook_names_results_folder_once(committed: tuple[str, Notebook]) -> None:
    _, notebook = committed
    first, *others = code(notebook)
    assert first.source.count('RESULTS = "results"') == 1
    assert not any("RESULTS =" in cell.source for cell in others)


def test_table_1_of_001_has_thirty_rows() -> None:
    (shown,) = (text for text in texts(read(HERE / "001_vazquez.ipynb")) if "<table" in text and "Exp. 4" in text)
    rows = re.findall(r"<tr>\s*<th>(Exp\. .*?)</th>\s*<td>([\d.]+)</td>", shown)
    assert len(rows) == 30
    assert ("Exp. 3: lr 0.001, batch 128, 10 epochs", "64.03") in rows


def test_report_000_shows_ten_pictures_each() -> None:
    notebook = read(HERE / "000_tinoco.ipynb")
    (cell,) = (cell for cell in code(notebook) if "read_pictures" in cell.source and "import" not in cell.source)
    assert ["image/png" in output.data for output in cell.outputs] == [True] * 4


@pytest.mark.parametrize("name", WITHOUT_RESULTS)
@pytest.mark.slow
def test_notebook_without_results_shows_not_run(name: str, nowhere: Path, executed: dict[str, Notebook]) -> None:
    shown = list(texts(executed[f"{name}-"]))
    assert sum("not run" in text for text in shown) >= 2
    assert not any("complete" in text and "trials" in text for text in shown)
    assert list(nowhere.iterdir()) == []
