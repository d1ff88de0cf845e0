import numpy as np
import pandas as pd
import pytest

from tuner.analysis.parameters import cell_names, medians, positions, searched_parameters
from tuner.config.space import Space

SPACE = Space(
    {
        "rate": {"float": [1e-4, 1e-2], "log": True},
        "width": {"int": [0, 80]},
        "size": {"choice": [64, 16, 32]},
        "layers": {"choice": [[1, 2], [3]]},
        "fixed": 3,
    }
)


def test_constants_are_not_searched() -> None:
    assert list(searched_parameters(SPACE)) == ["rate", "width", "size", "layers"]


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("rate", [1e-4, 1e-3, 1e-2], [0, 0.5, 1]),
        ("width", [0, 20, 80], [0, 0.25, 1]),
        ("size", [16, 32, 64], [0, 0.5, 1]),
        ("layers", ["[1, 2]", "[3]"], [0, 1]),
    ],
)
def test_positions_follow_the_parameters_scale(name: str, cells: list[float], expected: list[float]) -> None:
    assert positions(pd.Series(cells), SPACE[name]) == pytest.approx(expected)
    assert np.isnan(positions(pd.Series([*cells, None], dtype=object), SPACE[name])[-1])


def test_medians_are_of_the_trials_in_a_cell() -> None:
    cells = {"param_rate": [1e-4, 1.1e-4, 1e-2, 1e-2], "param_size": [16, 16, 64, None]}
    trials = pd.DataFrame({**cells, "value": [0.2, 0.4, 0.9, 0.8]}).astype({"param_size": "Int64"})
    found = medians(trials, {name: SPACE[name] for name in ("rate", "size")})
    assert found.to_numpy().tolist() == [[0, 0, pytest.approx(0.3), 2], [7, 2, 0.9, 1]]


def test_cells_are_named_by_choices_or_ranges() -> None:
    assert cell_names(SPACE["size"]) == ["16", "32", "64"]
    assert cell_names(SPACE["width"])[:2] == ["0 to 10", "10 to 20"]
