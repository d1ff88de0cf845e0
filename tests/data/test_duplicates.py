"""Copies of images, compared with a plain search over all pairs."""

import warnings
from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.image_files import noise, write_folder, write_png
from tuner.config.dataset import DatasetConfig
from tuner.config.study import parse_spec
from tuner.data import Dataset, Split, load, split
from tuner.data.dataset import Part, write
from tuner.data.duplicates import PARTS, Copies, exact_copies, near_copies
from tuner.study.dataset import load_fitting


def counts(found: Sequence[Copies]) -> dict[tuple[str, str], int]:
    return {(each.first, each.second): each.count for each in found if each.count}


def written(folder: Path, train: np.ndarray, test: np.ndarray) -> Dataset:
    def part(images: np.ndarray) -> Part:
        return Part(images, np.arange(len(images)) % 2)

    write(folder, "pictures", "0", ("a", "b"), part(train), part(test))
    return Dataset.open(folder)


def smooth(count: int, size: int = 32) -> np.ndarray:
    """Pictures with large shapes, (count, 1, size, size)."""
    small = noise(count, 6, 6)
    big = [Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC) for each in small]
    return np.stack([np.asarray(each) for each in big])[:, None]


def test_exact_copies_equal_a_search_over_pairs(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    distinct = noise(60, 3, 8, 8)
    train, test = distinct[draw.integers(0, 60, 50)], distinct[draw.integers(0, 60, 20)]
    dataset = written(tmp_path / "entry", train, test)
    parts = split(dataset, DatasetConfig(validation=10))
    images = {"training": train[parts.train], "validation": train[parts.validation], "test": test}
    plain = {}
    for first, second in combinations_with_replacement(PARTS, 2):
        hits = [
            any(np.array_equal(a, b) for j, b in enumerate(images[first]) if (first, j) != (second, i))
            for i, a in enumerate(images[second])
        ]
        if any(hits):
            plain[first, second] = sum(hits)
    assert len(plain) >= 5
    assert counts(exact_copies(dataset, parts)) == plain
    assert (tmp_path / "entry" / "train_hashes.npy").exists()
    assert counts(exact_copies(Dataset.open(tmp_path / "entry"), parts)) == plain


def test_damaged_hashes_are_made_again(tmp_path: Path) -> None:
    train = noise(20, 1, 8, 8)
    dataset = written(tmp_path / "entry", train, np.concatenate([train[:2], noise(2, 1, 8, 8, seed=1)]))
    parts = Split(np.arange(15), np.arange(15, 20))
    (tmp_path / "entry" / "test_hashes.npy").write_bytes(b"torn")
    np.save(tmp_path / "entry" / "train_hashes.npy", np.zeros(3, np.uint64))
    assert counts(exact_copies(dataset, parts)) == {("training", "test"): 2}


def test_near_copies_finds_brighter_and_compressed_pictures(tmp_path: Path) -> None:
    train = smooth(40)
    (tmp_path / "copy").mkdir()
    Image.fromarray(train[3, 0]).save(tmp_path / "copy" / "3.jpg", quality=60)
    compressed = np.asarray(Image.open(tmp_path / "copy" / "3.jpg").convert("L"))[None]
    brighter = np.clip(train[4].astype(int) * 0.9 + 20, 0, 255).astype(np.uint8)
    flat = np.full((1, 32, 32), 90, np.uint8)
    test = np.stack([compressed, brighter, train[5], flat, flat + 1, *smooth(45)[40:]])
    dataset = written(tmp_path / "entry", train, test)
    parts = Split(np.arange(30), np.arange(30, 40))
    (near,) = [each for each in near_copies(dataset, parts) if each.count]
    assert (near.first, near.second, near.count) == ("training", "test", 2)
    assert near.example == ("test image 0", "training image 3")
    assert counts(exact_copies(dataset, parts)) == {("training", "test"): 1}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))
    pixels = write_folder(tmp_path / "images", "train", ["cat", "dog"], 10, 8, 8)
    write_folder(tmp_path / "images", "test", ["cat", "dog"], 2, 9, 9)
    for name, image in (("cat/0", 4), ("cat/1", 5), ("dog/0", 16), ("dog/1", 17)):
        write_png(
            tmp_path / "images" / "test" / f"{name}.png",
            pixels[image] if name != "dog/1" else noise(1, 8, 8, seed=7)[0],
        )
    return tmp_path / "images"


def test_study_warns_of_copies_in_one_line(folder: Path) -> None:
    training = {"architecture": "lenet5", "epochs": 1}
    spec = parse_spec(
        {"study": "s", "dataset": {"name": str(folder), "image_size": 16}, "training": training, "space": {}}
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_fitting(spec, None)
    (said,) = [str(each.message) for each in caught]
    assert "\n" not in said
    parts = split(load(spec.dataset), spec.dataset)
    validated = len({4, 5, 16} & {*parts.validation.tolist()})
    for count, part in ((3 - validated, "training"), (validated, "validation")):
        assert (f"{count} of test in {part}" in said) == (count > 0)
    assert "test/" in said
    assert "train/" in said


def test_names_follow_images_that_are_held_out(folder: Path, tmp_path: Path) -> None:
    (folder / "test").rename(tmp_path / "elsewhere")
    dataset = load(DatasetConfig(name=str(folder)))
    train, test = dataset.names
    assert len(train) == len(dataset.train_labels)
    for names, images in ((train, dataset.train_images), (test, dataset.test_images)):
        for name, image in zip(names, images, strict=True):
            assert np.array_equal(np.asarray(Image.open(folder / name)), image[0])
