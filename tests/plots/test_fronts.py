import pandas as pd
import pytest

from tuner import plots
from tuner.errors import UserError

VALUES = pd.DataFrame(
    {
        "number": [0, 1, 2, 3],
        "val_accuracy": [0.9, 0.8, 0.7, 0.95],
        "parameters_count": [200.0, 300.0, 100.0, 400.0],
        "is_front": [True, False, True, True],
    }
)
METRICS = ["val_accuracy", "parameters_count"]


def test_pareto_front_joins_the_front() -> None:
    rest, front = plots.pareto_front(VALUES, METRICS).lines
    assert rest.get_xydata().tolist() == [[300.0, 0.8]]
    assert front.get_xydata().tolist() == [[100.0, 0.7], [200.0, 0.9], [400.0, 0.95]]
    assert (rest.get_linestyle(), front.get_linestyle()) == ("None", ":")


def test_pareto_front_of_decades_has_log_axis() -> None:
    axes = plots.pareto_front(VALUES, METRICS)
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    wide = VALUES.assign(parameters_count=[1e3, 2e3, 5e4, 2e6])
    axes = plots.pareto_front(wide, METRICS)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    axes.figure.canvas.draw()
    assert "10k" in [tick.get_text() for tick in axes.get_xticklabels()]
    assert plots.pareto_front(wide.assign(parameters_count=[0, 2e3, 5e4, 2e6]), METRICS).get_xscale() == "linear"


def test_pareto_front_of_three_objectives_has_no_line() -> None:
    axes = plots.pareto_front(VALUES.assign(val_loss=1.0), METRICS)
    assert axes.lines[1].get_linestyle() == "None"


def test_hypervolume_is_drawn_as_steps() -> None:
    frame = pd.DataFrame({"epochs": [2, 5], "hypervolume": [0.4, 0.6]})
    axes = plots.hypervolume(frame)
    assert axes.lines[0].get_xydata().tolist() == [[2.0, 0.4], [5.0, 0.6]]
    assert axes.lines[0].get_drawstyle() == "steps-post"


def test_plots_of_fronts_without_trials_hold_a_text() -> None:
    assert plots.pareto_front(VALUES[:0], METRICS).texts[0].get_text() == "no completed trial"
    assert plots.hypervolume(pd.DataFrame({"epochs": [], "hypervolume": []})).texts[0].get_text() == (
        "no completed trial"
    )
    with pytest.raises(UserError, match=r"^values: found no column 'val_loss'"):
        plots.pareto_front(VALUES, ["val_loss", "parameters_count"])
