"""Messages for mistakes that pydantic found: one line per place, with found and allowed."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tuner.errors import shorten, suggest

MOST_LINES = 20
"""Mistakes to list, because a file with more was usually not meant as a study."""
MOST_READ = 1000
"""Mistakes to join by their places."""

_ALLOWED = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "too_short": "at least one value",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
}


def lines(error: ValidationError, raw: Any) -> list[str]:
    """Return one line per place, joining the messages about one place.

    After MOST_LINES, the last line counts the others.
    """
    messages: dict[str, list[str]] = {}
    mistakes = error.errors(include_url=False)
    for mistake in mistakes[:MOST_READ]:
        path, found = _locate(mistake["loc"], raw, missing=mistake["type"] == "missing")
        messages.setdefault(path, []).append(_message(mistake, found))
    said = [_join(path, each) for path, each in messages.items()]
    more = len(said) - MOST_LINES + len(mistakes[MOST_READ:])
    return said if more <= 0 else [*said[:MOST_LINES], f"and {more:,} more"]


def _message(mistake: ErrorDetails, found: Any) -> str:
    kind = mistake["type"]
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if kind == "missing":
        return "missing"
    if kind == "value_error":
        return message
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", mistake["ctx"]["expected"])
        return f"found {shown(found)}; {suggest(str(found), allowed)}"
    if kind in _ALLOWED:
        return f"found {shown(found)}; allowed: {_ALLOWED[kind]}"
    return f"found {shown(found)}; {message}"


def shown(value: Any) -> str:
    """Return a value as the file has it, shortened: `null`, `true`, `'text'`."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int) and abs(value) > 10**100:  # because Python does not write 5,000 digits
        return f"a whole number of about {int(value.bit_length() * math.log10(2)):,} digits"
    if isinstance(value, date):
        return value.isoformat()
    return shorten(repr(value))


def _join(path: str, messages: list[str]) -> str:
    first, *more = dict.fromkeys(messages)
    text = " or ".join([first, *(each.rpartition("; ")[2].rpartition("allowed: ")[2] for each in more)])
    # A rule over several keys names the key at fault itself: `dropout.when: …`.
    separator = "" if not path else "." if re.match(r"[\w.]+: ", text) else ": "
    return f"{path}{separator}{text}"


def _locate(location: Iterable[str | int], raw: Any, missing: bool) -> tuple[str, Any]:
    """Return the path of a mistake, and the value found there.

    Pydantic's names for the arms of unions are left out of the path.
    """
    path: list[str] = []
    location = list(location)
    for index, part in enumerate(location):
        if isinstance(raw, Mapping) and part in raw:
            raw = raw[part]
            path.append(shorten(str(part)))
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
            path[-1] += f"[{part}]"
        elif missing and index == len(location) - 1:
            path.append(str(part))
    return ".".join(path), raw
