"""Parameters of a search space: what may be drawn, when each one is active, and the grid they span.

In a study file a parameter is one of::

    optimizer: adam                                       # a constant
    architecture: {choice: [lenet5, alexnet]}             # numbers, text, booleans or lists
    learning_rate: {float: [1e-4, 1e-1], log: true}       # closed interval; `step: 0.1` instead of log
    dense: {int: [32, 512], log: true}
    dropout: {float: [0, 0.6], when: {architecture: [alexnet]}}
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    RootModel,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import SpecError, suggest

KINDS = ("choice", "float", "int", "value")
LARGEST_GRID = 100_000
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
    """Whether two values are one and the same choice: 1 and 1.0 are, 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


CheckedValue = Annotated[Value, PlainValidator(_check_value)]
Kind = Literal["bool", "int", "float", "text", "json"]


class Conditional(Settings):
    """What every parameter may have: a condition."""

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
        """Whether the condition holds for the parameters drawn so far; one that was not drawn fulfils nothing."""
        return all(
            name in drawn and any(_same(drawn[name], value) for value in allowed) for name, allowed in self.when.items()
        )


class Choice(Conditional):
    """One of several values."""

    choice: Annotated[list[CheckedValue], Field(min_length=1)]

    @field_validator("choice")
    @classmethod
    def _no_value_twice(cls, choice: list[Value]) -> list[Value]:
        for index, value in enumerate(choice):
            if any(_same(value, earlier) for earlier in choice[:index]):
                raise ValueError(f"{shown(value)} stands twice")
        return choice

    @property
    def kind(self) -> Kind:
        """The column type that holds every value; lists and mixtures are JSON text."""
        kinds = {type(value) for value in self.choice}
        if kinds == {int, float}:
            return "float"
        names: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "text"}
        return names.get(kinds.pop(), "json") if len(kinds) == 1 else "json"

    def grid(self) -> Iterable[Value]:
        """Every value."""
        return self.choice

    def canonical(self, value: Value) -> Value:
        """The value as it stands in the study file, where a table has turned 1 into 1.0."""
        return next((allowed for allowed in self.choice if _same(value, allowed)), value)

    def holds(self, value: Value) -> bool:
        """Whether the value is one of these, 1 and 1.0 alike."""
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
        """The value itself."""
        return value

    def holds(self, value: Value) -> bool:
        """Whether the value lies within the bounds, and on a step where there are steps."""
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
    step: float | None = None
    """Only multiples of the step above the lowest value."""

    @property
    def kind(self) -> Kind:
        """The column type."""
        return "float"

    def grid(self) -> Iterable[Value]:
        """Every step of the interval; a SpecError where there are no steps."""
        if self.step is None:
            raise SpecError("a grid needs a choice or a `step:`; or sample with tpe or random")
        (low, high), step = self.bounds, self.step
        return (round(low + i * step, 12) for i in range(int((high - low) / step + 1e-9) + 1))


class Int(_Range):
    """A whole number from a closed interval."""

    bounds: Annotated[tuple[int, int], BeforeValidator(_check_pair)] = Field(alias="int")
    step: int | None = None
    """Only multiples of the step above the lowest value."""

    @property
    def kind(self) -> Kind:
        """The column type."""
        return "int"

    def grid(self) -> Iterable[Value]:
        """Every step of the interval."""
        low, high = self.bounds
        return range(low, high + 1, self.step or 1)


class Constant(Conditional):
    """One value for every trial (where `when` holds)."""

    value: CheckedValue

    @property
    def kind(self) -> Kind:
        """The column type of the value."""
        return Choice(choice=[self.value]).kind

    def grid(self) -> Iterable[Value]:
        """The value alone."""
        return [self.value]

    def canonical(self, value: Value) -> Value:  # noqa: ARG002
        """The value as it stands in the study file."""
        return self.value

    def holds(self, value: Value) -> bool:
        """Whether it is the value."""
        return _same(value, self.value)


def _tag(raw: Any) -> str:
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


class Space(RootModel[dict[str, Parameter]]):
    """Parameters by name, in the order of the study file."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            raise ValueError(f"found {shown(raw)}; allowed: a mapping of parameters, {{}} for none")
        return {name: _expand(name, parameter) for name, parameter in raw.items()}

    @model_validator(mode="after")
    def _check_conditions(self) -> Self:
        for name, parameter in self.root.items():
            for other, allowed in parameter.when.items():
                if other not in self.root:
                    raise ValueError(f"{name}.when: no parameter '{other}'; {suggest(other, self.root)}")
                for value in allowed:
                    if not self.root[other].holds(value):
                        known = self.root[other].model_dump(by_alias=True, exclude={"when"}, exclude_defaults=True)
                        raise ValueError(f"{name}.when.{other}: {value!r} cannot occur; {other} is {known}")
        for name in self.root:
            self._refuse_a_circle(name, [])
        return self

    def _refuse_a_circle(self, name: str, path: list[str]) -> None:
        if name in path:
            raise ValueError(f"{name}.when: conditions go in a circle: {' -> '.join([*path, name])}")
        for other in self.root[name].when:
            self._refuse_a_circle(other, [*path, name])

    def __getitem__(self, name: str) -> "Parameter":
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __len__(self) -> int:
        return len(self.root)

    def ordered(self) -> list[tuple[str, "Parameter"]]:
        """Parameters with each one after those that its condition names, otherwise as in the file."""
        done: dict[str, Parameter] = {}

        def visit(name: str) -> None:
            for other in self.root[name].when:
                visit(other)
            done.setdefault(name, self.root[name])

        for name in self.root:
            visit(name)
        return list(done.items())

    def draw(self, pick: Callable[[str, "Parameter"], Value]) -> dict[str, Value]:
        """One configuration: `pick(name, parameter)` is asked for each active parameter; constants are filled in."""
        drawn: dict[str, Value] = {}
        for name, parameter in self.ordered():
            if parameter.active(drawn):
                drawn[name] = parameter.value if isinstance(parameter, Constant) else pick(name, parameter)
        return drawn

    def grid(self) -> list[dict[str, Value]]:
        """Every configuration once: inactive parameters make no copies. The last parameter varies fastest.

        Raises:
            SpecError: A parameter has no steps, or there are more than LARGEST_GRID configurations.
        """
        configurations: list[dict[str, Value]] = [{}]
        for name, parameter in self.ordered():
            try:
                values = list(islice(parameter.grid(), LARGEST_GRID + 1))
            except SpecError as error:
                raise SpecError(f"space.{name}: {error}") from None
            active = [parameter.active(drawn) for drawn in configurations]
            if sum(len(values) if on else 1 for on in active) > LARGEST_GRID:
                raise SpecError(f"space.{name}: makes a grid of more than {LARGEST_GRID:,}; sample with tpe or random")
            configurations = [
                {**drawn, **extra}
                for drawn, on in zip(configurations, active, strict=True)
                for extra in ([{name: value} for value in values] if on else [{}])
            ]
        return configurations


def _expand(name: Any, raw: Any) -> Any:
    """Short forms: a bare value is a constant; braces need one of the kinds."""
    if isinstance(raw, Choice | Float | Int | Constant):
        return raw
    if not isinstance(raw, Mapping):
        return {"value": raw}
    kinds = [kind for kind in KINDS if kind in raw]
    if len(kinds) != 1:
        found = ", ".join(map(str, raw)) or "{}"
        raise ValueError(f"{name}: found {found}; allowed: one of {', '.join(KINDS)}")
    return raw
