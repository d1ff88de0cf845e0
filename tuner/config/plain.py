"""Limits of the values in a study file, whatever they stand for."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

from tuner.config.validation_messages import shown
from tuner.errors import shorten

MOST_VALUES = 100_000
"""Values of the largest study file, counted as often as aliases repeat them."""
DEEPEST = 20
"""Mappings and lists of which one may hold the next."""
LARGEST_INTEGER = 2**63 - 1
"""Largest whole number that a column of the tables holds."""


def check_plain(raw: Any) -> str | None:
    """Return what no study file can hold, with its place, or None.

    Every later check may then walk through the values, compare numbers and show them.
    """
    for count, (path, value) in enumerate(_walk(raw), start=1):
        if count > MOST_VALUES:
            return f"more than {MOST_VALUES:,} values; aliases repeat what they name"
        if len(path) > DEEPEST:
            return f"{_place(path[:3])}…: nested more than {DEEPEST} deep"
        if problem := _problem(value):
            return f"{_place(path)}{': ' if path else ''}{problem}"
    return None


def _problem(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next((_key_problem(key) for key in value if not isinstance(key, str) or not _is_unicode(key)), None)
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"found {shown(value)}; allowed: whole numbers between -2**63 and 2**63"
    if isinstance(value, date):
        return f"found {shown(value)}, a date; allowed: text, in quotes: '{value.isoformat()}'"
    if isinstance(value, str) and not _is_unicode(value):
        return f"found {shown(value)}; allowed: text whose characters are whole"
    if isinstance(value, bytes | set | frozenset):
        return f"found {shown(value)}; allowed: text, numbers, booleans, lists and mappings"
    return None


def _key_problem(key: Any) -> str:
    hint = f", such as '{shown(key)}'" if isinstance(key, int | float) else ""
    return f"found the key {shown(key)}; allowed: text{hint}"


def _walk(raw: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value with its path, holders before what they hold."""
    pending: list[tuple[tuple[str, ...], Any]] = [((), raw)]
    while pending:
        path, value = pending.pop()
        yield path, value
        if len(path) > DEEPEST:
            continue
        if isinstance(value, Mapping):
            pending += [((*path, f".{shorten(key)}"), each) for key, each in reversed([*value.items()])]
        elif isinstance(value, list | tuple):
            pending += [((*path, f"[{index}]"), each) for index, each in reversed([*enumerate(value)])]


def _place(path: tuple[str, ...]) -> str:
    return "".join(path).removeprefix(".")


def _is_unicode(text: str) -> bool:
    """Return True unless a text holds half of a pair of UTF-16."""
    return not any("\ud800" <= char <= "\udfff" for char in text)
