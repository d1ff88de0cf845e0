"""Pretrained weights: reading without code, and fitting to a network."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tuner import models
from tuner.errors import DataError, SpecError
from tuner.models.head import find_head
from tuner.models.weights import load_weights, read_weights, start_from

RESNET = "torchvision:resnet18"


def built(name: str = "lenet5", classes: int = 10, seed: int = 0, size: int = 28, **more: Any) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(name, in_channels=more.pop("in_channels", 1), classes=classes, image_size=size, **more)


def saved(content: Any, file: Path) -> Path:
    torch.save(content, file)
    return file


class Runs:
    """An object whose reading would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_read_weights_returns_what_was_saved(ending: str, tmp_path: Path) -> None:
    state, file = built().state_dict(), tmp_path / f"weights.{ending}"
    save_file(state, file) if ending == "safetensors" else torch.save(state, file)
    read = read_weights(file)
    assert {name: value.tolist() for name, value in read.items()} == {name: value.tolist() for name, value in state.items()}  # fmt: skip # noqa: E501


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_read_weights_unwraps_checkpoints(key: str, tmp_path: Path) -> None:
    assert read_weights(saved({"epoch": 3, key: {"a": torch.ones(2)}}, tmp_path / "w.pt"))["a"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ([1, 2], "holds list; allowed: a state dict, names with tensors"),
        ({}, "holds dict; allowed: a state dict, names with tensors"),
        (torch.ones(3), "holds Tensor; allowed: a state dict, names with tensors"),
        ({"epoch": 3, "a": torch.ones(1)}, "entry 'epoch' is int; allowed: tensors by their names"),
        ({"a": {"b": torch.ones(1)}}, "entry 'a' is dict; allowed: tensors by their names"),
        ({"a": torch.tensor([1.0, torch.nan])}, "'a' has values that are NaN or infinite"),
        ({"\x1b[2J" * 99: torch.tensor([torch.inf])}, r"'\x1b[2J"),
    ],
)
def test_read_weights_refuses_other_contents(content: Any, line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_weights(saved(content, tmp_path / "w.pt"))
    assert str(caught.value).startswith(f"training.pretrained: {tmp_path}/w.pt: {line}")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_read_weights_runs_no_code(tmp_path: Path) -> None:
    expected = r"w\.pt: no state dict that is safe to read: Unsupported [^\n]+$"
    with pytest.raises(DataError, match=expected):
        read_weights(saved({"a": Runs(tmp_path / "made")}, tmp_path / "w.pt"))
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Runs(tmp_path / "made")}))
    with pytest.raises(DataError, match=r"w\.pth: no state dict that is safe to read: [^\n]+$"):
        read_weights(tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pt: no state dict that is safe to read: [^\n]+$"):
        read_weights(saved(built(), tmp_path / "w.pt"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", bytes(1000)], ids=["empty", "text", "zeros"])
def test_read_weights_refuses_damaged_files(ending: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"w.{ending}").write_bytes(content)
    with pytest.raises(DataError, match=rf"w\.{ending}: no state dict that is safe to read: [^\n]+$"):
        read_weights(tmp_path / f"w.{ending}")


def test_read_weights_refuses_cut_files(tmp_path: Path) -> None:
    file = saved(built().state_dict(), tmp_path / "w.pt")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"w\.pt: no state dict that is safe to read: [^\n]+$"):
        read_weights(file)


@pytest.mark.parametrize("name", ["lenet5", RESNET])
@pytest.mark.slow
def test_load_weights_replaces_head_of_other_classes(name: str) -> None:
    source, target = built(name, classes=12, size=32, seed=1), built(name, classes=5, size=32, seed=2)
    fresh = {key: value.clone() for key, value in target.state_dict().items()}
    head = load_weights(target, source.state_dict(), 5, "w.pt").head
    assert head == find_head(target, 5)
    for key, value in target.state_dict().items():
        expected = fresh if key.startswith(f"{head}.") else source.state_dict()
        assert torch.equal(value, expected[key]), key


@pytest.mark.slow
def test_load_weights_keeps_head_of_equal_classes() -> None:
    source, target = built(seed=1), built(seed=2)
    assert load_weights(target, source.state_dict(), 10, "w.pt") == (None, None)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


@pytest.mark.slow
def test_load_weights_allows_absent_batch_counters() -> None:
    source = {key: value for key, value in built(RESNET, size=32).state_dict().items() if "num_batches" not in key}
    assert load_weights(built(RESNET, size=32, seed=2), source, 10, "w.pt") == (None, None)


def misfit(state: dict[str, Tensor], model: nn.Module) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(SpecError) as caught:
        load_weights(model, state, 10, "w.pt for lenet5")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def test_load_weights_names_what_does_not_fit() -> None:
    state = built().state_dict()
    state["0.weight"], state["odd"] = torch.ones(6, 2, 5, 5), state.pop("3.bias")
    assert misfit(state, built()) == (
        "training.pretrained: w.pt for lenet5 does not fit: 1 missing from the file (3.bias);"
        " 1 unknown to the network (odd); 1 of another shape (0.weight (6, 2, 5, 5) for (6, 1, 5, 5))"
    )


@pytest.mark.slow
def test_load_weights_shortens_weights_of_another_network() -> None:
    line = misfit(built("torchvision:resnet50", size=32).state_dict(), built())
    assert "8 missing from the file (0.weight, 0.bias, 3.weight, …); " in line
    assert "unknown to the network (conv1.weight, bn1.weight, bn1.bias, …)" in line
    hostile = misfit({"\x1b[2J" * 1000: torch.ones(1)}, built())
    assert hostile.isprintable()


def test_start_from_reads_weights_that_a_study_kept(tmp_path: Path) -> None:
    file = saved(built(seed=1).state_dict(), tmp_path / "00003.pt")
    model = built(seed=2)
    fit = start_from(model, "lenet5", str(file), None, in_channels=1, classes=10, image_size=28)
    assert fit == (None, None)
    assert torch.equal(model.state_dict()["0.weight"], built(seed=1).state_dict()["0.weight"])
