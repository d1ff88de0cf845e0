"""README and docs: reference pages are current, code blocks work, and links lead somewhere."""

import importlib.util
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import matplotlib as mpl
import pytest
import typer
from playwright.sync_api import Browser
from typer.core import TyperGroup

from tests.support.browser import open_page
from tests.support.forked import call_tuner
from tuner.cli.main import app
from tuner.config.study import parse_spec
from tuner.config.yaml import parse_yaml
from tuner.results.schema import COLUMNS, KEYS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FRAGMENT = {"study": "fragment", "dataset": {"name": "cifar10"}, "training": {"architecture": "lenet5"}, "space": {}}
"""Keys that complete a YAML block that shows a part of a study file."""
OTHER_PROGRAMS = {"pip", "ray", "source", "pre-commit"}
SHORT = (
    "search.trials=3",
    "space.epochs={choice: [2, 3]}",
    "stopping={asha: {grace_period: 1}}",
    "predictions=[test]",
    "classes=[test]",
    "log_every=20",
    "resources.concurrent=1",
)
"""Changes that make the digits study short, with rows in every table."""
LOCAL = {"validate", "ls", "show"}
"""Commands that are run; others are parsed."""


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    return [
        Block(page.name, text[: found.start()].count("\n") + 1, found[1], found[2])
        for page in PAGES
        for text in [page.read_text(encoding="utf-8")]
        for found in FENCE.finditer(text)
        if found[1] in languages
    ]


def commands(block: Block) -> list[str]:
    """Return the command lines of a block: each line of bash, lines after `$ ` of a console."""
    lines = block.text.splitlines()
    return lines if block.language == "bash" else [line[2:] for line in lines if line.startswith("$ ")]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def workplace(ray_session: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the files of the README, and a real digits study with every table."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "search_spaces").symlink_to(ROOT / "search_spaces")
    modules = [block for block in blocks("python") if block.text.startswith("# my_networks.py")]
    (folder / "my_networks.py").write_text("".join(f"{block.text}\n" for block in modules))
    studies = [block for block in blocks("yaml") if block.text.startswith("study: my_study")]
    (folder / "my_study.yaml").write_text(studies[0].text)
    command = ["run", "search_spaces/digits.yaml", *(word for change in SHORT for word in ("--set", change))]
    for words in (command, ["final", "digits"]):
        done = tuner(words, folder, ray_session)
        assert done.returncode == 0, done.stderr
    return folder


def tuner(words: list[str], folder: Path, address: str | None = None) -> "subprocess.CompletedProcess[str]":
    return call_tuner(*words, folder=folder, environment={**os.environ, "COLUMNS": "200"}, address=address)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_reference_pages_are_current(page: Path, generate: ModuleType) -> None:
    text = page.read_text(encoding="utf-8")
    assert generate.render(text) == text, "run: python docs/generate.py"


def test_reference_pages_show_every_generated_part(generate: ModuleType) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {found[2] for found in generate.BLOCK.finditer(text)} == {*generate.GENERATORS}


@pytest.mark.slow
def test_reference_pages_describe_every_key(generate: ModuleType) -> None:
    undescribed = [
        f"{section}.{key}"
        for section, model in generate.MODELS.items()
        for key in model.model_fields
        if not generate.attribute_docs(model).get(key)
    ]
    assert undescribed == []


def test_reference_pages_describe_every_column() -> None:
    assert [name for columns in COLUMNS.values() for name, column in columns.items() if not column.doc] == []
    assert COLUMNS.keys() == KEYS.keys()


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_pictures_are_small() -> None:
    assert 0 < sum(path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()) < 400_000


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        assert not link.startswith("http"), f"{page.name}: {link} cannot be checked"
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_docs_are_linked_from_readme_or_quickstart() -> None:
    linked = {link.rpartition("/")[2].partition("#")[0] for page in PAGES for link in LINK.findall(page.read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} <= linked


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_blocks_are_valid(block: Block, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    monkeypatch.syspath_prepend(workplace)
    parsed: Any = parse_yaml(block.text, str(block))
    if "study" in parsed:
        parse_spec(parsed, str(block))
        return
    own = {} if "architecture" not in parsed.get("space", {}) else {"training": {}}
    parse_spec({**FRAGMENT, **own, **parsed}, str(block))


@pytest.mark.slow
def test_report_of_digits_is_drawn_in_a_browser(workplace: Path, browser: Browser) -> None:
    done = tuner(["report", "digits"], workplace)
    assert done.stdout.startswith("Wrote digits.html"), done.stderr
    with open_page(browser, (workplace / "digits.html").as_uri()) as page:
        page.evaluate("report.ready")
        figures = page.evaluate("[...report.views.keys()].length")
        assert figures >= 12
        assert page.locator("canvas").count() == figures
        assert page.locator("#s0_pictures img").count() >= 1


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("python")}))
def test_python_blocks_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    mpl.use("Agg")
    names: dict[str, Any] = {"__name__": "page"}
    for block in (block for block in blocks("python") if block.page == page):
        exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_sql_blocks_give_rows(block: Block, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    assert duckdb.sql(block.text).fetchall()


@pytest.mark.parametrize("block", [block for block in blocks("bash", "console") if commands(block)], ids=str)
def test_commands_exist_with_their_options(block: Block) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(block):
        program, *arguments = shlex.split(line, comments=True)
        if program == "make":
            assert {*arguments} <= targets, line
        elif program == "python":
            assert (ROOT / arguments[0]).exists(), line
        elif program == "tuner":
            parse(arguments)
        else:
            assert program in OTHER_PROGRAMS, line
            assert program == "pre-commit" or all((ROOT / word).exists() for word in arguments if ".yaml" in word), line


def parse(arguments: list[str]) -> None:
    """Parse a command line of tuner without running it."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    words = arguments[1:] if arguments[0].startswith("--") else arguments
    if not words or words[0].isupper():
        return
    command = group.get_command(group.make_context("tuner", ["ls"]), words[0])
    assert command is not None, words
    command.make_context(words[0], words[1:]).close()  # raises for an unknown option
    for word in words:
        assert not word.startswith("search_spaces/") or (ROOT / word).exists(), word


def runnable() -> list[tuple[str, str]]:
    """Return the lines that need no cluster and train nothing, with the line that follows each."""
    found = []
    for block in blocks("bash", "console"):
        lines = [*block.text.splitlines(), ""]
        for line, after in pairwise(lines):
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["tuner"] and words[1] in LOCAL and "--address" not in words and "s3://" not in line:
                found.append((line.removeprefix("$ "), after if block.language == "console" else ""))
    return found


@pytest.mark.parametrize(("line", "printed"), runnable())
def test_commands_print_what_is_shown(line: str, printed: str, workplace: Path) -> None:
    done = tuner(shlex.split(line, comments=True)[1:], workplace)
    assert done.returncode == (2 if printed else 0), done.stderr
    assert printed in done.stderr.splitlines() or not printed


def test_package_is_typed_and_licensed() -> None:
    assert (ROOT / "tuner" / "py.typed").exists()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "LICENSE").read_text().split()[:2] == ["Apache", "License"]
