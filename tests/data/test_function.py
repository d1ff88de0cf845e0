"""Data sets that a function of the user returns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tuner.config.dataset import DatasetConfig
from tuner.config.study import parse_spec
from tuner.config.user_models import is_function
from tuner.data import load
from tuner.errors import DataError

HEAD = """
import random
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

class Own(Dataset):
    def __init__(self, count=20, classes=None):
        self.count = count
        if classes:
            self.classes = classes
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        return Image.new("L", (6, 6), index * 3), index % 2
"""
PLAIN = "def images():\n    return Own()"

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module of a name of its own, and return the name of its function."""
    monkeypatch.syspath_prepend(tmp_path)

    def of(body: str, module: str = "") -> str:
        name = module or f"own_images_{abs(hash(body))}"
        (tmp_path / f"{name}.py").write_text(f"{HEAD}\n{body}\n")
        return f"{name}:images"

    return of


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a.b:c", True), ("bücher:fn", True), ("a:b:c", False), ("a/b:c", False), ("a.b", False), (".a:b", False)],
)
def test_function_has_a_form(name: str, is_one: bool) -> None:
    assert is_function(name) is is_one


def test_function_gives_images_and_labels(write: Write, tmp_path: Path) -> None:
    dataset = load(DatasetConfig(name=write(PLAIN)), None, tmp_path / "cache")
    assert dataset.classes == ("0", "1")
    assert dataset.train_images.shape[1:] == (1, 6, 6)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (16, 4)  # 20 % are held out
    levels = dataset.train_images[:, 0, 0, 0] // 3
    assert np.array_equal(levels % 2, dataset.train_labels)


def test_function_may_return_parts(write: Write, tmp_path: Path) -> None:
    body = """
def images():
    return {"train": Own(20, ["cat", "dog"]), "validation": Subset(Own(), [0, 1]), "test": Subset(Own(), [2, 3, 4])}
"""
    dataset = load(DatasetConfig(name=write(body), image_size=8), None, tmp_path / "cache")
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train_labels), dataset.own_validation, dataset.test_labels.tolist()) == (22, 2, [0, 1, 0])
    assert dataset.image_size == 8


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        ("torch.full((3, 6, 6), index / 20)", 3),
        ("torch.full((1, 6, 6), index / 20)", 1),
        ("np.full((6, 6), index / 20)", 1),
        ("np.full((6, 6, 3), round(index / 20 * 255), np.uint8)", 3),
        ("np.full((1, 6, 6), round(index / 20 * 255), np.uint8)", 1),
        ("Image.new('RGB', (6, 6), (round(index / 20 * 255),) * 3)", 3),
    ],
)
def test_function_may_give_tensors_arrays_and_pictures(image: str, channels: int, write: Write, tmp_path: Path) -> None:
    body = f"""
class Other(Own):
    def __getitem__(self, index):
        return {image}, torch.tensor(index % 2)
def images():
    return {{"train": Other(), "test": Other()}}
"""
    found = load(DatasetConfig(name=write(body)), None, tmp_path / "cache")
    assert found.train_images.shape == (20, channels, 6, 6)
    assert [int(level) for level in found.train_images[:, -1, 5, 5]] == [round(i / 20 * 255) for i in range(20)]


def test_labels_of_functions_may_be_text(write: Write, tmp_path: Path) -> None:
    body = """
class Other(Own):
    def __getitem__(self, index):
        return Image.new("L", (6, 6), index), ["dog", "cat"][index % 2]
def images():
    return Other()
"""
    assert load(DatasetConfig(name=write(body)), None, tmp_path / "cache").classes == ("cat", "dog")


def test_function_is_identified_by_its_images(write: Write, tmp_path: Path) -> None:
    reads = tmp_path / "reads"
    counting = f"""
class Other(Own):
    def __getitem__(self, index):
        with open({str(reads)!r}, "a") as file:
            file.write("x")
        return Image.new("L", (6, 6), index * {{}}), index % 2
def images():
    return Other(200)
"""
    first = load(DatasetConfig(name=write(counting.format(1), "one_a")), None, tmp_path / "cache")
    assert 200 < len(reads.read_text()) < 300  # each once, and a sample before
    reads.unlink()
    again = load(DatasetConfig(name="one_a:images"), None, tmp_path / "cache")
    assert (again.folder, again.fingerprint) == (first.folder, first.fingerprint)
    assert len(reads.read_text()) < 100  # because only a sample is read again
    same = load(DatasetConfig(name=write(f"x = 1\n{counting.format(1)}", "one_b")), None, tmp_path / "cache")
    other = load(DatasetConfig(name=write(counting.format(2), "one_c")), None, tmp_path / "cache")
    assert same.fingerprint == first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("def images():\n    raise OSError('no disk')", "images() raised OSError: no disk"),
        ("def images():\n    raise SystemExit(3)", "images() raised SystemExit: 3"),
        ("def images(path):\n    return Own()", "images() raised TypeError: images() missing 1 required positional"),
        ("images = 3", "has no function 'images'"),
        ("def images():\n    return iter([])", "images() returns list_iterator for train; allowed: a data set with len() and [index], or {train: …, test: …} of them"),  # noqa: E501
        ("def images():\n    return {'test': Own()}", "images() returns no part 'train'"),
        ("def images():\n    return {'train': Own(), 'vall': Own()}", "images() returns a part 'vall'; allowed"),
        ("def images():\n    return Own(0)", "train has no items"),
        ("class Long(Own):\n    def __len__(self):\n        return 30\ndef images():\n    return Long()", "item 20 of train raised IndexError: 20"),  # noqa: E501
        ("class Bad(Own):\n    def __len__(self):\n        return -1\ndef images():\n    return Bad()", "len() of train raised ValueError"),  # noqa: E501
        ("def images():\n    return [Own()[0], 3]", "item 1 of train is int; allowed: (image, label)"),
        ("def images():\n    return [(np.zeros((6, 6, 4)), 0)]", "item 0 of train: image of shape (6, 6, 4); allowed"),
        ("def images():\n    return [('a.png', 0)]", "item 0 of train: image of shape (); allowed"),
        ("def images():\n    return [(np.zeros((6, 6), int), 0)]", "item 0 of train: pixels of type int64; allowed"),
        ("def images():\n    return [(torch.randn(3, 6, 6), 0)]", "item 0 of train: pixels from -"),
        ("def images():\n    return [(torch.full((6, 6), torch.nan), 0)]", "item 0 of train: pixels from nan to nan"),
        ("def images():\n    return [(Own()[0][0], 0.5)]", "item 0 of train: label 0.5; allowed: a whole number"),
        ("def images():\n    return [(Own()[0][0], -1)]", "item 0 of train: label -1; allowed: 0, 1, 2, …"),
        ("def images():\n    return [(Own()[i][0], 2 * i) for i in range(4)]", "train: label 1 never occurs, 6 does"),
        ("def images():\n    return [(Own()[0][0], 0), (Own()[0][0], 'a')]", "some labels are text ("),
        ("def images():\n    return {'train': Own(20, ['a', 'b']), 'test': [(Own()[0][0], 2)]}", "item 0 of test: label 2; allowed: 0 to 1"),  # noqa: E501
        ("def images():\n    return [(Image.new('L', (6 + i, 6)), i % 2) for i in range(3)]", "item 1 of train: 7x6 pixels, but"),  # noqa: E501
        ("class Random(Own):\n    def __getitem__(self, i):\n        return Image.new('L', (6, 6), random.randrange(256)), i % 2\ndef images():\n    return Random()", "differs from one look to the next"),  # noqa: E501
    ],
)  # fmt: skip
def test_functions_are_refused_in_a_line(body: str, line: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(DatasetConfig(name=write(body)), None, tmp_path / "cache")
    assert line in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"name": "no_such_module:images"}, "dataset.name: no_such_module:images: importing 'no_such_module' failed"),
        ({"test": "a.parquet"}, "dataset.test: found 'a.parquet'; only with files"),
        ({"label": "digit"}, "dataset.label: found 'digit'; only with Parquet files"),
        ({"validation": {"groups": "a.csv"}}, "dataset.validation.groups: found 'a.csv'; only with files"),
    ],
)
def test_functions_refuse_keys_of_files(config: dict[str, object], line: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(DatasetConfig.model_validate({"name": write(PLAIN), **config}), None, tmp_path / "cache")
    assert str(caught.value).startswith(line)


def test_study_takes_a_function_and_lists_its_code() -> None:
    raw = {"study": "s", "training": {"architecture": "lenet5"}, "space": {}}
    assert parse_spec(raw | {"dataset": {"name": "own.images:train"}}).code == ["lenet5", "own.images:train"]
    assert parse_spec(raw | {"dataset": {"name": "mnist"}}).code == ["lenet5"]
