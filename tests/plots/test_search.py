from itertools import pairwise
from math import radians, sin
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes

from tuner import plots
from tuner.config.space import Space
from tuner.errors import UserError

Point = tuple[float, float]


def trials(*rows: tuple[str, float | None], purpose: str = "search", **parameters: list[Any]) -> pd.DataFrame:
    states, values = [state for state, _ in rows], [value for _, value in rows]
    frame = pd.DataFrame({"number": range(len(rows)), "state": states, "value": values, "purpose": purpose})
    typed = frame.astype({"number": "Int64", "value": float})
    return typed.assign(**{f"param_{name}": column for name, column in parameters.items()})


def points(axes: Axes, label: str) -> list[Point]:
    [line] = [each for each in axes.lines if each.get_label() == label]
    return [(float(x), float(y)) for x, y in line.get_xydata()]


def labels(axes: Axes) -> list[Any]:
    return [line.get_label() for line in axes.lines]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


SEARCH = trials(
    ("PRUNED", 0.2), ("COMPLETE", 0.7), ("COMPLETE", 0.6), ("FAILED", None), ("COMPLETE", 0.9), ("PRUNED", 0.95)
)


def test_optimization_history_marks_each_state() -> None:
    axes = plots.optimization_history(SEARCH, "maximize")
    assert points(axes, "complete") == [(1, 0.7), (2, 0.6), (4, 0.9)]
    assert points(axes, "pruned") == [(0, 0.2), (5, 0.95)]
    markers = [line.get_marker() for line in axes.lines if line.get_label() in ("complete", "pruned")]
    assert len({*markers}) == 2


def test_optimization_history_best_counts_completed_trials() -> None:
    axes = plots.optimization_history(SEARCH, "maximize")
    assert points(axes, "best so far") == [(1, 0.7), (2, 0.7), (3, 0.7), (4, 0.9), (5, 0.9)]


def test_optimization_history_best_rises_at_its_trial() -> None:
    axes = plots.optimization_history(SEARCH, "maximize")
    [best] = [line for line in axes.lines if line.get_label() == "best so far"]
    assert best.get_drawstyle() == "steps-post"


def test_optimization_history_legend_hides_no_trial() -> None:
    rows: list[tuple[str, float | None]] = [("COMPLETE", 0.5), ("PRUNED", 0.1), ("FAILED", 0.4), ("FAILED", None)]
    axes = plots.optimization_history(trials(*rows), "maximize")
    axes.figure.canvas.draw()
    box = axes.get_legend().get_window_extent()
    assert len(axes.get_legend().get_texts()) == 5
    assert not box.overlaps(axes.bbox)
    assert axes.figure.bbox.x0 <= box.x0
    assert box.x1 <= axes.figure.bbox.x1


def test_optimization_history_of_minimized_metric_steps_down() -> None:
    axes = plots.optimization_history(SEARCH, "minimize", "val_loss")
    assert points(axes, "best so far") == [(1, 0.7), (2, 0.6), (3, 0.6), (4, 0.6), (5, 0.6)]
    assert axes.get_ylabel() == "validation loss (nats)"


def test_optimization_history_marks_failed_trials_at_bottom() -> None:
    axes = plots.optimization_history(SEARCH, "maximize")
    [lost] = [line for line in axes.lines if line.get_label() == "failed, no value"]
    [height] = {
        axes.transAxes.inverted().transform(point)[1] for point in lost.get_transform().transform(lost.get_xydata())
    }
    assert lost.get_xdata().tolist() == [3]
    assert height == pytest.approx(0.02)


def test_optimization_history_leaves_out_repeats() -> None:
    both = pd.concat([SEARCH, trials(("COMPLETE", 1.0), purpose="repeat").assign(number=6)])
    axes = plots.optimization_history(both, "maximize")
    assert points(axes, "best so far")[-1] == (5, 0.9)
    assert len(points(axes, "complete")) == 3


def test_optimization_history_of_one_trial_is_point() -> None:
    axes = plots.optimization_history(trials(("COMPLETE", 0.5)), "maximize")
    assert points(axes, "complete") == points(axes, "best so far") == [(0, 0.5)]


@pytest.mark.parametrize(
    "frame", [SEARCH.iloc[:0], SEARCH.iloc[:1], SEARCH.iloc[3:4]], ids=["empty", "pruned", "failed"]
)
def test_optimization_history_without_completed_trial_is_text(frame: pd.DataFrame) -> None:
    axes = plots.optimization_history(frame, "maximize")
    assert texts(axes) == ["no completed trial"]
    assert labels(axes) == []
    [small] = plots.slices(frame.assign(param_rate=0.1), Space({"rate": {"float": [0.1, 1]}}).root)
    assert texts(small) == ["no completed trial"]


def test_optimization_history_refuses_unknown_direction() -> None:
    with pytest.raises(UserError, match=r"^direction: found 'max'; .*allowed: maximize, minimize$"):
        plots.optimization_history(SEARCH, "max")  # type: ignore[arg-type]


SPACE = Space(
    {
        "rate": {"float": [1e-4, 1e-1], "log": True},
        "size": {"choice": [64, 16, 32]},
        "dropout": {"float": [0, 0.5], "when": {"size": [16]}},
        "flip": {"choice": [False, True]},
        "dense": {"choice": [[8], [8, 4]]},
        "optimizer": "adam",
    }
).root
DRAWN = trials(
    ("COMPLETE", 0.7), ("PRUNED", 0.3), ("COMPLETE", 0.9), ("RUNNING", None),
    rate=[1e-3, 1e-2, 2e-2, 1e-1],
    size=pd.array([16, 64, 32, 16], dtype="Int64"),
    dropout=[0.1, None, None, 0.2],
    flip=pd.array([True, False, False, None], dtype="boolean"),
    dense=["[8]", "[8, 4]", "[8]", "[8]"],
)  # fmt: skip


def test_slices_share_the_value_axis() -> None:
    grid = plots.slices(DRAWN, SPACE)
    assert [axes.get_xlabel() for axes in grid] == ["rate", "size", "dropout", "flip", "dense"]
    assert {axes.get_ylim() for axes in grid} == {grid[0].get_ylim()}
    assert [axes.get_ylabel() for axes in grid] == ["validation accuracy (%)", "", "", "validation accuracy (%)", ""]
    assert [*grid[0].figure.axes] == [*grid]


def test_slices_draw_values_above_their_parameters() -> None:
    rate, _, dropout, *_ = plots.slices(DRAWN, SPACE)
    assert points(rate, "complete") == [(1e-3, 0.7), (2e-2, 0.9)]
    assert points(rate, "pruned") == [(1e-2, 0.3)]
    assert points(dropout, "complete") == [(0.1, 0.7)]
    assert labels(dropout) == ["complete"]


@pytest.mark.slow
def test_slices_draw_log_parameters_on_log_axes() -> None:
    rate, _, dropout, *_ = plots.slices(DRAWN, SPACE)
    assert (rate.get_xscale(), dropout.get_xscale()) == ("log", "linear")
    rate.figure.canvas.draw()
    assert "0.01" in [tick.get_text() for tick in rate.get_xticklabels()]


def test_slices_order_choices_by_number_or_file() -> None:
    _, size, _, flip, dense = plots.slices(DRAWN, SPACE)
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in (size, flip, dense)]
    assert ticks == [["16", "32", "64"], ["False", "True"], ["[8]", "[8, 4]"]]
    places = [[round(x) for x, _ in points(axes, "complete")] for axes in (size, flip, dense)]
    assert places == [[0, 1], [1, 0], [0, 0]]
    assert [round(x) for x, _ in points(dense, "pruned")] == [1]


@pytest.mark.slow
def test_slices_turn_long_names_of_choices() -> None:
    networks = ["vazquez_base", "vazquez_deep", "rubio_small"]
    space = Space({name: {"choice": networks} for name in ("first", "second", "third")}).root
    frame = trials(*[("COMPLETE", 0.5)] * 3, first=networks, second=networks, third=networks)
    for axes in plots.slices(frame, space):
        axes.figure.canvas.draw()
        names = axes.get_xticklabels()
        assert [name.get_text() for name in names] == networks
        height = names[0].get_fontsize() * axes.figure.dpi / 72
        apart = [right.get_window_extent().x1 - left.get_window_extent().x1 for left, right in pairwise(names)]
        assert min(apart) * sin(radians(names[0].get_rotation())) > 0.9 * height


def test_slices_spread_trials_of_one_choice() -> None:
    frame = trials(*[("COMPLETE", 0.5)] * 20, size=[16] * 20)
    [axes] = plots.slices(frame, {"size": SPACE["size"]})
    assert len({x for x, _ in points(axes, "complete")}) == 20


def test_slices_have_one_legend() -> None:
    [shown] = plots.slices(DRAWN, SPACE)[0].figure.legends
    assert [text.get_text() for text in shown.get_texts()] == ["complete", "pruned"]


def test_slices_of_constants_are_a_text() -> None:
    [axes] = plots.slices(DRAWN, {"optimizer": SPACE["optimizer"]})
    assert texts(axes) == ["no searched parameter"]


def test_slices_need_a_column_per_parameter() -> None:
    with pytest.raises(UserError, match=r"^trials: found no column 'param_rate'"):
        plots.slices(DRAWN.drop(columns="param_rate"), SPACE)


def verdicts(*rows: tuple[int, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["number", "rung", "verdict"])


def test_rungs_count_reached_and_stopped_trials() -> None:
    axes = plots.rungs(
        verdicts((0, 6, "go"), (0, 2, "go"), (1, 2, "stop"), (2, 2, "go"), (2, 6, "stop"), (3, 2, "stop"))
    )
    went_on, stopped = axes.containers
    assert [bar.get_height() for bar in went_on] == [2, 1]
    assert [(bar.get_y(), bar.get_height()) for bar in stopped] == [(2, 2), (1, 1)]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "6"]
    assert texts(axes) == ["2 of 4\nstopped", "1 of 2\nstopped"]


def test_rungs_count_a_trial_by_latest_verdict() -> None:
    went_on, stopped = plots.rungs(verdicts((0, 2, "stop"), (0, 2, "go"))).containers
    assert ([bar.get_height() for bar in went_on], [bar.get_height() for bar in stopped]) == ([1], [0])


def test_rungs_show_trials_that_wait() -> None:
    given = ((0, 2, "wait"), (1, 2, "wait"), (2, 2, "wait"), (0, 2, "promote"), (0, 6, "finish"))
    axes = plots.rungs(verdicts(*given))
    went_on, waited, stopped = axes.containers
    assert [bar.get_height() for bar in went_on] == [1, 1]
    assert [(bar.get_y(), bar.get_height()) for bar in waited] == [(1, 2), (1, 0)]
    assert [bar.get_height() for bar in stopped] == [0, 0]
    assert texts(axes) == ["2 of 3\nwaited", "0 of 1\nstopped"]


def test_rungs_leave_out_texts_that_overlap() -> None:
    axes = plots.rungs(verdicts(*((0, float(epoch), "go") for epoch in range(9))))
    assert len(axes.containers[0]) == 9
    assert texts(axes) == []


def test_rungs_without_decisions_are_a_text() -> None:
    assert texts(plots.rungs(verdicts())) == ["no trial has reached a rung"]


def test_rungs_need_verdicts() -> None:
    with pytest.raises(UserError, match=r"^decisions: found no column 'verdict'; allowed: number, rung$"):
        plots.rungs(verdicts()[["number", "rung"]])
