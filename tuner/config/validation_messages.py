"""What pydantic found wrong, said to a person: one line a place, with what was found and what is allowed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

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
    """One line for each place; several complaints about one place (the arms of a union) are joined."""
    places: dict[str, list[str]] = {}
    for mistake in error.errors():
        place, found = _locate(mistake["loc"], raw, missing=mistake["type"] == "missing")
        message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        if mistake["type"] == "missing":
            message = "missing"
        elif mistake["type"] == "literal_error":
            allowed = re.findall(r"'([^']*)'", mistake["ctx"]["expected"])
            message = f"found {shown(found)}; {suggest(str(found), allowed)}"
        elif mistake["type"] in _ALLOWED:
            message = f"found {shown(found)}; allowed: {_ALLOWED[mistake['type']]}"
        elif mistake["type"] != "value_error":
            message = f"found {shown(found)}; {message}"
        places.setdefault(place, []).append(message)
    return [_join(place, messages) for place, messages in places.items()]


def shown(value: Any) -> str:
    """A value as it stands in the file, shortened: `null`, `true`, `'text'`."""
    text = {type(None): "null", bool: str(value).lower()}.get(type(value), repr(value))
    return text if len(text) <= 100 else f"{text[:99]}…"


def _join(place: str, messages: list[str]) -> str:
    first, *others = dict.fromkeys(messages)
    text = " or ".join([first, *(other.rpartition("; ")[2].rpartition("allowed: ")[2] for other in others)])
    # A rule over several keys names the one at fault itself: `dropout.when: …`.
    separator = "" if not place else "." if re.match(r"[\w.]+: ", text) else ": "
    return f"{place}{separator}{text}"


def _locate(location: Iterable[str | int], raw: Any, missing: bool) -> tuple[str, Any]:
    """The path of a mistake in the file, without pydantic's names for the arms of unions, and what stands there."""
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
