"""Parameters of a search space: their values and their conditions.

In a study file a parameter is one of::

    optimizer: adam                                       # a constant
    architecture: {choice: [lenet5, alexnet]}             # numbers, text, booleans or lists
    learning_rate: {float: [1e-4, 1e-1], log: true}       # closed interval; `step: 0.1` instead of log
    dense: {int: [32, 512], log: true}
    dropout: {float: [0, 0.6], when: {architecture: [alexnet]}}
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_serializer, model_validator

from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.config.values import LARGEST_EXACT, CheckedValue, ExactInt, Kind, Value, value_key
from tuner.errors import SpecError, shorten

KINDS = ("choice", "float", "int", "value")
"""Keys of which braces need exactly one."""
LARGEST_WIDTH = sys.float_info.max
"""Largest difference of two bounds."""


def _check_pair(bounds: Any) -> Any:
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise ValueError(f"found {shown(bounds)}; allowed: two numbers, [LOWEST, HIGHEST]")
    return tuple(bounds)


class Conditional(Settings):
    """Condition that every parameter may have."""

    when: dict[str, list[CheckedValue]] = Field(default_factory=dict)
    """Active only where each named parameter is active and has one of these values."""

    @field_validator("when", mode="before")
    @classmethod
    def _one_value_is_a_list_of_one(cls, when: Any) -> Any:
        if isinstance(when, Mapping):
            return {name: allowed if isinstance(allowed, list) else [allowed] for name, allowed in when.items()}
        return when

    @field_validator("when")
    @classmethod
    def _no_condition_without_values(cls, when: dict[str, list[Value]]) -> dict[str, list[Value]]:
        if empty := [name for name, allowed in when.items() if not allowed]:
            raise ValueError(f"{empty[0]}: found []; allowed: at least one value")
        return when

    @model_serializer(mode="wrap")
    def _leave_out_no_condition(self, write: Callable[[Self], dict[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if key != "when" or value}

    def active(self, drawn: Mapping[str, Value]) -> bool:
        """Return True if the condition holds for the parameters drawn so far.

        A parameter that was not drawn fulfils no condition.
        """
        return all(name in drawn and value_key(drawn[name]) in allowed for name, allowed in self._allowed_keys.items())

    @cached_property
    def _allowed_keys(self) -> dict[str, frozenset[tuple[str, Any]]]:
        return {name: frozenset(map(value_key, allowed)) for name, allowed in self.when.items()}


class Choice(Conditional):
    """One of several values."""

    choice: Annotated[list[CheckedValue], Field(min_length=1)]
    """Values: numbers, text, booleans or lists."""

    @field_validator("choice")
    @classmethod
    def _no_value_twice(cls, choice: list[Value]) -> list[Value]:
        found: set[tuple[str, Any]] = set()
        for value in choice:
            if value_key(value) in found:
                raise ValueError(f"{shown(value)} stands twice")
            found.add(value_key(value))
        return choice

    @field_validator("choice")
    @classmethod
    def _no_number_that_a_column_rounds(cls, choice: list[Value]) -> list[Value]:
        if {type(value) for value in choice} == {int, float}:
            for value in choice:
                if isinstance(value, int) and abs(value) > LARGEST_EXACT:
                    raise ValueError(f"found {value} beside fractions; allowed: whole numbers to 2**53")
        return choice

    @property
    def kind(self) -> Kind:
        """Type of the column that holds every value.

        Lists and mixtures are JSON text.
        """
        kinds = {type(value) for value in self.choice}
        if kinds == {int, float}:
            return "float"
        names: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
        return names.get(kinds.pop(), "json") if len(kinds) == 1 else "json"

    def grid(self) -> Iterable[Value]:
        """Return every value."""
        return self.choice

    def canonical(self, value: Value) -> Value:
        """Return the value as the study file has it.

        Tables may hold 1.0 for 1.
        """
        return self._by_key.get(value_key(value), value)

    def holds(self, value: Value) -> bool:
        """Return True if the value is one of the choices.

        1 and 1.0 are the same choice.
        """
        return value_key(value) in self._by_key

    @cached_property
    def _by_key(self) -> dict[tuple[str, Any], Value]:
        return {value_key(value): value for value in self.choice}


class _Range(Conditional):
    log: bool = False
    """Draw evenly over the logarithm."""

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        low, high = self.bounds
        if low > high:
            raise ValueError(f"the range [{low}, {high}] is reversed; write [{high}, {low}]")
        if low == high:
            raise ValueError(f"the range [{low}, {high}] is empty; a constant is written without braces: {low}")
        if self.log and low <= 0:
            raise ValueError(f"a log range must lie above zero, found [{low}, {high}]")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if not math.isfinite(high - low):
            raise ValueError(f"the range [{low}, {high}] is too wide; allowed: up to {LARGEST_WIDTH:g}")
        if self.step is not None and not 0 < self.step <= (high - low) * (1 + 1e-9):
            raise ValueError(f"step {self.step} must be above 0 and at most {high - low:g}")
        return self

    @property
    def steps(self) -> int:
        """Number of steps from the lowest to the highest value.

        It is 0 without steps.
        """
        low, high = (Decimal(repr(bound)) for bound in self.bounds)
        return int((high - low) / Decimal(repr(self.step))) if self.step is not None else 0

    if TYPE_CHECKING:  # each range declares these with its own number type

        @property
        def bounds(self) -> tuple[float, float]: ...

        @property
        def step(self) -> float | None: ...


class Float(_Range):
    """A real number from a closed interval."""

    bounds: Annotated[tuple[float, float], BeforeValidator(_check_pair)] = Field(alias="float")
    """Lowest and highest value."""
    step: float | None = None
    """Only multiples of the step above the lowest value."""

    @model_validator(mode="after")
    def _check_steps_differ(self) -> Self:
        least = math.ulp(max(map(abs, self.bounds)))
        if self.step is not None and self.step < least:
            raise ValueError(f"step {self.step:g} is below the {least:g} between two numbers near {self.bounds[1]:g}")
        if self.step is not None and Decimal(repr(self._at(self.steps))) != self._decimal_at(self.steps):
            raise ValueError(f"step {self.step} has more digits than its multiples; write {self.step:.12g}")
        return self

    @property
    def kind(self) -> Kind:
        """Type of the column that holds the values."""
        return "float"

    @property
    def reachable(self) -> tuple[float, float]:
        """The bounds, the upper one on a step."""
        return self.bounds if self.step is None else (self.bounds[0], self._at(self.steps))

    def grid(self) -> Iterable[Value]:
        """Return every step of the interval.

        Raise SpecError if there are no steps.
        """
        if self.step is None:
            raise SpecError("a grid needs a choice or a `step:`; or sample with tpe or random")
        return (self._at(index) for index in range(self.steps + 1))

    def canonical(self, value: Value) -> Value:
        """Return the value on its step as people write it.

        For example, it is 0.3 and not 0.30000000000000004.
        """
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return self.nearest(value) if is_number and self.step is not None else value  # type: ignore[arg-type]

    def nearest(self, value: float) -> float:
        """Return the allowed value that is nearest to a number.

        An allowed value is within the bounds, and on a step if there are steps.
        """
        low, high = self.bounds
        within = float(min(max(value, low), high))
        return within if self.step is None else self._at(min(round((within - low) / self.step), self.steps))

    def holds(self, value: Value) -> bool:
        """Return True if the value is on a step.

        Return False without steps, because a draw then equals no given value.
        """
        if self.step is None or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        nearest = self.nearest(value)
        return abs(value - nearest) <= max(1e-9 * self.step, math.ulp(nearest))

    def _at(self, index: int) -> float:
        """Return a step's value.

        It is computed in decimals, because 3 * 0.1 is not 0.3.
        """
        return float(self._decimal_at(index))

    def _decimal_at(self, index: int) -> Decimal:
        return Decimal(repr(self.bounds[0])) + index * Decimal(repr(self.step))


class Int(_Range):
    """A whole number from a closed interval."""

    bounds: Annotated[tuple[ExactInt, ExactInt], BeforeValidator(_check_pair)] = Field(alias="int")
    """Lowest and highest value."""
    step: int | None = None
    """Only multiples of the step above the lowest value."""

    @property
    def kind(self) -> Kind:
        """Type of the column that holds the values."""
        return "int"

    @property
    def reachable(self) -> tuple[int, int]:
        """The bounds, the upper one on a step."""
        low, high = self.bounds
        return low, high - (high - low) % (self.step or 1)

    def nearest(self, value: float) -> int:
        """Return the allowed value that is nearest to a number.

        An allowed value is within the bounds and on a step.
        """
        (low, high), step = self.reachable, self.step or 1
        return low + round((min(max(value, low), high) - low) / step) * step

    def grid(self) -> Iterable[Value]:
        """Return every step of the interval."""
        low, high = self.bounds
        return range(low, high + 1, self.step or 1)

    def canonical(self, value: Value) -> Value:
        """Return the value as an integer, because a condition may name 3.0."""
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def holds(self, value: Value) -> bool:
        """Return True if the value is within bounds and on a step."""
        low, high = self.bounds
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        return (value - low) % (self.step or 1) == 0


class Constant(Conditional):
    """One value for every trial in which its condition holds."""

    value: CheckedValue
    """The value. Without a condition it is written without braces."""

    @property
    def kind(self) -> Kind:
        """Type of the column that holds the value."""
        return Choice(choice=[self.value]).kind

    def grid(self) -> Iterable[Value]:
        """Return the value alone."""
        return [self.value]

    def canonical(self, value: Value) -> Value:  # noqa: ARG002
        """Return the value as the study file has it."""
        return self.value

    def holds(self, value: Value) -> bool:
        """Return True if it is the value."""
        return value_key(value) == value_key(self.value)


def _tag(raw: Any) -> str:
    """Return the name of the class that reads a parameter."""
    if isinstance(raw, Conditional):
        return type(raw).__name__
    return next((kind.capitalize() for kind in ("choice", "float", "int") if kind in raw), "Constant")


Parameter = Annotated[
    Annotated[Choice, Tag("Choice")]
    | Annotated[Float, Tag("Float")]
    | Annotated[Int, Tag("Int")]
    | Annotated[Constant, Tag("Constant")],
    Discriminator(_tag),
]


def expand_parameter(name: Any, raw: Any) -> Any:
    """Turn a bare value into a constant.

    Braces need one of the kinds.
    """
    if isinstance(raw, Choice | Float | Int | Constant):
        return raw
    if not isinstance(raw, Mapping):
        return {"value": raw}
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        found = shorten(", ".join(map(str, raw))) or "{}"
        raise ValueError(f"{shorten(str(name))}: found {found}; allowed: one of {', '.join(KINDS)}")
    return raw
