"""Names of classes: one spelling each, printable, in an order people expect."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

from tuner.errors import DataError


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
