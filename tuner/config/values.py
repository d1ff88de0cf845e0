"""Values of parameters, and the keys under which equal values meet."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from tuner.config.validation_messages import shown

Value = bool | int | float | str | list[Any]


def _check_value(value: Any) -> Value:
    if not isinstance(value, bool | int | float | str | list) or value in (math.inf, -math.inf) or value != value:
        raise ValueError(f"found {shown(value)}; allowed: a number, text, boolean or list")
    return value


def value_key(value: Value) -> tuple[str, Any]:
    """Return a key that is the same for equal values only.

    1 and 1.0 are equal. 1 and true are not.
    """
    if isinstance(value, bool | list):
        return type(value).__name__, repr(value)
    return ("text" if isinstance(value, str) else "number"), value


LARGEST_EXACT = 2**53
"""Largest whole number up to which floats hold each one, as samplers and columns need."""
ExactInt = Annotated[int, Field(ge=-LARGEST_EXACT, le=LARGEST_EXACT)]
CheckedValue = Annotated[Value, PlainValidator(_check_value)]
Kind = Literal["bool", "int", "float", "text", "json"]
