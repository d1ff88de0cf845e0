"""Trials by their parameters: positions on axes, and medians over two parameters."""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.analysis.formatting import number_text
from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.config.space import Space

BINS = 8
"""Cells along a numeric parameter of a heat map."""


def searched_parameters(space: Space) -> dict[str, Parameter]:
    """Return the parameters of a space, constants left out."""
    return {name: each for name, each in space.root.items() if not isinstance(each, Constant)}


def choice_values(choice: Choice) -> list[Any]:
    """Return a choice's values as the table holds them, numbers ascending."""
    if choice.kind == "json":
        return [json.dumps(value) for value in choice.choice]
    return sorted(choice.choice, key=float) if choice.kind in ("int", "float") else choice.choice


def is_log(parameter: Parameter) -> bool:
    """Return True if the parameter is drawn over the logarithm."""
    return isinstance(parameter, Float | Int) and parameter.log


def positions(cells: "pd.Series[Any]", parameter: Parameter) -> NDArray[np.float64]:
    """Return each value's position in the allowed range, from 0 to 1.

    Missing values have no position (NaN).
    """
    if isinstance(parameter, Choice):
        values = choice_values(parameter)
        places = {value: index / max(len(values) - 1, 1) for index, value in enumerate(values)}
        return cells.map(places).to_numpy(dtype=float, na_value=np.nan)
    low, high = _scaled_bounds(parameter)
    found = cells.to_numpy(dtype=float, na_value=np.nan)
    return ((np.log(found) if is_log(parameter) else found) - low) / (high - low)


def _scaled_bounds(parameter: Parameter) -> tuple[float, float]:
    assert isinstance(parameter, Float | Int)
    low, high = parameter.bounds
    return (math.log(low), math.log(high)) if is_log(parameter) else (float(low), float(high))


def cell_edges(parameter: Parameter, bins: int = BINS) -> list[float]:
    """Return the edges of a numeric parameter's cells, evenly over its scale."""
    low, high = _scaled_bounds(parameter)
    edges = np.linspace(low, high, bins + 1)
    return [float(edge) for edge in (np.exp(edges) if is_log(parameter) else edges)]


def medians(trials: pd.DataFrame, parameters: Mapping[str, Parameter]) -> pd.DataFrame:
    """Return the trials' median value in each cell of two parameters.

    Trials without a value, or without one of the parameters, are left out.

    Args:
        trials: Rows of `StudyResults.trials`.
        parameters: Two searched parameters.

    Returns:
        One row per cell that holds a trial: `x` and `y` (index of the cell along each parameter),
        `median` (of `value`) and `count`.
    """
    valued = trials.dropna(subset=["value", *(f"param_{name}" for name in parameters)])
    cells = {}
    for axis, (name, parameter) in zip("xy", parameters.items(), strict=True):
        last = len(cell_names(parameter)) - 1
        scaled = positions(valued[f"param_{name}"], parameter)
        cells[axis] = np.rint(scaled * last) if isinstance(parameter, Choice) else np.floor(scaled * (last + 1))
        cells[axis] = np.clip(cells[axis], 0, last)
    placed = pd.DataFrame({**cells, "value": valued["value"].to_numpy(float)}).dropna()
    found = placed.groupby(["x", "y"])["value"].agg(median="median", count="size").reset_index()
    return found.astype({"x": int, "y": int})


def cell_names(parameter: Parameter) -> list[str]:
    """Name the cells along a parameter: its choices, or ranges of numbers."""
    if isinstance(parameter, Choice):
        return [number_text(value) for value in choice_values(parameter)]
    edges = [f"{edge:.3g}" for edge in cell_edges(parameter)]
    return [f"{low} to {high}" for low, high in pairwise(edges)]
