from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from tuner import plots
from tuner.config.space import Space
from tuner.errors import UserError

SPACE = Space(
    {
        "learning_rate": {"float": [1e-4, 1e-2], "log": True},
        "kind": {"choice": ["a", "b$", "c"]},
        "momentum": {"float": [0, 1], "when": {"kind": ["a"]}},
        "batch_size": 32,
    }
).root
TRIALS = pd.DataFrame(
    {
        "number": range(4),
        "state": ["COMPLETE", "PRUNED", "COMPLETE", "FAILED"],
        "value": [0.9, 0.3, 0.5, None],
        "purpose": "search",
        "param_learning_rate": [1e-4, 1e-3, 1e-2, 1e-3],
        "param_kind": ["a", "b$", "c", "a"],
        "param_momentum": [0.5, None, None, 0.1],
    }
)
SHARES = pd.DataFrame(
    {"importance": [0.7, 0.1], "low": [0.5, 0.0], "high": [0.9, 0.2], "best": 0.5, "best_low": 0.4, "best_high": 0.6},
    index=["learning_rate", "kind"],
)


def lines(axes: Axes, which: int) -> list[Any]:
    collections = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [np.round(path.vertices, 3).tolist() for path in collections[which].get_paths()]


def test_parallel_coordinates_draw_a_line_per_trial() -> None:
    axes = plots.parallel_coordinates(TRIALS, SPACE)
    (pale,) = lines(axes, 0)
    worse, best = lines(axes, 1)
    assert pale[0] == [0.5, 0]
    assert [point for point in worse if not np.isnan(point[0])] == [[1, 0], [1, 1], [0.333, 3]]
    assert best == [[0, 0], [0, 1], [0.5, 2], [1, 3]]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [
        *("learning rate", "kind", "momentum"),
        "validation accuracy",
    ]
    shades = axes.collections[1].get_colors()
    assert shades[1].sum() < shades[0].sum()  # the best is the darkest
    assert axes.collections[0].get_colors().shape == (1, 4)


def test_parallel_coordinates_of_losses_darken_the_lowest() -> None:
    axes = plots.parallel_coordinates(TRIALS, SPACE, "val_loss")
    assert lines(axes, 1)[-1][0] == [1, 0]  # trial 2, with the least value of the completed ones


def test_parallel_coordinates_name_ends_and_choices() -> None:
    axes = plots.parallel_coordinates(TRIALS, SPACE)
    axes.figure.canvas.draw()
    shown = [text.get_text() for text in axes.texts]
    assert shown == ["0.0001", "0.01", "a", "b$", "c", "0", "1", "0.3000", "0.9000"]


def test_parallel_coordinates_of_nothing_are_a_text() -> None:
    for trials, space, said in (
        (TRIALS.iloc[3:], SPACE, "no trial with a value"),
        (TRIALS, {"batch_size": SPACE["batch_size"]}, "no searched parameter"),
    ):
        assert plots.parallel_coordinates(trials, space).texts[0].get_text() == said


def test_importance_draws_shares_with_intervals() -> None:
    axes = plots.importance(SHARES)
    everyone, best = axes.lines
    assert everyone.get_xdata().tolist() == [0.7, 0.1]
    assert best.get_xdata().tolist() == [0.5, 0.5]
    (first, _), *_ = (each.get_segments() for each in axes.collections)
    assert first[:, 0].tolist() == [0.5, 0.9]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["learning rate", "kind"]
    assert plots.importance(SHARES[:0]).texts[0].get_text() == "fewer than two trials with different values"


def test_heat_map_shows_medians_and_trials() -> None:
    two = {name: SPACE[name] for name in ("learning_rate", "kind")}
    axes = plots.heat_map(TRIALS, two)
    mesh = axes.collections[0].get_array()
    assert mesh.shape == (3, 8)
    assert sorted(np.asarray(mesh[~np.isnan(mesh)]).tolist()) == [0.3, 0.5, 0.9]
    assert mesh[2, 7] == 0.5
    assert (axes.get_xscale(), axes.get_xlabel(), axes.get_ylabel()) == ("log", "learning rate", "kind")
    assert len(axes.lines[0].get_xdata()) == 3
    with pytest.raises(UserError, match="parameters: found 1 that are searched; allowed: two of them"):
        plots.heat_map(TRIALS, {name: SPACE[name] for name in ("kind", "batch_size")})
    assert plots.heat_map(TRIALS[3:], two).texts[0].get_text() == "no trial with a value"


def test_choices_without_glyph_are_escaped() -> None:
    trials = pd.DataFrame({"number": [0, 1], "state": "COMPLETE", "purpose": "search", "value": [0.1, 0.2]})
    parameters = Space({"size": {"choice": ["大", "小"]}}).root
    for draw in (plots.parallel_coordinates, plots.slices):
        draw(trials.assign(param_size=["大", "小"]), parameters)
        figure = plt.gcf()
        figure.canvas.draw()
        assert {"\\u5927", "\\u5c0f"} <= {text.get_text() for text in figure.findobj(Text)}
