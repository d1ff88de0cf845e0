"""Labels of images, as whole numbers or as text, and the classes that they name."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tuner.config.validation_messages import shown
from tuner.data.class_names import in_order, spelled
from tuner.errors import DataError, suggest

MOST_CLASSES = 2**31
"""Labels from here on are refused, because they would not fit into the arrays."""


class Label(NamedTuple):
    """A label of a data set, with the name of its image."""

    value: int | str
    origin: str


def checked_label(label: int | None, classes: int, origin: str) -> int:
    """Return a label, and refuse one outside the classes.

    Without class names only negative and enormous labels are refused.
    """
    if label is None or not 0 <= label < (classes or MOST_CLASSES):
        allowed = f"0 to {classes - 1}" if classes else "0, 1, 2, …"
        raise DataError(f"{origin}: label {label}; allowed: {allowed}")
    return label


def numbered(labels: NDArray[np.int64], place: object) -> tuple[str, ...]:
    """Return classes '0', '1', … for images without names of classes.

    Refuse labels with gaps.
    """
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(f"{place}: label {gaps[0]} never occurs, {present[-1]} does; allowed: every label from 0 up")
    return tuple(str(label) for label in present)


def classes_of(labels: Mapping[str, Sequence[Label]], name: str) -> tuple[str, ...]:
    """Return the classes that the labels of all parts name.

    Args:
        labels: Labels by the name of their part. Those that are numbers are counted in `train`.
        name: The data set, for the message.

    Raises:
        DataError: Labels are of both kinds, negative, or have gaps.
    """
    every = [label for each in labels.values() for label in each]
    texts = [label for label in every if isinstance(label.value, str)]
    if texts and len(texts) < len(every):
        found = f"some labels are text ({texts[0].origin}: {shown(texts[0].value)}), others numbers"
        raise DataError(f"{name}: {found}; allowed: one kind")
    if texts:
        return tuple(in_order({spelled(str(label.value), label.origin) for label in texts}))
    train = [checked_label(int(label.value), 0, label.origin) for label in labels["train"]]
    return numbered(np.array(train), f"{name}: train")


def label_numbers(labels: Sequence[Label], classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return labels as numbers of classes.

    Raises:
        DataError: A label is of none of the classes.
    """
    numbers = {name: number for number, name in enumerate(classes)}

    def number(label: Label) -> int:
        if isinstance(label.value, int):
            return checked_label(label.value, len(classes), label.origin)
        if (name := spelled(label.value, label.origin)) not in numbers:
            raise DataError(f"{label.origin}: label {shown(label.value)}; {suggest(label.value, numbers)}")
        return numbers[name]

    return np.array([number(label) for label in labels], np.int64)
