"""What pydantic found wrong, said to a person: one line a place, with what was found and what is allowed."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from tuner.errors import nearest


def lines(error: ValidationError, raw: Any) -> list[str]:
    """One line for each place; several complaints about one place (the arms of a union) are joined."""
    places: dict[str, list[str]] = {}
    for mistake in error.errors():
        place, found = _locate(mistake["loc"], raw)
        message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        if mistake["type"] == "missing":
            message = "missing"
        elif mistake["type"] == "literal_error":
            allowed = re.findall(r"'([^']*)'", mistake["ctx"]["expected"])
            message = f"found {found!r}; {nearest(str(found), allowed)}"
        elif mistake["type"] != "value_error":
            message = f"found {found!r}; {message}"
        places.setdefault(place, []).append(message)
    return [_join(place, messages) for place, messages in places.items()]


def _join(place: str, messages: list[str]) -> str:
    first, *others = dict.fromkeys(messages)
    text = " or ".join([first, *(other.rpartition("; ")[2] for other in others)])
    return f"{place}: {text}" if place else text


def _locate(location: Iterable[str | int], raw: Any) -> tuple[str, Any]:
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
        elif isinstance(raw, Mapping) and index == len(location) - 1 and isinstance(part, str):
            path.append(part)
    return ".".join(path), raw
