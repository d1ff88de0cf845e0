"""Messages for mistakes that pydantic found: one line per place, with found and allowed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tuner.errors import suggest

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
    """Return one line per place, joining the messages about one place."""
    messages: dict[str, list[str]] = {}
    for mistake in error.errors():
        path, found = _locate(mistake["loc"], raw, missing=mistake["type"] == "missing")
        messages.setdefault(path, []).append(_message(mistake, found))
    return [_join(path, said) for path, said in messages.items()]


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
    text = {type(None): "null", bool: str(value).lower()}.get(type(value), repr(value))
    return text if len(text) <= 100 else f"{text[:99]}…"


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
            path.append(str(part))
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
            path[-1] += f"[{part}]"
        elif missing and index == len(location) - 1:
            path.append(str(part))
    return ".".join(path), raw
