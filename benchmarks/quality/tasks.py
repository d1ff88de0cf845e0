"""Recorded learning curves as tasks of a search, without training again."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tuner.config.parameters import Choice, Float, Int, Parameter
from tuner.config.registry import ARCHITECTURES, METRICS
from tuner.config.study import StudyConfig, parse_spec
from tuner.config.training import TrainingConfig

RECORDED = {
    *("config", "seed", "epoch", "val_accuracy", "val_loss", "train_accuracy", "train_loss"),
    *("test_accuracy", "test_loss", "cpu_seconds"),
}
"""Columns of a recording that are no parameters."""
SEVERAL = 6
"""Numbers of a parameter from which it counts as a range."""
WIDE = 20
"""Ratio of highest and lowest number from which a range is logarithmic."""


@dataclass(frozen=True)
class Curve:
    """One recorded training: the objective and the CPU seconds of each epoch."""

    values: np.ndarray
    seconds: np.ndarray


@dataclass
class Task:
    """A recording, and the metric by which its configurations are compared."""

    name: str
    metric: str
    configurations: pd.DataFrame
    """One row per configuration, one column per parameter."""
    curves: list[list[Curve]]
    """Recorded trainings of each configuration, one per seed."""
    _nearest: dict[tuple[Any, ...], int] = field(default_factory=dict)

    @property
    def direction(self) -> str:
        """Return maximize or minimize, as the metric wants."""
        return METRICS[self.metric].direction

    @property
    def sign(self) -> int:
        """Factor that makes more of the metric better."""
        return 1 if self.direction == "maximize" else -1

    @cached_property
    def finals(self) -> np.ndarray:
        """Last value of each configuration, the mean over its recorded seeds."""
        return np.array([np.mean([c.values[-1] for c in seeds]) for seeds in self.curves])

    @cached_property
    def regrets(self) -> np.ndarray:
        """Distance of each configuration from the best one, 1 for the median configuration."""
        signed = self.sign * self.finals
        return (signed.max() - signed) / (signed.max() - np.median(signed))

    @cached_property
    def mean_seconds(self) -> float:
        """Mean CPU seconds of an epoch."""
        return float(np.mean([c.seconds.mean() for seeds in self.curves for c in seeds]))

    @cached_property
    def max_epochs(self) -> int:
        """Epochs of the longest recorded training."""
        return max(len(c.values) for seeds in self.curves for c in seeds)

    @cached_property
    def space(self) -> dict[str, Any]:
        """The search space that the recording covers, as a study file has it."""
        table = self.configurations
        return {str(name): _parameter(table, str(name)) for name in table}

    @cached_property
    def grid(self) -> dict[str, Any]:
        """The search space with the recorded values in place of ranges."""
        table = self.configurations
        return {str(name): _parameter(table, str(name), several=len(table) + 1) for name in table}

    def study(self, search: dict[str, Any], stopping: Any) -> StudyConfig:
        """Return the study that searches this task. A grid has the recorded values."""
        training: dict[str, Any] = {"epochs": self.max_epochs} if "epochs" not in self.space else {}
        if "architecture" not in self.space:
            training["architecture"] = _architecture(set(self.space))
        return parse_spec(
            {
                "study": self.name.replace(":", "-"),
                "training": training,
                "space": self.grid if search.get("sampler") == "grid" else self.space,
                "objective": {self.direction: self.metric},
                "search": search,
                "stopping": stopping,
            }
        )

    def nearest(self, parameters: dict[str, Any]) -> int:
        """Return the index of the recorded configuration that is nearest to the parameters."""
        key = tuple(parameters.get(str(name)) for name in self.configurations)
        if key not in self._nearest:
            point = np.array([code(value) for (code, _), value in zip(self._codes, key, strict=True)])
            distances = sum(
                _distance(column, value, ordered)
                for column, value, (_, ordered) in zip(self._encoded, point, self._codes, strict=True)
            )
            self._nearest[key] = int(np.argmin(distances))
        return self._nearest[key]

    @cached_property
    def _codes(self) -> list[tuple[Any, bool]]:
        parameters = self.study({}, "none").space
        return [_code(parameters[str(name)]) for name in self.configurations]

    @cached_property
    def _encoded(self) -> list[np.ndarray]:
        """Columns of the configurations as numbers, NaN where a parameter is not active."""
        table = self.configurations.astype(object).where(self.configurations.notna(), None)
        columns = zip(table, self._codes, strict=True)
        return [np.array([code(value) for value in table[name]]) for name, (code, _) in columns]


def _distance(column: np.ndarray, value: float, ordered: bool) -> np.ndarray:
    """Return squared distances along one parameter. Another name is as far as both ends."""
    apart = (column - value) ** 2 if ordered else (column != value).astype(float)
    return np.where(np.isnan(column) | np.isnan(value), np.isnan(column) != np.isnan(value), apart)


def _code(parameter: Parameter) -> tuple[Any, bool]:
    """Return a function from a value to a number, and whether the numbers have an order."""
    if isinstance(parameter, Float | Int):
        low, high = (np.log(b) if parameter.log else b for b in parameter.bounds)
        scale = np.log if parameter.log else float
        return lambda v: np.nan if v is None else (scale(v) - low) / (high - low), True
    values = parameter.choice if isinstance(parameter, Choice) else [parameter.value]
    ordered = parameter.kind in ("int", "float")
    width = max(len(values) - 1, 1) if ordered else 1
    return lambda v: np.nan if v is None else values.index(v) / width, ordered


def _parameter(table: pd.DataFrame, name: str, several: int = SEVERAL) -> Any:
    values = sorted(table[name].dropna().unique().tolist())
    entry: dict[str, Any] = {"choice": values}
    if len(values) >= several and not isinstance(values[0], str | bool):
        is_log = values[0] > 0 and values[-1] / values[0] >= WIDE
        kind = "int" if all(float(v).is_integer() for v in values) else "float"
        entry = {kind: [values[0], values[-1]], "log": is_log}
    when = _condition(table, name)
    return entry | ({"when": when} if when else {})


def _condition(table: pd.DataFrame, name: str) -> dict[str, list[Any]]:
    """Return the parameter and its values that make another one active."""
    if table[name].notna().all():
        return {}
    for other in table.columns:
        if other == name or table[other].nunique() >= SEVERAL:
            continue
        shares = table[name].notna().groupby(table[other]).mean()
        if shares.isin([0, 1]).all():
            return {str(other): shares[shares == 1].index.tolist()}
    raise ValueError(f"{name}: found nulls that no other parameter explains")


def _architecture(parameters: set[str]) -> str:
    """Return an architecture that has every hyperparameter of a recording."""
    own = parameters - set(TrainingConfig.model_fields)
    names = ["vazquez_base", *ARCHITECTURES]
    return next(name for name in names if own <= set(ARCHITECTURES[name].hyperparameters))


def load_task(folder: Path, text: str) -> Task:
    """Read a task, written `FILE` or `FILE:METRIC`.

    Args:
        folder: Where the recordings lie.
        text: Name of a recording without its ending, and val_accuracy unless it names a metric.
    """
    name, _, metric = text.partition(":")
    metric = metric or "val_accuracy"
    table = pd.read_parquet(folder / f"{name}.parquet").sort_values(["config", "seed", "epoch"])
    names = [column for column in table if column not in RECORDED and table[column].notna().any()]
    configurations = table.groupby("config")[names].first().astype(object)
    configurations = configurations.apply(lambda column: _plain(column))
    curves = [
        [
            Curve(one[metric].to_numpy(dtype=float), one["cpu_seconds"].to_numpy(dtype=float))
            for _, one in trainings.groupby("seed")
        ]
        for _, trainings in table.groupby("config")
    ]
    return Task(text, metric, configurations.reset_index(drop=True), curves)


def _plain(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Turn whole numbers into integers, because nulls have made floats of them."""
    given = column.dropna()
    if all(isinstance(v, int | float) and float(v).is_integer() for v in given):
        return column.map(lambda v: int(v) if pd.notna(v) else None).astype(object)
    return column
