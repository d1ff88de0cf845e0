"""Validation images that a data set sets apart: used as they stand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.image_files import Pixels, noise, write_folder, write_parquet, write_png
from tuner.config.dataset import DatasetConfig
from tuner.data import Dataset, load, split
from tuner.data.device import DeviceDataset
from tuner.errors import DataError

NAMES = ["cat", "dog"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "cache"))


def folder_of(root: Path, apart: str) -> tuple[Pixels, Pixels]:
    train = write_folder(root, "train", NAMES, 10, 8, 8)
    write_folder(root, "test", NAMES, 4, 8, 8)
    own = noise(6, 8, 8, seed=9)
    write_folder(root, apart, NAMES, 3, 8, 8)
    for i, path in enumerate(sorted((root / apart).rglob("*.png"))):
        write_png(path, own[i])
    return train, own


def shards_of(root: Path, apart: str) -> tuple[Pixels, Pixels]:
    train, own = noise(20, 8, 8, seed=1), noise(6, 8, 8, seed=9)
    write_parquet(root / "data" / "train-00000-of-00001.parquet", train, np.arange(20) % 2, NAMES)
    write_parquet(root / "data" / "test-00000-of-00001.parquet", noise(8, 8, 8, seed=2), np.arange(8) % 2, NAMES)
    for i in range(2):  # in another order of classes, as files may be
        labels = [1, 0, 1]
        shard = root / "data" / f"{apart}-0000{i}-of-00002.parquet"
        write_parquet(shard, own[3 * i : 3 * i + 3], labels, NAMES[::-1])
    return train, own


def config(root: Path, **more: object) -> DatasetConfig:
    return DatasetConfig.model_validate({"name": str(root), **more})


def refusal(root: Path, **more: object) -> str:
    with pytest.raises(DataError) as caught:
        load(config(root, **more))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("apart", ["val", "valid", "validation"])
@pytest.mark.parametrize("write", [folder_of, shards_of])
def test_own_images_are_the_validation_split(
    tmp_path: Path, write: Callable[[Path, str], tuple[Pixels, Pixels]], apart: str
) -> None:
    train, own = write(tmp_path / "own", apart)
    dataset = load(config(tmp_path / "own"))
    data = DeviceDataset.open(dataset, config(tmp_path / "own"))
    assert np.array_equal(data.train.images[:, 0].numpy(), train)
    assert np.array_equal(data.validation.images[:, 0].numpy(), own)
    assert len(data.test) == 8
    assert all(name.startswith(apart) for name in dataset.names[0][20:])
    if write is shards_of:
        assert data.validation.labels.tolist() == [0, 1, 0] * 2
    joined = DeviceDataset.open(dataset, config(tmp_path / "own"), joined=True)
    assert torch.equal(joined.train.images, torch.cat([data.train.images, data.validation.images]))


def test_own_images_stay_without_test_images(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3)):
        write_folder(tmp_path / "own", part, NAMES, count, 8, 8)
    dataset: Dataset = load(config(tmp_path / "own"))
    parts = split(dataset, config(tmp_path / "own"))
    assert (len(parts.train), len(parts.validation), len(dataset.test_labels)) == (16, 6, 4)
    assert not any(name.startswith("val/") for name in (*dataset.names[1], *dataset.names[0][:16]))
    assert all(name.startswith("val/") for name in dataset.names[0][16:])
    few = split(dataset, config(tmp_path / "own", train=12))
    assert (len(few.train), few.validation.tolist()) == (12, parts.validation.tolist())


@pytest.mark.parametrize("validation", [0.2, 4, {"last": 0.2}, {"groups": "groups.csv"}])
def test_own_images_refuse_another_validation(tmp_path: Path, validation: object) -> None:
    folder_of(tmp_path / "own", "val")
    (tmp_path / "own" / "groups.csv").write_text("image,group\n")
    if isinstance(validation, dict) and "groups" in validation:
        validation = {"groups": str(tmp_path / "own" / "groups.csv")}
    message = refusal(tmp_path / "own", validation=validation)
    assert message.startswith("dataset.validation: found ")
    assert message.endswith("has validation images of its own; leave the key out, or move these images away")
    dataset = load(config(tmp_path / "own"))
    with pytest.raises(DataError, match="has validation images of its own"):
        split(dataset, config(tmp_path / "own", validation=validation))


def test_own_images_are_of_the_same_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", "train", NAMES, 3, 8, 8)
    write_folder(tmp_path / "own", "val", ["cat", "dgo"], 3, 8, 8)
    assert refusal(tmp_path / "own") == f"{tmp_path}/own/val: no class 'dog', which train has"
    write_parquet(tmp_path / "shards" / "train.parquet", noise(8, 8, 8), [0, 1] * 4)
    write_parquet(tmp_path / "shards" / "val.parquet", noise(2, 8, 8), [0, 0])
    assert "shards: no validation image of class '1'" in refusal(tmp_path / "shards")


def test_own_images_stand_in_one_place(tmp_path: Path) -> None:
    folder_of(tmp_path / "own", "val")
    write_folder(tmp_path / "own", "valid", NAMES, 3, 8, 8)
    expected = f"{tmp_path}/own/val: there are validation images in valid too; keep one of them"
    assert refusal(tmp_path / "own") == expected
    shards_of(tmp_path / "shards", "val")
    shards_of(tmp_path / "shards", "validation")
    assert "there are validation images in validation-00000-of-00002.parquet too" in refusal(tmp_path / "shards")


def test_own_images_belong_to_the_fingerprint(tmp_path: Path) -> None:
    folder_of(tmp_path / "own", "val")
    apart = load(config(tmp_path / "own")).fingerprint
    (tmp_path / "own" / "val").rename(tmp_path / "elsewhere")
    plain = load(config(tmp_path / "own"))
    assert plain.fingerprint != apart
    assert len(split(plain, config(tmp_path / "own")).validation) == 2
