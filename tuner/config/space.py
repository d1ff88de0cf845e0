"""A search space: parameters by name, and the grid they span."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Self

from pydantic import ConfigDict, RootModel, model_validator

from tuner.config.parameters import Constant, Parameter, Value, expand_parameter
from tuner.config.validation_messages import shown
from tuner.errors import SpecError, suggest

LARGEST_GRID = 100_000
"""Most configurations of a grid."""


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
        for name, parameter in self.root.items():
            for other, allowed in parameter.when.items():
                self._check_condition(f"{name}.when", other, allowed)
        for name in self.root:
            self._refuse_circle(name, [])
        return self

    def _check_condition(self, path: str, other: str, allowed: list[Value]) -> None:
        if other not in self.root:
            raise ValueError(f"{path}: no parameter '{other}'; {suggest(other, self.root)}")
        for value in allowed:
            if not self.root[other].holds(value):
                known = self.root[other].model_dump(by_alias=True, exclude={"when"}, exclude_defaults=True)
                raise ValueError(f"{path}.{other}: {value!r} cannot occur; {other} is {known}")

    def _refuse_circle(self, name: str, path: list[str]) -> None:
        if name in path:
            raise ValueError(f"{name}.when: conditions go in a circle: {' -> '.join([*path, name])}")
        for other in self.root[name].when:
            self._refuse_circle(other, [*path, name])

    def __getitem__(self, name: str) -> "Parameter":
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __len__(self) -> int:
        return len(self.root)

    def ordered(self) -> list[tuple[str, "Parameter"]]:
        """Return the parameters in the file's order, each after those that its condition names."""
        done: dict[str, Parameter] = {}

        def visit(name: str) -> None:
            for other in self.root[name].when:
                visit(other)
            done.setdefault(name, self.root[name])

        for name in self.root:
            visit(name)
        return list(done.items())

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
