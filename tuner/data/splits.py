"""Split of the training images into training and validation, equal for every trial."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tuner.config.dataset import DEFAULT_SHARE, DatasetConfig, Folds, GroupedShare, LastFraction, NextImages
from tuner.config.validation_messages import shown
from tuner.data.dataset import Dataset
from tuner.data.folds import grouped_folds, stratified_folds
from tuner.data.groups import PLACE, grouped_sample
from tuner.errors import DataError, shorten

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Positions among the training images, int64, sorted and disjoint.

    Test images are in neither of them.

    Attributes:
        train: Images to train on.
        validation: Images to validate on. Empty if `validation_is_test`.
        validation_is_test: True for published protocols that validate on the test images.
    """

    train: Indices
    validation: Indices
    validation_is_test: bool = False


def split(dataset: Dataset, config: DatasetConfig) -> Split:
    """Split the training images by `config.train`, `config.validation` and `config.split_seed`.

    - N with `train: T`: N stratified images of the first T + N, so that T remain.
    - N alone: N stratified images of all.
    - a fraction: that share of the first T images, stratified.
    - `{last: f}`: the last share of the first T images, in file order, as Keras rounds it.
    - `{next: N}`: the N images after the first T.
    - `{groups: …, share: f}`: whole groups, near that share of each class.
    - `test`: no image, because the test images are used instead.
    - `{folds: K}`: the first of K folds, see `split_folds`.
    - nothing: the validation images that the data set sets apart, or else a share of 0.1.

    Raises:
        DataError: There are too few images, or a class would be missing in a half. Or `config` names
            validation images beside those that the data set sets apart.
    """
    available = len(dataset.train_labels) - dataset.own_validation
    train, validation = config.train or available, config.validation
    if dataset.own_validation:
        check_own_validation(config, dataset.name)
    elif validation is None:
        validation = DEFAULT_SHARE
    extra = 0
    if isinstance(validation, NextImages):
        extra = validation.next
    elif isinstance(validation, int) and config.train is not None:
        extra = validation
    if train + extra > available:
        asked = f"{train} and {extra} more for validation" if extra else str(train)
        raise DataError(f"dataset.train: {asked}; {dataset.name} has {available} training images")
    _check_reached(dataset, train + extra)
    if isinstance(validation, Folds):
        return _fold(dataset, train, validation, config.split_seed)[0]
    if validation is None:
        return Split(np.arange(train), np.arange(available, len(dataset.train_labels)))
    if validation == "test":
        parts = Split(np.arange(train), np.arange(0), validation_is_test=True)
    elif isinstance(validation, NextImages):
        parts = Split(np.arange(train), np.arange(train, train + extra))
    elif isinstance(validation, LastFraction):
        parts = _last(train, validation.last)
    elif isinstance(validation, GroupedShare):
        return _grouped(dataset, train, validation.share, config.split_seed)
    else:
        count = validation if isinstance(validation, int) else round(validation * train)
        return _stratified(dataset, train + extra, count, config.split_seed)
    _check_halves(dataset, parts)
    return parts


def split_folds(dataset: Dataset, config: DatasetConfig) -> list[Split]:
    """Split the training images into as many folds as `config` asks for.

    Each fold is the validation images of one split. Without folds there is one split.

    Raises:
        DataError: As `split`.
    """
    first = split(dataset, config)
    if not isinstance(config.validation, Folds):
        return [first]
    return _fold(dataset, len(first.train) + len(first.validation), config.validation, config.split_seed)


def check_own_validation(config: DatasetConfig, path: str) -> None:
    """Refuse `dataset.validation` for a data set with its own validation images."""
    if config.validation is not None:
        raise DataError(
            f"dataset.validation: found {shown(config.model_dump()['validation'])}, but {path} has validation images of"
            " its own; leave the key out, or move these images away"
        )


def _check_reached(dataset: Dataset, taken: int) -> None:
    """Refuse a number of images that leaves a class without any."""
    if missing := _missing(dataset, np.arange(taken)):
        raise DataError(
            f"dataset.train: the first {taken} of {len(dataset.train_labels)} training images hold none of {missing};"
            " allowed: numbers that reach every class, because files are taken in order"
        )


def _check_halves(dataset: Dataset, parts: Split) -> None:
    """Refuse halves in file order of which one lacks a class.

    This happens where files stand class by class.
    """
    for name, indices in (("training", parts.train), ("validation", parts.validation)):
        if len(indices) and (missing := _missing(dataset, indices)):
            raise DataError(
                f"dataset.validation: images {indices[0]} to {indices[-1]}, which are the {name} images, hold none of"
                f" {missing}; allowed: a number or fraction, which is drawn from every class"
            )


def _missing(dataset: Dataset, indices: Indices) -> str:
    """Name the classes without an image among the training images at `indices`."""
    counts = np.bincount(dataset.train_labels[indices], minlength=len(dataset.classes))
    names = [f"'{dataset.classes[label]}'" for label in np.flatnonzero(counts == 0)]
    noun = "class" if len(names) == 1 else f"{len(names)} classes:"
    return f"{noun} {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""


def stratified_sample(labels: NDArray[np.int64], classes: int, count: int, seed: int) -> Indices:
    """Choose `count` sorted positions that keep each class's share (largest remainders)."""
    sizes = np.bincount(labels, minlength=classes)
    quotas, remainders = np.divmod(sizes * count, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: count - quotas.sum()]] += 1
    shuffle = np.random.RandomState(seed % 2**32).permutation  # because only RandomState is guaranteed never to change
    chosen = [shuffle(np.flatnonzero(labels == label))[:quota] for label, quota in enumerate(quotas)]
    return np.sort(np.concatenate(chosen))


def _last(train: int, share: float) -> Split:
    """Hold out the last share of `train` images."""
    first = int(train * (1.0 - share))  # as Keras rounds its validation_split
    if not 0 < first < train:
        raise DataError(f"dataset.validation.last: {share} of {train} images leaves one half empty")
    return Split(np.arange(first), np.arange(first, train))


def _grouped(dataset: Dataset, taken: int, share: float, seed: int) -> Split:
    """Hold out whole groups, about `share` of each class.

    Only the first `taken` images are used.
    """
    labels, groups = np.asarray(dataset.train_labels[:taken]), _groups(dataset, taken)
    assert dataset.groups is not None  # because _groups refuses that
    check_groups(dataset.classes, dataset.groups.names, labels, groups, "validation")
    validation = grouped_sample(labels, len(dataset.classes), groups, share, seed)
    parts = Split(np.setdiff1d(np.arange(taken), validation, assume_unique=True), validation)
    for name, indices in (("training", parts.train), ("validation", parts.validation)):
        if missing := _missing(dataset, indices):
            raise DataError(f"{PLACE}: no division was found whose {name} images hold {missing}; merge fewer groups")
    return parts


def _fold(dataset: Dataset, taken: int, config: Folds, seed: int) -> list[Split]:
    """Divide the first `taken` images into folds."""
    labels, classes = np.asarray(dataset.train_labels[:taken]), len(dataset.classes)
    if config.groups is None:
        _check_rarest(dataset, np.bincount(labels, minlength=classes), "images", config.folds)
        fold = stratified_folds(labels, classes, config.folds, seed)
    else:
        groups = _groups(dataset, taken)
        together = np.unique(np.stack([labels, groups]), axis=1)
        _check_rarest(dataset, np.bincount(together[0], minlength=classes), "groups", config.folds)
        fold = grouped_folds(labels, classes, groups, config.folds, seed)
    parts = [Split(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(config.folds)]
    for number, part in enumerate(parts, 1):
        if missing := _missing(dataset, part.validation):
            raise DataError(
                f"{PLACE}: no division was found whose fold {number} of {config.folds} holds {missing};"
                " take fewer folds, or merge fewer groups"
            )
    return parts


def _check_rarest(dataset: Dataset, counts: Indices, noun: str, folds: int) -> None:
    """Refuse more folds than the rarest class has images or groups."""
    rarest = int(counts.argmin())
    if counts[rarest] < folds:
        found = f"class '{shorten(dataset.classes[rarest])}' has {counts[rarest]} {noun} to divide"
        allowed = f"2 to {counts[rarest]}" if counts[rarest] > 1 else f"classes of 2 {noun} or more"
        raise DataError(f"dataset.validation.folds: found {folds}, but {found}; allowed: {allowed}")


def _groups(dataset: Dataset, taken: int) -> Indices:
    """Return the groups of the first `taken` images."""
    if dataset.groups is None:
        raise DataError(f"{PLACE}: {dataset.name} was decoded without groups")
    return dataset.groups.of_train[:taken]


def check_groups(classes: tuple[str, ...], names: tuple[str, ...], labels: Indices, groups: Indices, part: str) -> None:
    """Refuse a class that stands in one group only.

    Args:
        classes: Names of the classes.
        names: Names of the groups.
        labels: Classes of the images to split.
        groups: Groups of the images to split.
        part: Name of the images to hold out, for the error.
    """
    first = np.full(len(classes), -1)
    first[labels] = groups
    several = np.zeros(len(classes), bool)
    several[labels[groups != first[labels]]] = True
    for label in np.flatnonzero(~several):
        raise DataError(
            f"{PLACE}: all images of class '{classes[label]}' that may be held out for {part} are of one group"
            f" ('{shorten(names[first[label]])}'); allowed: two groups or more in each class"
        )


def _stratified(dataset: Dataset, taken: int, count: int, seed: int) -> Split:
    """Hold out `count` of the first `taken` images, stratified by class."""
    if count >= taken:
        raise DataError(f"dataset.validation: {count}; allowed: fewer than the {taken} training images")
    labels, classes = np.asarray(dataset.train_labels[:taken]), len(dataset.classes)
    validation = stratified_sample(labels, classes, count, seed)
    train = np.setdiff1d(np.arange(taken), validation, assume_unique=True)
    for part, indices in (("validation", validation), ("training", train)):
        for label in np.flatnonzero(np.bincount(labels[indices], minlength=classes) == 0):
            raise DataError(
                f"dataset.validation: with {count} of {taken} images held out, class '{dataset.classes[label]}' has no"
                f" {part} image"
            )
    return Split(train, validation)
