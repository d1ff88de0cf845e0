"""Folds of the training images: stratified, grouped, and refused where a class is too rare."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.image_files import noise, write_folder, write_png
from tuner.config.dataset import DatasetConfig
from tuner.data import Dataset, load, split
from tuner.data.device import DeviceDataset
from tuner.data.duplicates import warn_of_copies
from tuner.data.folds import grouped_folds, stratified_folds
from tuner.data.splits import split_folds
from tuner.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """12 training images of cats and 6 of dogs, of 6 groups, and 2 test images of each."""
    for part, name, count in (("train", "cat", 12), ("train", "dog", 6), ("test", "cat", 2), ("test", "dog", 2)):
        for i, pixels in enumerate(noise(count, 8, 8, seed=len(part) + ord(name[0]))):
            write_png(tmp_path / "pets" / part / name / f"{i:02}.png", pixels)
    lines = ["image,group", *(f"test/{name}/0{i}.png,t" for name in ("cat", "dog") for i in range(2))]
    lines += [f"train/{name}/{i:02}.png,g{i % 6}" for name, count in (("cat", 12), ("dog", 6)) for i in range(count)]
    (tmp_path / "pets" / "groups.csv").write_text("\n".join(lines))
    return tmp_path / "pets"


def config(folder: Path, folds: int, *, grouped: bool = False, **more: object) -> DatasetConfig:
    groups = {"groups": str(folder / "groups.csv")} if grouped else {}
    return DatasetConfig.model_validate({"name": str(folder), "validation": {"folds": folds, **groups}, **more})


def refusal(dataset: Dataset, config: DatasetConfig) -> str:
    with pytest.raises(DataError) as caught:
        split_folds(dataset, config)
    return str(caught.value)


@pytest.mark.parametrize("seed", range(20))
def test_stratified_folds_differ_by_one_image(seed: int) -> None:
    draw = np.random.default_rng(seed)
    folds, classes = int(draw.integers(2, 8)), int(draw.integers(2, 6))
    labels = np.repeat(np.arange(classes), draw.integers(folds, 40, classes))
    draw.shuffle(labels)
    fold = stratified_folds(labels, classes, folds, seed)
    shares = np.array([np.bincount(labels[fold == number], minlength=classes) for number in range(folds)])
    assert np.ptp(shares, axis=0).max() <= 1
    assert np.ptp(shares.sum(axis=1)) <= 1
    assert shares.min() >= 1
    assert np.array_equal(fold, stratified_folds(labels, classes, folds, seed))


@pytest.mark.parametrize("seed", range(8))
def test_grouped_folds_keep_groups_and_shares(seed: int) -> None:
    draw = np.random.default_rng(seed)
    folds, classes = int(draw.integers(2, 6)), int(draw.integers(2, 5))
    groups = draw.integers(0, 60, 900)
    labels = np.where(draw.random(900) < 0.8, groups % classes, draw.integers(0, classes, 900))
    fold = grouped_folds(labels, classes, groups, folds, seed)
    assert all(len({*fold[groups == group].tolist()}) == 1 for group in np.unique(groups))
    shares = np.array([np.bincount(labels[fold == number], minlength=classes) for number in range(folds)])
    shares = shares / np.bincount(labels)
    assert np.abs(shares - 1 / folds).max() < 0.08
    assert np.array_equal(fold, grouped_folds(labels, classes, groups, folds, seed))


@pytest.mark.parametrize("seed", range(20))
def test_grouped_folds_hold_the_rarest_class(seed: int) -> None:
    """A class of as many groups as folds, of very different sizes, is in every fold."""
    draw = np.random.default_rng(seed)
    rare = np.repeat(np.arange(4), [1, 1, 12, 3])
    groups = np.concatenate([rare, 4 + draw.integers(0, 20, 200)])
    labels = np.concatenate([np.ones(len(rare), np.int64), np.zeros(200, np.int64)])
    fold = grouped_folds(labels, 2, groups, 4, seed)
    assert {*fold[labels == 1].tolist()} == {*fold[labels == 0].tolist()} == {0, 1, 2, 3}


@pytest.mark.parametrize("grouped", [False, True])
def test_every_image_is_validated_on_once(folder: Path, grouped: bool) -> None:
    wanted = config(folder, 3, grouped=grouped)
    dataset = load(wanted)
    parts = split_folds(dataset, wanted)
    assert sorted(np.concatenate([each.validation for each in parts]).tolist()) == list(range(18))
    for each in parts:
        assert np.array_equal(np.union1d(each.train, each.validation), np.arange(18))
        assert not np.intersect1d(each.train, each.validation).size
        if dataset.groups:
            of = dataset.groups.of_train
            assert not np.intersect1d(of[each.train], of[each.validation]).size
    assert np.array_equal(split(dataset, wanted).validation, parts[0].validation)
    other = split_folds(dataset, config(folder, 3, grouped=grouped, split_seed=1))
    assert not all(np.array_equal(a.validation, b.validation) for a, b in zip(parts, other, strict=True))


def test_device_holds_the_images_of_folds_once(folder: Path) -> None:
    wanted = config(folder, 3, pixels="standard")
    dataset = load(wanted)
    folds = DeviceDataset.open_folds(dataset, wanted)
    assert len({each.test.pool.data_ptr() for each in folds}) == 1
    pools = [part.pool.untyped_storage().data_ptr() for each in folds for part in (each.train, each.validation)]
    assert len({*pools}) == 1
    for each, parts in zip(folds, split_folds(dataset, wanted), strict=True):
        assert np.array_equal(each.validation.images.numpy(), dataset.train_images[parts.validation])
        assert np.array_equal(each.validation_positions, parts.validation)
        assert each.normalize(each.train.images).mean().abs() < 1e-5  # of its own training images
    assert len({each.scale.item() for each in folds}) == 3
    joined = DeviceDataset.open(dataset, wanted, joined=True)
    assert torch.equal(joined.train.images, torch.from_numpy(np.array(dataset.train_images)))


def test_folds_refuse_more_than_the_rarest_class(folder: Path) -> None:
    dataset = load(config(folder, 2))
    expected = "dataset.validation.folds: found 7, but class 'dog' has 6 images to divide; allowed: 2 to 6"
    assert refusal(dataset, config(folder, 7)) == expected
    assert len(split_folds(dataset, config(folder, 6))) == 6
    few = config(folder, 2, train=13)
    expected = (
        "dataset.validation.folds: found 2, but class 'dog' has 1 images to divide; allowed: classes of 2 images or"
    )
    assert refusal(dataset, few).startswith(expected)


def test_folds_refuse_more_than_the_groups(folder: Path) -> None:
    dataset = load(config(folder, 2, grouped=True))
    expected = "dataset.validation.folds: found 7, but class 'cat' has 6 groups to divide; allowed: 2 to 6"
    assert refusal(dataset, config(folder, 7, grouped=True)) == expected


def test_folds_refuse_own_validation_images(folder: Path) -> None:
    write_folder(folder, "val", ["cat", "dog"], 2, 8, 8)
    with pytest.raises(DataError, match=r"dataset.validation: found {'folds': 3}, but .* has validation images of its"):
        load(config(folder, 3))


def test_copies_are_counted_across_all_folds(folder: Path) -> None:
    pixels = noise(1, 8, 8, seed=77)[0]
    for i in range(3):
        write_png(folder / "train" / "cat" / f"copy{i}.png", pixels)
    wanted = config(folder, 5)
    dataset = load(wanted)
    parts = split_folds(dataset, wanted)
    copies = {i for i, name in enumerate(dataset.names[0]) if "copy" in name}
    assert not any(copies <= {*each.validation.tolist()} for each in parts)  # so each has one in another fold
    with pytest.warns(UserWarning, match="a copy in another part: 3 of validation in training"):
        warn_of_copies(dataset, parts)
