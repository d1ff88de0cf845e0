from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tuner.config.dataset import DatasetConfig, LastFraction, NextImages
from tuner.data import Split, load, split
from tuner.data.dataset import Dataset, Part, write
from tuner.data.splits import stratified_sample
from tuner.errors import DataError

SIZES = (60, 30, 10)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A hundred training images of three classes, 60, 30 and 10, shuffled."""
    return written(tmp_path, np.random.default_rng(0).permutation(np.repeat(np.arange(3), SIZES)))


def written(tmp_path: Path, labels: ArrayLike) -> Dataset:
    numbers = np.asarray(labels, np.int64)
    part = Part(np.zeros((len(numbers), 1, 4, 4), np.uint8), numbers)
    write(tmp_path / "entry", "three", "0", ("a", "b", "c"), part, part)
    return Dataset.open(tmp_path / "entry")


def refusal(dataset: Dataset, **config: object) -> str:
    with pytest.raises(DataError) as caught:
        split(dataset, DatasetConfig.model_validate(config))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_partition(parts: Split, count: int) -> bool:
    return np.array_equal(np.sort(np.concatenate([parts.train, parts.validation])), np.arange(count))


@pytest.mark.parametrize(("validation", "count"), [(20, 20), (0.2, 20), (0.1, 10)])
def test_split_stratifies_numbers_and_fractions(dataset: Dataset, validation: float, count: int) -> None:
    parts = split(dataset, DatasetConfig(validation=validation))
    assert parts.train.dtype == parts.validation.dtype == np.int64
    assert is_partition(parts, 100)
    assert np.bincount(dataset.train_labels[parts.validation]).tolist() == [size * count // 100 for size in SIZES]
    assert not parts.validation_is_test


def test_split_adds_a_number_to_train(dataset: Dataset) -> None:
    parts = split(dataset, DatasetConfig(train=70, validation=20))
    assert (len(parts.train), len(parts.validation)) == (70, 20)
    assert is_partition(parts, 90)


def test_split_takes_a_fraction_from_train(dataset: Dataset) -> None:
    parts = split(dataset, DatasetConfig(train=70, validation=0.2))
    assert (len(parts.train), len(parts.validation)) == (56, 14)
    assert is_partition(parts, 70)


def test_split_last_is_in_file_order(dataset: Dataset) -> None:
    parts = split(dataset, DatasetConfig(validation=LastFraction(last=0.2)))
    assert np.array_equal(parts.train, np.arange(80))
    assert np.array_equal(parts.validation, np.arange(80, 100))
    parts = split(dataset, DatasetConfig(train=83, validation=LastFraction(last=0.2)))
    assert len(parts.train) == 66  # floor(83 * 0.8)


def test_split_next_follows_the_first_images(dataset: Dataset) -> None:
    parts = split(dataset, DatasetConfig(train=50, validation=NextImages(next=30)))
    assert np.array_equal(parts.train, np.arange(50))
    assert np.array_equal(parts.validation, np.arange(50, 80))


def test_split_marks_validation_on_test_images(dataset: Dataset) -> None:
    parts = split(dataset, DatasetConfig(train=50, validation="test"))
    assert parts.validation_is_test
    assert np.array_equal(parts.train, np.arange(50))
    assert len(parts.validation) == 0


def test_split_depends_on_the_seed_alone(dataset: Dataset) -> None:
    config = DatasetConfig(validation=20, split_seed=1)
    first, again, other = (split(dataset, c) for c in (config, config, DatasetConfig(validation=20, split_seed=2)))
    assert np.array_equal(first.validation, again.validation)
    assert not np.array_equal(first.validation, other.validation)


def test_split_of_a_seed_never_changes() -> None:
    labels = np.repeat(np.arange(2), 6)
    assert stratified_sample(labels, 2, 4, seed=0).tolist() == [2, 5, 7, 9]


def test_split_shares_are_exact() -> None:
    labels = np.repeat(np.arange(7), [11, 13, 17, 19, 23, 29, 31])
    for count in range(7, 100):
        chosen = stratified_sample(labels, 7, count, seed=count)
        assert len(np.unique(chosen)) == count
        exact = np.bincount(labels) * count / len(labels)
        assert np.abs(np.bincount(labels[chosen], minlength=7) - exact).max() < 1


def test_split_refuses_more_images_than_exist(dataset: Dataset) -> None:
    assert refusal(dataset, train=101) == "dataset.train: 101; three has 100 training images"
    assert "90 and 20 more for validation; three has 100" in refusal(dataset, train=90, validation=20)
    assert "90 and 20 more for validation" in refusal(dataset, train=90, validation={"next": 20})
    assert "100 and 20 more for validation" in refusal(dataset, validation={"next": 20})
    assert refusal(dataset, validation=100) == "dataset.validation: 100; allowed: fewer than the 100 training images"


def test_split_refuses_an_empty_half(dataset: Dataset) -> None:
    assert "leaves one half empty" in refusal(dataset, validation={"last": 0.999})


def test_split_refuses_classes_without_validation_images(dataset: Dataset) -> None:
    assert "class 'c' has no validation image" in refusal(dataset, validation=3)


def test_split_refuses_classes_without_training_images(tmp_path: Path) -> None:
    dataset = written(tmp_path, [0] * 50 + [1] * 49 + [2])
    assert "class 'c' has no validation image" in refusal(dataset, validation=20)
    assert "class 'c' has no training image" in refusal(dataset, validation=60)


@pytest.mark.parametrize("validation", [0.25, {"last": 0.2}, {"next": 5}])
def test_split_refuses_classes_outside_the_images(tmp_path: Path, validation: object) -> None:
    dataset = written(tmp_path, np.repeat(np.arange(3), 20))
    message = refusal(dataset, train=35 if validation == {"next": 5} else 40, validation=validation)
    assert message.startswith("dataset.train: the first 40 of 60 training images hold none of class 'c'; allowed: ")


@pytest.mark.parametrize(
    ("config", "half", "missing"),
    [
        ({"validation": {"last": 0.5}}, "images 0 to 29, which are the training images", "class 'c'"),
        ({"validation": {"last": 0.2}}, "images 48 to 59, which are the validation images", "2 classes: 'a', 'b'"),
        ({"train": 50, "validation": {"next": 10}}, "images 50 to 59, which are the validation", "2 classes: 'a', 'b'"),
        ({"train": 20, "validation": {"next": 40}}, "images 0 to 19, which are the training", "2 classes: 'b', 'c'"),
    ],
)
def test_split_refuses_halves_in_class_order(
    tmp_path: Path, config: dict[str, object], half: str, missing: str
) -> None:
    message = refusal(written(tmp_path, np.repeat(np.arange(3), 20)), **config)
    assert message.startswith(f"dataset.validation: {half}")
    assert f"hold none of {missing}; allowed: a number or fraction, which is drawn from every class" in message


def test_split_refuses_published_images_without_a_class(tmp_path: Path) -> None:
    dataset = written(tmp_path, np.repeat(np.arange(3), 20))
    assert refusal(dataset, train=30, validation="test").startswith("dataset.train: the first 30 of 60")


def test_split_leaves_test_images_out(tmp_path: Path) -> None:
    digits = load(DatasetConfig(), None, tmp_path)
    for validation in (200, 0.1, LastFraction(last=0.2), NextImages(next=100)):
        parts = split(digits, DatasetConfig(train=1000, validation=validation))
        assert max(parts.train.max(), parts.validation.max()) < len(digits.train_labels)
        assert not np.intersect1d(parts.train, parts.validation).size
