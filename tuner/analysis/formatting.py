"""Values, times and leaderboards as people read them in a terminal."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tuner.errors import printable

if TYPE_CHECKING:
    import pandas as pd

_METRICS = ("accuracy", "_auroc", "_f1", "_ece", "loss", "seconds", "count", "mean", "std")


def is_missing(value: Any) -> bool:
    """Return True if a cell is empty: None, NaN, or pandas' NA."""
    # Texts are compared, because comparisons with pandas' NA are neither true nor false.
    return value is None or str(value) in ("nan", "<NA>")


def whole_number(value: Any) -> int:
    """Turn a cell into a whole number, 0 if it is empty."""
    return 0 if is_missing(value) else int(value)


def number_text(value: Any) -> str:
    """Write a value in few characters, nothing for an empty cell."""
    if is_missing(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


def metric_text(metric: str, value: Any) -> str:
    """Write a metric with the digits that count."""
    if is_missing(value):
        return ""
    if metric.endswith(("accuracy", "_auroc", "_f1", "_ece")):
        return f"{value:.4f}"
    if metric.endswith("seconds"):
        return f"{value:,.1f}"
    return f"{value:,.0f}" if metric.endswith("count") else number_text(float(value))


def parameters_text(row: Mapping[Any, Any]) -> str:
    """Write the searched parameters of a row: `learning_rate 0.00123, batch_size 64`."""
    cells = [(str(key), value) for key, value in list(row.items()) if not is_missing(value)]
    return ", ".join(f"{printable(key[6:])} {number_text(value)}" for key, value in cells if key.startswith("param_"))


def format_clock(seconds: float) -> str:
    """Write a duration as a clock shows it: `0:09`, `12:34`, `1:02:03`."""
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text


def format_duration(seconds: float) -> str:
    """Write a duration as one number with its unit.

    The results look like `9 s`, `12 min`, `3.5 h`, `12 days`.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def format_range(low: float, high: float) -> str:
    """Write a range of durations: `20 to 40 s`, `about 3 h`.

    The unit is that of the longer duration.
    """
    units = ((90, 1, "s"), (90 * 60, 60, "min"), (48 * 3600, 3600, "h"))
    size, unit = next(((size, unit) for limit, size, unit in units if high < limit), (86400, "days"))
    digits = 1 if unit in ("h", "days") else 0
    first, last = f"{low / size:.{digits}f}", f"{high / size:.{digits}f}"
    return f"about {last} {unit}" if first == last else f"{first} to {last} {unit}"


def join_intervals(board: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    """Write the means of repeats with their intervals: `0.8161 ± 0.0150`.

    Args:
        board: A table of `tuner.analysis.leaderboard.leaderboard`.
        metric: The first objective.
    """
    if "repeats" not in board:
        return board
    joined = board.drop(columns=["repeats_std", "repeats_half", "test_half"])
    for mean, half, measured in (
        ("repeats_mean", "repeats_half", metric),
        ("test_mean", "test_half", "test_accuracy"),
    ):
        pairs = zip(board[mean], board[half], strict=True)
        joined[mean] = [_interval_text(measured, *pair) for pair in pairs]
    return joined


def _interval_text(metric: str, mean: Any, half: Any) -> str:
    text = metric_text(metric, mean)
    return text if is_missing(half) else f"{text} ± {metric_text(metric, half)}"


def board_table(board: "pd.DataFrame", parameters: list[str], console: Console) -> RenderableType:
    """Draw a leaderboard, with one parameter column in narrow terminals.

    Args:
        board: A table of `tuner.analysis.leaderboard.leaderboard`.
        parameters: Its columns that are parameters.
        console: The console that will print it.
    """
    table = _table(board)
    unbounded = console.options.update(width=10_000)
    if Measurement.get(console, unbounded, table).minimum <= console.width:
        return table
    said = [parameters_text({f"param_{name}": row[name] for name in parameters}) for row in board.to_dict("records")]
    return _table(board.drop(columns=[*parameters, "train_seconds"]).assign(parameters=said), narrow=True)


def _table(board: "pd.DataFrame", narrow: bool = False) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    columns: list[list[str]] = []
    for name, column in board.items():
        is_text = name == "parameters"
        as_metric = str(name).endswith(_METRICS) and not isinstance(column.iloc[0], str)
        cells = [metric_text(str(name), cell) if as_metric else number_text(cell) for cell in column]
        header = printable(str(name).replace("number", "trial").replace("_", " "))
        # A number must stay in one piece: half of it reads like another.
        least = max(map(len, [*header.split(), *([] if is_text else cells)]))
        most = least if narrow and not is_text else None
        table.add_column(
            header, justify="left" if is_text else "right", min_width=least, max_width=most, overflow="fold"
        )
        columns.append(cells)
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))  # because text such as [bold] would be read as markup
    return table
