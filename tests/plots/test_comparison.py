import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer

from tuner import plots
from tuner.errors import UserError


def table(*rows: tuple[str, float, float, float], unit: str = "%") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["row", "reported", "reproduced", "spread"]).assign(unit=unit)


NAN = float("nan")
CLOSE = [("a1", 60.0, 61.0, 0.5), ("a2", 65.0, 64.0, NAN), ("a3", 70.0, 71.0, 0.5), ("a4", 50.0, 49.0, NAN)]


def bars(axes: Axes) -> ErrorbarContainer:
    [container] = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    return container


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_comparison_draws_reported_right_and_reproduced_up() -> None:
    points = bars(plots.reported_against_reproduced(table(*CLOSE)))[0]
    assert points.get_xdata().tolist() == [60, 65, 70, 50]
    assert points.get_ydata().tolist() == [61, 64, 71, 49]


def test_comparison_draws_spread_as_error_bars() -> None:
    [segments] = bars(plots.reported_against_reproduced(table(*CLOSE[:2])))[2]
    assert [segment[:, 1].tolist() for segment in segments.get_segments()] == [[60.5, 61.5], [64, 64]]


def test_comparison_axes_share_range_and_diagonal() -> None:
    axes = plots.reported_against_reproduced(table(*CLOSE))
    diagonal = axes.lines[0]
    assert (diagonal.get_slope(), *np.diff(diagonal.get_xy1())) == (1, 0)
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[0] < 49
    assert axes.get_xlim()[1] > 71.5


def test_comparison_names_rows_far_off_farthest_first() -> None:
    far = table(("near", 10.0, 20.0, 1.0), *CLOSE, ("lost", 55.0, 10.0, NAN))
    axes = plots.reported_against_reproduced(far)
    assert texts(axes) == ["a", "b", "a  lost\nb  near"]
    assert [text.xy for text in axes.texts[:2]] == [(55, 10), (10, 20)]


def test_comparison_leaves_rows_within_spread_unnamed() -> None:
    assert texts(plots.reported_against_reproduced(table(*CLOSE, ("noisy", 55.0, 75.0, 10.0)))) == []


def test_comparison_names_eight_rows_at_most() -> None:
    many = [(f"row {index}", 10.0, 30.0 + index, NAN) for index in range(10)]
    axes = plots.reported_against_reproduced(table(*CLOSE * 5, *many))
    assert len(texts(axes)) == 9
    assert "row 9" in texts(axes)[-1]
    assert "row 1\n" not in texts(axes)[-1]


def test_comparison_leaves_out_rows_not_measured() -> None:
    points = bars(plots.reported_against_reproduced(table(("not run", 60.0, NAN, NAN), *CLOSE)))[0]
    assert points.get_xdata().tolist() == [60, 65, 70, 50]


def test_comparison_axes_name_unit_and_percent() -> None:
    losses = plots.reported_against_reproduced(table(("loss", 1.0, 1.1, 0.1), unit="nats"))
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("reported (nats)", "reproduced (nats)")
    shares = plots.reported_against_reproduced(table(("x", 0.5, 0.6, NAN), ("y", 0.9, 0.8, NAN), unit="share"))
    shares.figure.canvas.draw()
    assert shares.get_xlabel() == "reported (%)"
    assert {"60", "80"} <= {tick.get_text() for tick in shares.get_xticklabels()}


def test_comparison_draws_a_single_row() -> None:
    axes = plots.reported_against_reproduced(table(("only", 60.0, 60.0, NAN)))
    assert bars(axes)[0].get_xydata().tolist() == [[60, 60]]
    assert axes.get_xlim()[0] < 60 < axes.get_xlim()[1]


def test_comparison_refuses_several_units() -> None:
    both = pd.concat([table(*CLOSE), table(("loss", 1.0, 1.1, NAN), unit="nats")])
    with pytest.raises(UserError, match=r"^table: found %, nats in column 'unit'; allowed: rows of one unit$"):
        plots.reported_against_reproduced(both)


def test_comparison_needs_its_columns() -> None:
    with pytest.raises(UserError, match=r"^table: found no column 'spread'"):
        plots.reported_against_reproduced(table(*CLOSE).drop(columns="spread"))


@pytest.mark.parametrize("rows", [[], [("not run", 60.0, NAN, NAN)]], ids=["empty", "not run"])
def test_comparison_of_nothing_is_a_text(rows: list[tuple[str, float, float, float]]) -> None:
    assert texts(plots.reported_against_reproduced(table(*rows))) == ["nothing to compare yet"]
