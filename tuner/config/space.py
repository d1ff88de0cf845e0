"""A search space: parameters by name, and the grid they span."""

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Self

from pydantic import ConfigDict, RootModel, model_validator

from tuner.config.parameters import Constant, Parameter, expand_parameter
from tuner.config.validation_messages import shown
from tuner.config.values import Value, value_key
from tuner.errors import SpecError, shorten, suggest

LARGEST_GRID = 100_000
"""Most configurations of a grid."""
MOST_PARAMETERS = 200
"""Most parameters of a space, because checks of conditions compare each with all others."""


class Space(RootModel[dict[str, Parameter]]):
    """Parameters by name, in the order of the study file."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _read_short_forms(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            raise ValueError(f"found {shown(raw)}; allowed: a mapping of parameters, {{}} for none")
        return {name: expand_parameter(name, parameter) for name, parameter in raw.items()}

    @model_validator(mode="after")
    def _check_conditions(self) -> Self:
        if len(self.root) > MOST_PARAMETERS:
            raise ValueError(f"found {len(self.root):,} parameters; allowed: up to {MOST_PARAMETERS}")
        for name, parameter in self.root.items():
            for other, allowed in parameter.when.items():
                self._check_condition(f"{shorten(name)}.when", other, allowed)
            # as draws have them: 0.3, not 0.30000000000000004
            when = {other: [*map(self.root[other].canonical, allowed)] for other, allowed in parameter.when.items()}
            self.root[name] = parameter.model_copy(update={"when": when})
        for name in self.root:
            if empty := [other for other, allowed in self.required[name].items() if not allowed]:
                raise ValueError(f"{name}.when: never holds, because all its conditions leave {empty[0]} no value")
        return self

    def _check_condition(self, path: str, other: str, allowed: list[Value]) -> None:
        if other not in self.root:
            raise ValueError(f"{path}: no parameter {shown(other)}; {suggest(other, self.root)}")
        for value in allowed:
            if not self.root[other].holds(value):
                known = self.root[other].model_dump(by_alias=True, exclude={"when"}, exclude_defaults=True)
                hint = "" if "float" not in known or "step" in known else ", whose draws equal no value; give it a step"
                raise ValueError(f"{path}.{other}: {shown(value)} cannot occur; {other} is {shown(known)}{hint}")

    def __getitem__(self, name: str) -> "Parameter":
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __len__(self) -> int:
        return len(self.root)

    def ordered(self) -> list[tuple[str, "Parameter"]]:
        """Return the parameters, each after those that its condition names.

        Otherwise they have the file's order.

        Raises:
            ValueError: Conditions go in a circle.
        """
        done: dict[str, Parameter] = {}
        for first in self.root:
            path = [first]
            while path:
                name = path[-1]
                missing = next((other for other in self.root[name].when if other not in done), None)
                if missing is None:
                    done.setdefault(name, self.root[name])
                    path.pop()
                elif missing in path:
                    circle = " -> ".join([*path, missing])
                    raise ValueError(f"{first}.when: conditions go in a circle: {shorten(circle)}")
                else:
                    path.append(missing)
        return list(done.items())

    @cached_property
    def required(self) -> Mapping[str, Mapping[str, list[Value]]]:
        """Values that other parameters must have for each parameter to be active.

        They are those of its condition, and of the conditions of the parameters that it names.
        """
        required: dict[str, dict[str, list[Value]]] = {}
        for name, parameter in self.ordered():
            of_name = required[name] = dict(parameter.when)
            for other in parameter.when:
                for key, allowed in required[other].items():
                    of_name[key] = _common(of_name[key], allowed) if key in of_name else allowed
        return required

    def draw(self, pick: Callable[[str, "Parameter"], Value]) -> dict[str, Value]:
        """Return one configuration of the active parameters.

        Args:
            pick: Called as `pick(name, parameter)` for each active parameter but constants.
        """
        drawn: dict[str, Value] = {}
        for name, parameter in self.ordered():
            if parameter.active(drawn):
                drawn[name] = parameter.value if isinstance(parameter, Constant) else pick(name, parameter)
        return drawn

    def grid(self) -> list[dict[str, Value]]:
        """Return every configuration once, the last parameter varying fastest.

        Inactive parameters make no copies.

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


def _common(one: list[Value], other: list[Value]) -> list[Value]:
    """Return the values that stand in both lists."""
    keys = set(map(value_key, other))
    return [value for value in one if value_key(value) in keys]
