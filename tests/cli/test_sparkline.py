"""Steps of a curve as blocks."""

from tuner.cli.sparkline import sparkline


def test_sparkline_spans_least_to_greatest_value() -> None:
    assert sparkline([(2, 0.5), (4, 0.75), (8, 1.0)], 10, 10) == " ▁▁▅▅▅▅███"


def test_sparkline_falls_when_minimizing() -> None:
    assert sparkline([(0, 2.0), (5, 1.0)], 10, 4) == "█▁▁▁"


def test_sparkline_of_one_value_is_flat() -> None:
    assert sparkline([(5, 0.9)], 10, 4) == " ▅▅▅"
