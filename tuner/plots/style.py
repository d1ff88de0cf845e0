"""Colours, axes, names of metrics, and checks of frames that every plot shares."""

from contextlib import suppress
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from tuner.errors import UserError, suggest

Numbers = NDArray[np.float64]

BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
"""Colours that colour-blind people can tell apart (Okabe and Ito)."""
INK, GREY, PALE, GRID = "#333333", "#858C94", "#CBD0D6", "#E8EAED"

DECADES = 10.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""
AxisName = Literal["x", "y"]

_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_QUANTITIES = {
    "accuracy": "accuracy (%)",
    "auroc": "AUROC",
    "balanced_accuracy": "balanced accuracy (%)",
    "ece": "calibration error",
    "f1": "F1",
    "loss": "loss (nats)",
    "seconds": "time (s)",
    "seconds_per_image_1": "seconds per image (one at a time)",
    "seconds_per_image_64": "seconds per image (batches of 64)",
    "peak_memory_bytes": "peak memory (bytes)",
    "parameters_count": "parameters",
    "top5_accuracy": "top-5 accuracy (%)",
}


def new_axes(ax: Axes | None, width: float = 6.0, height: float = 4.0) -> Axes:
    """Return the given Axes, or those of a new figure, styled."""
    return apply_style(plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax)


def apply_style(axes: Axes) -> Axes:
    """Give Axes a light grid and no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelsize=9, labelcolor=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(color=INK, fontsize=10)
    return axes


def show_text(axes: Axes, text: str) -> Axes:
    """Empty the Axes but for a text that says why."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=11)
    return axes


Corner = Literal["lower right", "upper right"]
Position = Corner | Literal["above", "best"]


def corner(metric: str) -> Corner:
    """Return the corner that curves of a metric seldom reach."""
    return "lower right" if metric.endswith(("accuracy", "_auroc", "_f1")) else "upper right"


def legend(axes: Axes, position: Position, *handles_and_names: Any) -> None:
    """Draw a legend of the labelled artists, or of given handles.

    With "above" it is a row over the Axes.
    """
    row: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": 5, "columnspacing": 1.2}
    where = row if position == "above" else {"loc": position}
    axes.legend(*handles_and_names, fontsize=9, framealpha=0.85, edgecolor="none", labelcolor=INK, **where)


def whole_ticks(axis: Axis, most: int | Literal["auto"] = "auto") -> None:
    """Put ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))


def measure(axis: Axis, metric: str, label: str | None = None) -> None:
    """Label an axis with a metric and its unit, or with `label`."""
    axis.set_label_text(label or " ".join(in_words(metric)).strip())
    if metric.endswith("accuracy"):
        tick_in_percent(axis)


def tick_in_percent(axis: Axis) -> None:
    """Write the ticks of shares in percent."""
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g}"))


def set_log(axes: Axes, name: AxisName, low: float, high: float) -> None:
    """Make an axis logarithmic, with plain numbers at its ticks."""
    (axes.set_xscale if name == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def set_scale(axes: Axes, name: AxisName, metric: str, values: Numbers) -> None:
    """Label an axis with a metric, and choose its scale.

    The scale is logarithmic where values span decades.
    """
    axis = axes.xaxis if name == "x" else axes.yaxis
    known = values[np.isfinite(values)]
    if len(known) and known.min() > 0 and known.max() >= DECADES * known.min():
        set_log(axes, name, float(known.min()), float(known.max()))
    measure(axis, metric)
    if metric.endswith(("_count", "_bytes")):
        axis.set_major_formatter(EngFormatter(sep=""))


def drawable(text: str) -> str:
    """Escape characters that the fonts of `rcParams["font.family"]` lack.

    Matplotlib would warn of them, and draw the same box for each.
    """
    fonts = [get_font(path) for path in _font_files()]
    missing = {sign for sign in {*text} if not any(font.get_char_index(ord(sign)) for font in fonts)}
    return "".join(ascii(sign)[1:-1] if sign in missing else sign for sign in text)


def _font_files() -> list[str]:
    """Return the files of the fonts with which matplotlib draws by default."""
    found = []
    for family in FontProperties().get_family():
        with suppress(ValueError):  # because a family may not be installed
            found.append(str(findfont(FontProperties(family=[family]), fallback_to_default=False)))
    return found or [str(findfont(FontProperties()))]


def in_words(metric: str) -> tuple[str, str]:
    """Split a metric into its images and its quantity: `("validation", "loss (nats)")`."""
    split, _, quantity = metric.partition("_")
    if split not in _SPLITS:
        split, quantity = "", metric
    return _SPLITS.get(split, ""), _QUANTITIES.get(quantity, quantity.replace("_", " "))


def numbers(column: "pd.Series[Any]") -> Numbers:
    """Return a column as floats.

    This is done because pandas' own integers are objects to matplotlib.
    """
    return column.to_numpy(dtype=float, na_value=np.nan)


def require_columns(argument: str, frame: pd.DataFrame, *columns: str) -> None:
    """Raise UserError if a column is missing."""
    for name in columns:
        if name not in frame:
            raise UserError(f"{argument}: found no column '{name}'; {suggest(name, map(str, frame.columns))}")


def require_one_value(argument: str, frame: pd.DataFrame, column: str) -> None:
    """Raise UserError if a column holds several values."""
    found = sorted(frame[column].dropna().unique())
    if len(found) > 1:
        some = ", ".join(map(str, found[:5])) + (", …" if len(found) > 5 else "")
        raise UserError(f"{argument}: found {some} in column '{column}'; allowed: rows of one {column}")
