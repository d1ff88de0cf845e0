"""The code that travels: this package, and only the Python files of the user's networks."""

import sys
from pathlib import Path

import pytest

import tuner
from tuner.cluster.code import stage

FILES = {
    "__init__.py": "",
    "net.py": "class Net: ...",
    "layers/__init__.py": "",
    "layers/block.py": "",
    ".env": "TOKEN=secret",
    "data.npy": "images",
    "images/one.png": "image",
    "net.py.orig": "old",
    ".git/hook.py": "",
    "__pycache__/net.pyc": "",
}


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package and a module of a user, each with other files beside it."""
    folder = tmp_path / "user"
    for name, text in FILES.items():
        file = folder / "own_networks" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "own_module.py").write_text("class Net: ...")
    (folder / ".env").write_text("TOKEN=secret")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return folder


@pytest.mark.usefixtures("users")
def test_stage_copies_only_python_of_user(tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    staged.mkdir()
    copies = stage(staged, ["vazquez_base", "own_networks.net:Net", "own_module:Net"])
    assert copies == [staged / name for name in ("tuner", "own_networks", "own_module.py")]
    of_user = staged / "own_networks"
    copied = {str(path.relative_to(of_user)) for path in of_user.rglob("*") if path.is_file()}
    assert copied == {"__init__.py", "net.py", "layers/__init__.py", "layers/block.py"}
    assert not (staged / ".env").exists()


def test_stage_copies_this_package_whole(tmp_path: Path) -> None:
    (copy,) = stage(tmp_path, ["vazquez_base"])
    package = Path(tuner.__path__[0])
    wanted = {path.relative_to(package) for path in package.rglob("*") if "__pycache__" not in path.parts}
    assert {path.relative_to(copy) for path in copy.rglob("*")} == wanted
