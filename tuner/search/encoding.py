"""Configurations as numbers: units in [0, 1] to change them, features to compare them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.config.space import Space
from tuner.config.values import Value
from tuner.search.optuna_study import to_optuna

Array = NDArray[np.float64]

STEP = 0.12
"""Standard deviation of a change, as a share of the range."""


class Encoding:
    """The numbers of a search space, one row per configuration.

    A unit is the place of a parameter within its range or among its choices, NaN while it is not
    active. Numbers keep their order, also as choices. Other choices get a feature each.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        drawn = [(name, p) for name, p in space.ordered() if not isinstance(p, Constant)]
        self._columns = [_Column(name, parameter) for name, parameter in drawn]
        self._index = {name: index for index, (name, _) in enumerate(drawn)}
        self.width = len(drawn)
        self.groups = [index for index, one in enumerate(self._columns) for _ in range(one.width)]

    def units(self, parameters: Mapping[str, Any]) -> Array:
        """Return the units of a configuration in Optuna's form."""
        values = ((column, parameters.get(column.name)) for column in self._columns)
        return np.array([math.nan if value is None else column.unit(value) for column, value in values])

    def features(self, units: Array) -> Array:
        """Return the features of configurations. An inactive parameter lies in the middle."""
        columns = enumerate(self._columns)
        return np.concatenate([column.features(units[:, i]) for i, column in columns], axis=1)

    def draw(self, count: int, random: np.random.Generator) -> Array:
        """Draw the units of configurations."""
        return self._complete(random.random((count, len(self._columns))))

    def change(self, units: Array, random: np.random.Generator) -> Array:
        """Change about two parameters of each configuration, at least one."""
        rows, width = units.shape
        changed = random.random((rows, width)) < 2 / max(width, 2)
        changed[np.arange(rows), random.integers(width, size=rows)] = True
        spread = np.array([column.spread for column in self._columns])
        near = np.clip(units + spread * random.normal(size=units.shape), 0, 1)
        drawn = random.random(units.shape)
        is_far = np.isnan(units) | ~np.array([column.is_ordered for column in self._columns])
        return self._complete(np.where(changed | np.isnan(units), np.where(is_far, drawn, near), units))

    def parameters(self, units: Array) -> dict[str, Any]:
        """Return a configuration in Optuna's form, its active parameters only."""
        drawn: dict[str, Any] = {}

        def pick(name: str, parameter: Parameter) -> Value:
            value = self._columns[self._index[name]].value(float(units[self._index[name]]))
            drawn[name] = to_optuna(parameter, value)
            return value

        self._space.draw(pick)
        return drawn

    def _complete(self, units: Array) -> Array:
        """Move units to values that exist, and make inactive ones NaN."""
        snapped = np.stack([c.snap(units[:, i]) for i, c in enumerate(self._columns)], axis=1)
        for index, column in enumerate(self._columns):
            for name, allowed in column.parameter.when.items():
                snapped[~self._holds(snapped, name, allowed), index] = math.nan
        return snapped

    def _holds(self, units: Array, name: str, allowed: list[Value]) -> NDArray[np.bool_]:
        """Return in which rows a parameter is active with an allowed value."""
        if name not in self._index:
            constant = self._space[name]
            return np.full(len(units), any(constant.holds(value) for value in allowed))
        column = self._columns[self._index[name]]
        wanted = [column.unit(to_optuna(column.parameter, value)) for value in allowed]
        apart = np.abs(units[:, [self._index[name]]] - np.array(wanted))
        return np.asarray((apart < 1e-9).any(axis=1))


class _Column:
    """One parameter, as units and features."""

    def __init__(self, name: str, parameter: Parameter) -> None:
        self.name, self.parameter = name, parameter
        self.is_ordered = not isinstance(parameter, Choice) or parameter.kind in ("int", "float")
        self.choices: list[Any] = []
        if isinstance(parameter, Choice):
            given: list[Any] = parameter.choice
            self.choices = sorted(given) if self.is_ordered else given
        self._known = {to_optuna(parameter, c): i for i, c in enumerate(self.choices)}
        self.width = 1 if self.is_ordered else len(self.choices)
        self.spread = max(STEP, 0.8 / len(self.choices) if self.choices else 0.0)

    def unit(self, value: Any) -> float:
        """Return the unit of a value in Optuna's form."""
        parameter = self.parameter
        if self.choices:
            return (self._known[value] + 0.5) / len(self.choices)
        assert isinstance(parameter, Float | Int)
        low, high = parameter.bounds
        if parameter.log:
            return math.log(value / low) / math.log(high / low)
        return float((value - low) / (high - low))

    def value(self, unit: float) -> Value:
        """Return the value of a unit as the study file has it."""
        parameter = self.parameter
        if self.choices:
            given: Value = self.choices[min(int(unit * len(self.choices)), len(self.choices) - 1)]
            return given
        value = float(self._values(np.array([unit]))[0])
        return round(value) if isinstance(parameter, Int) else parameter.canonical(value)

    def snap(self, units: Array) -> Array:
        """Move units to the nearest values that exist."""
        if self.choices:
            count = len(self.choices)
            return np.asarray((np.minimum(np.floor(units * count), count - 1) + 0.5) / count)
        assert isinstance(self.parameter, Float | Int)
        low, high = self.parameter.bounds
        values = self._values(units)
        if self.parameter.log:
            return np.asarray(np.log(values / low) / np.log(high / low))
        return np.asarray((values - low) / (high - low))

    def features(self, units: Array) -> Array:
        """Return one feature for numbers, one per name for other choices."""
        if self.is_ordered:
            return np.where(np.isnan(units), 0.5, units)[:, None]
        index = np.floor(np.nan_to_num(units, nan=-1.0) * len(self.choices))
        return np.asarray(math.sqrt(0.5) * (index[:, None] == np.arange(len(self.choices))))

    def _values(self, units: Array) -> Array:
        """Return the numbers of a range, on its steps."""
        assert isinstance(self.parameter, Float | Int)
        low, high = self.parameter.bounds
        values = low * (high / low) ** units if self.parameter.log else low + (high - low) * units
        step = self.parameter.step or (1 if isinstance(self.parameter, Int) else None)
        if step is not None:
            most = math.floor((high - low) / step + 1e-9)
            values = np.round(low + step * np.minimum(np.round((values - low) / step), most), 12)
        return np.asarray(np.clip(values, low, high))
