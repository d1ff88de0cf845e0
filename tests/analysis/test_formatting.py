import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tuner.analysis.formatting import (
    board_table,
    format_clock,
    format_duration,
    metric_text,
    number_text,
    parameters_text,
)

PARAMETERS = ["learning_rate", "batch_size", "dense"]


def board() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [23, 3],
            "val_accuracy": [1.0, 0.99651234],
            "test_accuracy": [0.98056, np.nan],
            "epochs": [10, 20],
            "train_seconds": [1234.567, 1.2],
            "learning_rate": [0.000123456, 0.0173],
            "batch_size": pd.array([32, None], dtype="Int64"),
            "dense": pd.array([256, 7], dtype="Int64"),
        }
    )


def printed(width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(board_table(board(), PARAMETERS, console))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_board_table_keeps_numbers_whole(width: int) -> None:
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    for number in ("23", "1.0000", "0.9965", "0.9806", "20", "0.0001235", "0.0173", "32", "256"):
        assert number in text.split() or f"{number}," in text.split(), number


def test_board_table_has_a_column_per_parameter() -> None:
    head = " ".join(printed(120).splitlines()[0].split())
    assert head == "trial val accuracy test accuracy epochs train seconds learning rate batch size dense"
    assert "1,234.6" in printed(120)


def test_board_table_joins_parameters_in_narrow_terminals() -> None:
    text = " ".join(printed(60).split())
    assert "parameters" in text
    assert "learning_rate 0.0173, dense 7" in text


def test_texts_of_missing_cells_are_empty() -> None:
    assert [number_text(value) for value in (None, float("nan"), pd.NA)] == ["", "", ""]
    assert metric_text("val_accuracy", pd.NA) == ""
    assert parameters_text({"param_a": None, "param_b": pd.NA, "param_c": 0.5, "value": 1.0}) == "c 0.5"


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("val_accuracy", 0.98765, "0.9877"),
        ("val_accuracy", 1, "1.0000"),
        ("val_auroc", 0.98765, "0.9877"),
        ("val_ece", 0.012345, "0.0123"),
        ("val_loss", 0.000012345, "1.234e-05"),
        ("train_seconds", 1234.56, "1,234.6"),
        ("parameters_count", 1816714.0, "1,816,714"),
    ],
)
def test_metric_text_has_the_digits_that_count(metric: str, value: float, text: str) -> None:
    assert metric_text(metric, value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (9.4, "0:09"), (754, "12:34"), (3723, "1:02:03")])
def test_format_clock_shows_minutes_and_hours(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(9.4, "9 s"), (89, "89 s"), (754, "13 min"), (12600, "3.5 h"), (864000, "10 days")]
)
def test_format_duration_is_one_number(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize("width", [200, 110])
def test_board_table_shows_text_of_the_user_as_it_is(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    texts = board().assign(learning_rate=["[red]a\x1b[31m", "\x07"])
    with console.capture() as capture:
        console.print(board_table(texts, PARAMETERS, console))
    said = "".join(capture.get().split())
    assert r"[red]a\x1b[31m" in said
    assert not {"\x1b", "\x07"} & set(capture.get())
