"""Parameters of a search space: their values and their conditions.

In a study file a parameter is one of::

    optimizer: adam                                       # a constant
    architecture: {choice: [lenet5, alexnet]}             # numbers, text, booleans or lists
    learning_rate: {float: [1e-4, 1e-1], log: true}       # closed interval; `step: 0.1` instead of log
    dense: {int: [32, 512], log: true}
    dropout: {float: [0, 0.6], when: {architecture: [alexnet]}}
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import SpecError

KINDS = ("choice", "float", "int", "value")
"""Keys of which braces need exactly one."""
Value = bool | int | float | str | list[Any]


def _check_value(value: Any) -> Value:
    if not isinstance(value, bool | int | float | str | list) or value != value:
        raise ValueError(f"found {shown(value)}; allowed: a number, text, boolean or list")
    return value


def _check_pair(bounds: Any) -> Any:
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise ValueError(f"found {shown(bounds)}; allowed: two numbers, [LOWEST, HIGHEST]")
    return tuple(bounds)


def _same(one: Value, other: Value) -> bool:
    """Return True if two values are one choice, like 1 and 1.0."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


CheckedValue = Annotated[Value, PlainValidator(_check_value)]
Kind = Literal["bool", "int", "float", "text", "json"]


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
        return all(
            name in drawn and any(_same(drawn[name], value) for value in allowed) for name, allowed in self.when.items()
        )


class Choice(Conditional):
    """One of several values."""

    choice: Annotated[list[CheckedValue], Field(min_length=1)]
    """Values: numbers, text, booleans or lists."""

    @field_validator("choice")
    @classmethod
    def _no_value_twice(cls, choice: list[Value]) -> list[Value]:
        for index, value in enumerate(choice):
            if any(_same(value, earlier) for earlier in choice[:index]):
                raise ValueError(f"{shown(value)} stands twice")
        return choice

    @property
    def kind(self) -> Kind:
        """Type of the column that holds every value. Lists and mixtures are JSON text."""
        kinds = {type(value) for value in self.choice}
        if kinds == {int, float}:
            return "float"
        names: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
        return names.get(kinds.pop(), "json") if len(kinds) == 1 else "json"

    def grid(self) -> Iterable[Value]:
        """Return every value."""
        return self.choice

    def canonical(self, value: Value) -> Value:
        """Return the value as the study file has it, for tables hold 1.0."""
        return next((allowed for allowed in self.choice if _same(value, allowed)), value)

    def holds(self, value: Value) -> bool:
        """Return True if the value is one of the choices, 1 and 1.0 alike."""
        return any(_same(value, allowed) for allowed in self.choice)


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
        if self.step is not None and not 0 < self.step <= (high - low) * (1 + 1e-9):
            raise ValueError(f"step {self.step} must be above 0 and at most {high - low:g}")
        return self

    def canonical(self, value: Value) -> Value:
        """Return the value itself."""
        return value

    def holds(self, value: Value) -> bool:
        """Return True if the value lies within the bounds and on a step."""
        low, high = self.bounds
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        step = self.step or (1 if isinstance(self, Int) else None)
        return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-9

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

    @property
    def kind(self) -> Kind:
        """Type of the column that holds the values."""
        return "float"

    def grid(self) -> Iterable[Value]:
        """Return every step of the interval. Raise SpecError if there are no steps."""
        if self.step is None:
            raise SpecError("a grid needs a choice or a `step:`; or sample with tpe or random")
        (low, high), step = self.bounds, self.step
        return (round(low + i * step, 12) for i in range(int((high - low) / step + 1e-9) + 1))


class Int(_Range):
    """A whole number from a closed interval."""

    bounds: Annotated[tuple[int, int], BeforeValidator(_check_pair)] = Field(alias="int")
    """Lowest and highest value."""
    step: int | None = None
    """Only multiples of the step above the lowest value."""

    @property
    def kind(self) -> Kind:
        """Type of the column that holds the values."""
        return "int"

    def grid(self) -> Iterable[Value]:
        """Return every step of the interval."""
        low, high = self.bounds
        return range(low, high + 1, self.step or 1)


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
        return _same(value, self.value)


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
    """Turn a bare value into a constant. Braces need one of the kinds."""
    if isinstance(raw, Choice | Float | Int | Constant):
        return raw
    if not isinstance(raw, Mapping):
        return {"value": raw}
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        found = ", ".join(map(str, raw)) or "{}"
        raise ValueError(f"{name}: found {found}; allowed: one of {', '.join(KINDS)}")
    return raw
