"""Files of pretrained weights: search, endings and hashes."""

import os
from pathlib import Path

import pytest

from tuner.data.weights import find_weights, hash_all, hash_weights
from tuner.errors import DataError


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of weights, and no folder of data sets."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "resnet18.pth").write_bytes(b"one")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("TUNER_DATA", raising=False)
    return tmp_path / "here"


def refusal(path: str, root: Path | None = None) -> str:
    with pytest.raises(DataError) as caught:
        find_weights(path, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_find_weights_searches_working_directory_then_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for name in ("resnet18.pth", "other.pt"):
        (root / name).write_bytes(b"two")
    assert find_weights("resnet18.pth", root).read_bytes() == b"one"
    assert find_weights("other.pt", root) == root / "other.pt"
    assert find_weights(str(root / "other.pt"), None) == root / "other.pt"
    monkeypatch.setenv("TUNER_DATA", str(root))
    assert find_weights("other.pt", None) == root / "other.pt"


def test_find_weights_suggests_the_nearest_file() -> None:
    expected = r"training.pretrained: no file 'resnet81.pth' on "
    assert refusal("resnet81.pth").startswith(expected)
    assert refusal("resnet81.pth").endswith("; did you mean 'resnet18.pth'? allowed: resnet18.pth")
    assert refusal("nowhere/a.pth").endswith("; allowed: a path to a state dict")


@pytest.mark.parametrize("path", ["", ".", "~nobody-here/a.pth", "a\0b.pth", "a" * 5000 + ".pth", "\x1b[31m.pt"])
def test_find_weights_refuses_odd_paths_briefly(path: str) -> None:
    line = refusal(path)
    assert line.isprintable()
    assert len(line) < 400


def test_find_weights_refuses_other_endings(working_directory: Path) -> None:
    (working_directory / "model.onnx").write_bytes(b"")
    assert refusal("model.onnx") == "training.pretrained: 'model.onnx'; allowed: a file .pt, .pth, .safetensors"


def test_hash_sees_content_alone(working_directory: Path) -> None:
    first = hash_weights(working_directory / "resnet18.pth")
    (working_directory / "copy.pth").write_bytes(b"one")
    assert hash_weights(working_directory / "copy.pth") == first
    (working_directory / "resnet18.pth").write_bytes(b"eno")
    os.utime(working_directory / "resnet18.pth", ns=(1, 1))
    assert hash_weights(working_directory / "resnet18.pth") != first
    assert hash_all([("lenet5", "copy.pth"), ("alexnet", "copy.pth")], None) == {"weights copy.pth": first}
