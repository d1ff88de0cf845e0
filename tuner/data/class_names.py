"""Names of classes: one spelling each, printable, in an order people expect."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tuner.errors import DataError

MOST_CLASSES = 2**31
"""Labels from here on are refused, because they would not fit into the arrays."""


def spelled(name: str, origin: str) -> str:
    """Return a class name in Unicode's composed form (NFC).

    Raises:
        DataError: The name is empty, or holds a control character or broken encoding.
    """
    if not name or any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        raise DataError(f"{origin}: class '{name}'; allowed: names of characters that can be printed")
    return unicodedata.normalize("NFC", name)


def all_spelled(names: Iterable[str], origin: str) -> tuple[str, ...]:
    """Return class names in the composed form, each once.

    Raises:
        DataError: Two names are the same, or one is refused by `spelled`.
    """
    composed = [spelled(name, origin) for name in names]
    for name, count in Counter(composed).items():
        if count > 1:
            raise DataError(f"{origin}: {count} classes are named '{name}'; allowed: each name once")
    return tuple(composed)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort class names, as numbers if all of them are.

    >>> in_order(["10", "9"]), in_order(["10", "9", "a"])
    (['9', '10'], ['10', '9', 'a'])
    """
    known = sorted(names)
    return sorted(known, key=int) if all(name.isascii() and name.isdigit() for name in known) else known


def differing(names: Iterable[str], known: Iterable[str]) -> str:
    """Describe the first class of `names` that `known` lacks.

    The result is '' if `known` lacks none.
    """
    allowed = set(known)
    lacking = [name for name in names if name not in allowed]
    if not lacking:
        return ""
    near = [name for name in allowed if name.strip().casefold() == lacking[0].strip().casefold()]
    return f"'{lacking[0]}'" + (f" (spelled '{near[0]}' there)" if near else "")


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
