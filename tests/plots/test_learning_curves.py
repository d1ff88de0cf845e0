import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color

from tuner import plots
from tuner.errors import UserError
from tuner.plots.style import BLUE, GREEN, INK, PALE, SKY, VERMILION


def epochs(values: dict[int, list[float]], metric: str = "val_accuracy", first: int = 1) -> pd.DataFrame:
    rows = [
        {"number": number, "epoch": epoch, metric: value}
        for number, line in values.items()
        for epoch, value in enumerate(line, first)
    ]
    return pd.DataFrame(rows, columns=["number", "epoch", metric]).astype({"number": "Int64", "epoch": "Int64"})


def trials(*states: str) -> pd.DataFrame:
    return pd.DataFrame({"number": range(len(states)), "state": states}).astype({"number": "Int64"})


def steps(values: list[float], study: str = "mnist", number: int = 0) -> pd.DataFrame:
    cells = {"study": study, "number": number, "step": range(40, 40 * len(values) + 1, 40), "val_accuracy": values}
    return pd.DataFrame(cells).astype({"number": "Int64", "step": "Int64"})


def line(axes: Axes, label: str) -> Any:
    """The one line of that label."""
    [found] = [each for each in axes.lines if each.get_label() == label]
    return found


def points(axes: Axes, label: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in line(axes, label).get_xydata()]


def legend(axes: Axes) -> list[str]:
    shown = axes.get_legend()
    return [text.get_text() for text in shown.get_texts()] if shown else []


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def ticks(axes: Axes) -> list[str]:
    axes.figure.canvas.draw()
    return [tick.get_text() for tick in axes.get_yticklabels()]


FOUR = epochs({0: [0.2, 0.5, 0.7], 1: [0.3], 2: [0.1, 0.6, 0.9], 3: [0.2, 0.95]})
STATES = trials("COMPLETE", "PRUNED", "COMPLETE", "RUNNING")


def test_learning_curves_draw_a_line_per_trial() -> None:
    axes = plots.learning_curves(FOUR, trials=STATES)
    assert len(axes.lines) == 4
    assert points(axes, "0") == [(1, 0.2), (2, 0.5), (3, 0.7)]
    assert points(axes, "1") == [(1, 0.3)]


def test_learning_curves_colour_best_and_pale_pruned() -> None:
    axes = plots.learning_curves(FOUR, trials=STATES)
    colours = {label: line(axes, label).get_color() for label in "0123"}
    assert colours == {"0": SKY, "1": PALE, "2": BLUE, "3": GREEN}
    assert line(axes, "3").get_linestyle() == "--"
    assert legend(axes) == ["trial 2, the best", "complete", "running", "pruned"]


def test_learning_curves_draw_each_rung_once() -> None:
    decisions = pd.DataFrame({"number": [0, 1, 0], "rung": [1.0, 1.0, 3.0], "verdict": "go"})
    axes = plots.learning_curves(FOUR, trials=STATES, decisions=decisions)
    dotted = [each for each in axes.lines if each.get_linestyle() == ":" and each.get_label().startswith("_")]
    assert [each.get_xdata()[0] for each in dotted] == [1.0, 3.0]


def test_learning_curves_of_losses_colour_the_lowest() -> None:
    losses = epochs({0: [0.1, 0.9], 1: [0.9, 0.3], 2: [0.8, 0.3]}, "val_loss")
    assert legend(plots.learning_curves(losses, "val_loss")) == ["trial 1, the best", "trial"]


def test_learning_curves_without_trials_colour_the_best() -> None:
    assert legend(plots.learning_curves(FOUR)) == ["trial 3, the best", "trial"]


def test_learning_curves_draw_only_given_trials() -> None:
    axes = plots.learning_curves(FOUR, trials=STATES[STATES["state"] == "PRUNED"])
    assert [each.get_label() for each in axes.lines] == ["1"]


def test_learning_curves_without_direction_colour_none() -> None:
    rates = epochs({0: [0.1, 0.2], 1: [0.1, 0.3]}, "learning_rate")
    axes = plots.learning_curves(rates, "learning_rate")
    assert {each.get_color() for each in axes.lines} == {SKY}
    assert axes.get_ylabel() == "learning rate"


def test_learning_curves_of_one_need_no_legend() -> None:
    axes = plots.learning_curves(epochs({7: [0.5]}), trials=pd.DataFrame({"number": [7], "state": ["COMPLETE"]}))
    assert points(axes, "7") == [(1, 0.5)]
    assert line(axes, "7").get_color() == BLUE
    assert line(axes, "7").get_marker() == "."
    assert axes.get_legend() is None


def test_learning_curves_show_percent_and_nats() -> None:
    axes = plots.learning_curves(FOUR)
    assert axes.get_ylabel() == "validation accuracy (%)"
    assert {"20", "40", "60", "80"} <= {*ticks(axes)}
    losses = plots.learning_curves(epochs({0: [2.0, 1.0]}, "train_loss"), "train_loss")
    assert losses.get_ylabel() == "training loss (nats)"


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_learning_curves_tick_whole_epochs(count: int) -> None:
    axes = plots.learning_curves(epochs({0: [0.5] * count}))
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_learning_curves_draw_on_given_axes() -> None:
    given = plots.learning_curves(FOUR)
    before = len(given.lines)
    assert plots.learning_curves(FOUR, ax=given) is given
    assert len(given.lines) == 2 * before


def test_learning_curves_without_epochs_are_a_text() -> None:
    assert texts(plots.learning_curves(epochs({}))) == ["no epoch yet"]
    assert texts(plots.learning_curves(FOUR, trials=trials())) == ["no epoch yet"]
    assert texts(plots.curves(epochs({}), ["val_accuracy"])) == ["no epoch yet"]
    assert texts(plots.step_log(steps([]), "val_accuracy")) == ["no step logged"]


def test_learning_curves_name_missing_column_and_nearest() -> None:
    with pytest.raises(UserError, match=r"^epochs: found no column 'val_acuracy'; did you mean 'val_accuracy'"):
        plots.learning_curves(FOUR, "val_acuracy")
    with pytest.raises(UserError, match=r"^trials: found no column 'state'; allowed: number$"):
        plots.learning_curves(FOUR, trials=STATES[["number"]])
    with pytest.raises(UserError, match=r"^steps: found no column 'study'"):
        plots.step_log(steps([0.5]).drop(columns="study"), "val_accuracy")


BOTH = epochs({0: [2.3, 1.0, 0.5]}, "val_loss", first=0).assign(train_loss=[np.nan, 1.2, 0.4], val_accuracy=0.5)


def test_curves_draw_a_line_per_metric() -> None:
    axes = plots.curves(BOTH, ["train_loss", "val_loss"])
    assert points(axes, "training") == [(1, 1.2), (2, 0.4)]
    assert points(axes, "validation") == [(0, 2.3), (1, 1.0), (2, 0.5)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss (nats)")


def test_curves_take_names_of_the_caller() -> None:
    assert legend(plots.curves(BOTH, ["train_loss", "val_loss"], ["ours", "test"])) == ["ours", "test"]


def test_curves_of_one_metric_name_the_axis() -> None:
    assert plots.curves(BOTH, ["val_loss"]).get_ylabel() == "validation loss (nats)"


def test_curves_draw_reported_values_as_hollow_markers() -> None:
    reported = pd.DataFrame({"epoch": [1, 2], "val_loss": [0.9, None], "other": 1})
    axes = plots.curves(BOTH, ["train_loss", "val_loss"], reported=reported)
    published = line(axes, "_reported")
    assert points(axes, "_reported") == [(1, 0.9)]
    assert published.get_linestyle() == "None"
    assert published.get_markerfacecolor() == "none"
    assert same_color(published.get_markeredgecolor(), VERMILION)
    assert line(axes, "validation").get_color() == VERMILION
    assert legend(axes) == ["training", "validation", "reported"]


def test_curves_refuse_reported_values_of_other_metrics() -> None:
    with pytest.raises(UserError, match=r"^reported: found no column 'val_loss'; allowed: epoch, test_loss$"):
        plots.curves(BOTH, ["val_loss"], reported=pd.DataFrame({"epoch": [1], "test_loss": [0.9]}))


def test_curves_refuse_several_units() -> None:
    message = "metrics: found accuracy (%), loss (nats); allowed: metrics of one unit"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        plots.curves(BOTH, ["val_loss", "val_accuracy"])


def test_curves_refuse_several_trials() -> None:
    with pytest.raises(UserError, match=r"^epochs: found 0, 1, 2, 3 in column 'number'; allowed: rows of one number$"):
        plots.curves(FOUR, ["val_accuracy"])


def test_step_log_draws_a_line_by_step() -> None:
    axes = plots.step_log(steps([0.6, 0.7]), "val_accuracy")
    assert points(axes, "trial 0") == [(40, 0.6), (80, 0.7)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("optimizer step", "validation accuracy (%)")
    assert axes.get_legend() is None


def test_step_log_tells_studies_apart() -> None:
    axes = plots.step_log(pd.concat([steps([0.9, 0.97]), steps([0.6, 0.7], "fashion")]), "val_accuracy")
    assert points(axes, "fashion, trial 0") == [(40, 0.6), (80, 0.7)]
    assert points(axes, "mnist, trial 0") == [(40, 0.9), (80, 0.97)]
    assert len({each.get_color() for each in axes.lines}) == 2
    assert legend(axes) == ["fashion, trial 0", "mnist, trial 0"]


def test_step_log_leaves_out_lines_without_step() -> None:
    reported = pd.DataFrame({"step": [40, None], "val_accuracy": [0.647, 0.86]})
    axes = plots.step_log(steps([0.6, 0.7]), "val_accuracy", reported)
    assert points(axes, "_reported") == [(40, 0.647)]
    assert same_color(line(axes, "_reported").get_markeredgecolor(), INK)
    assert legend(axes) == ["trial 0", "reported"]


def test_curves_legend_makes_way_for_rising_loss() -> None:
    rows = [{"number": 0, "epoch": n, "train_loss": 2 / n, "val_loss": 1 + n / 10} for n in range(1, 11)]
    axes = plots.curves(pd.DataFrame(rows), ["train_loss", "val_loss"])
    axes.figure.canvas.draw()
    box = axes.get_legend().get_window_extent()
    drawn = [point for line in axes.lines for point in line.get_xydata()]
    assert not any(box.contains(*axes.transData.transform(point)) for point in drawn)


@pytest.mark.parametrize(
    ("metric", "label", "best"),
    [
        ("val_auroc", "validation AUROC", 1),
        ("val_balanced_accuracy", "validation balanced accuracy (%)", 1),
        ("val_top5_accuracy", "validation top-5 accuracy (%)", 1),
        ("val_ece", "validation calibration error", 0),
    ],
)
def test_learning_curves_know_every_metric(metric: str, label: str, best: int) -> None:
    axes = plots.learning_curves(epochs({0: [0.2, 0.5], 1: [0.3, 0.8]}, metric), metric)
    assert axes.get_ylabel() == label
    assert same_color(line(axes, str(best)).get_color(), BLUE)
