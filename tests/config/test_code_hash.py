"""Hashes of a user's code, which change with what the code does and with nothing else."""

from pathlib import Path

import pytest
import typer

from tuner.config.code_hash import hash_network

NETS = '''"""Networks of mine."""
import os
from pathlib import Path
from . import layers
from .sizes import WIDTH


class Net:
    """A network."""

    def forward(self, x: int) -> int:
        return x + WIDTH  # as in the paper
'''
UNUSED = "def f():\n    from .late import VALUE\n    return VALUE\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of networks below the import path, with a name of its own."""
    folder = tmp_path / f"nets_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "nets": NETS,
        "layers": UNUSED,
        "sizes": "WIDTH = 3\n",
        "late": "VALUE = 1\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def hash_of(package: Path) -> str:
    return hash_network(f"{package.name}.nets:Net")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # as in the paper", ""),
        ('"""A network."""', '"""Another word\n    or two."""'),
        ("x + WIDTH", "(x\n            + WIDTH)"),
        ("\n\n\nclass", "\n\nclass"),
    ],
)
def test_hash_ignores_comments_docstrings_and_formatting(package: Path, old: str, new: str) -> None:
    before = hash_of(package)
    assert old in NETS
    (package / "nets.py").write_text(NETS.replace(old, new))
    assert hash_of(package) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("nets", NETS.replace("x + WIDTH", "x - WIDTH")),
        ("nets", NETS.replace("x: int", "x: int = 0")),
        ("sizes", "WIDTH = 4\n"),
        ("late", "VALUE = True\n"),
        ("__init__", "import torch\n"),
    ],
)
def test_hash_sees_edits_of_all_imported_modules(package: Path, file: str, text: str) -> None:
    before = hash_of(package)
    (package / f"{file}.py").write_text(text)
    assert hash_of(package) != before


def test_hash_ignores_modules_that_are_not_imported(package: Path) -> None:
    before = hash_of(package)
    (package / "analysis.py").write_text("print('a plot')\n")
    assert hash_of(package) == before


@pytest.mark.parametrize("depth", [700, 5000])
def test_hash_reads_code_nested_beyond_recursion(package: Path, depth: int) -> None:
    before = hash_of(package)
    (package / "sizes.py").write_text(f"WIDTH = {' + '.join(['1'] * depth)}\n")
    assert hash_of(package) != before


@pytest.mark.slow
def test_hash_of_known_networks_is_that_of_the_package() -> None:
    assert hash_network("lenet5") == hash_network("torchvision:resnet18")
    assert len(hash_network("lenet5")) == 16


def test_hash_of_an_installed_network_has_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_network("typer.main:Typer")
    monkeypatch.setattr(typer, "__version__", "0.0.1")
    assert hash_network("typer.main:Typer") != before
