"""Parts of the page's Vega-Lite specifications: colours, axes, and marks that are linked by trial.

Colours are names of the page's style sheet, such as `complete`, so that dark and light pages share a
specification. No text of a study stands in an expression. Rows of a trial have its number in `trial`,
by which the page links figures.
"""

from typing import Any

import pandas as pd

from tuner.config.parameters import Float, Int, Parameter
from tuner.errors import printable
from tuner.plots.style import DECADES, in_words
from tuner.report.blocks import FATES, metric_kind

Spec = dict[str, Any]
HIGHLIGHTED = "datum.trial === focus || indexof(kept, datum.trial) >= 0"
"""Condition of rows of the trials that are pointed at or kept."""


def colour(name: str) -> Spec:
    """Refer to a colour of the page."""
    return {"expr": name}


def named(data: str) -> Spec:
    """Refer to a data set of the page."""
    return {"data": {"name": data}}


def axis(field: str, title: str, **scale: Any) -> Spec:
    """Encode a quantity along an axis that need not begin at zero."""
    is_log = scale.get("type") == "log"
    kind = {"nice": False} if is_log else {"zero": False, "nice": True}
    return {"field": field, "type": "quantitative", "title": title, "scale": {**kind, **scale}}


def metric_axis(field: str, metric: str, scale: Spec | None = None) -> Spec:
    """Encode a metric along an axis."""
    labels = {**metric_labels(metric), "labelOverlap": "greedy"}
    return {**axis(field, title_of(metric), **(scale or {})), "axis": labels}


def metric_labels(metric: str) -> Spec:
    """Format the numbers of a metric beside an axis or legend.

    Shares are written in percent, and counts as 20k.
    """
    if metric.endswith("accuracy"):
        return {"labelExpr": "format(datum.value * 100, '~g')"}
    return {"format": "~s"} if metric.endswith(("count", "bytes")) else {}


def scale_of(metric: str, values: "pd.Series[float]") -> Spec:
    """Choose a logarithmic scale where values span decades, never for shares."""
    low, high = values.min(), values.max()
    is_share = metric_kind(metric) == "share"
    return {"type": "log"} if 0 < low <= high / DECADES and not is_share else {}


def title_of(metric: str) -> str:
    """Write a metric and its unit."""
    return " ".join(in_words(metric)).strip()


def whole(encoded: Spec) -> Spec:
    """Put ticks at whole numbers only."""
    labels = {"tickMinStep": 1, "labelExpr": "datum.value % 1 ? '' : format(datum.value, ',')"}
    return {**encoded, "axis": {**encoded.get("axis", {}), **labels}}


def fate_colour() -> Spec:
    """Colour by fate, without a legend, because the page draws it."""
    fates = list(FATES.values())
    return {
        "field": "fate",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": fates, "range": [colour(fate) for fate in fates]},
    }


def points(encoding: Spec, data: str, where: str = "true", **mark: Any) -> list[Spec]:
    """Draw a point per trial that fulfils a condition.

    Highlighted trials are drawn again on top.
    """
    look = {"type": "point", "filled": True, "size": 34, "opacity": 0.75, **mark}
    bright = {**look, "size": 110, "opacity": 1, "color": colour("accent"), "stroke": colour("surface")}
    return [
        {**named(data), "transform": [{"filter": where}], "mark": look, "encoding": encoding},
        {
            **named(data),
            "transform": [{"filter": where}, {"filter": HIGHLIGHTED}],
            "mark": {**bright, "strokeWidth": 1.5},
            "encoding": {name: each for name, each in encoding.items() if name not in ("color", "opacity")},
        },
    ]


def lines(encoding: Spec, data: str, opacity: Any, **mark: Any) -> list[Spec]:
    """Draw a line per trial.

    A second line is broad and invisible, because a thin line is hard to point at. Highlighted
    trials are drawn again on top.
    """
    where = {name: each for name, each in encoding.items() if name != "color"} | {
        "detail": {"field": "trial", "type": "nominal"}
    }
    return [
        {
            **named(data),
            "mark": {"type": "line", "strokeWidth": 1.2, **mark},
            "encoding": {**where, "color": encoding["color"], "opacity": opacity},
        },
        {**named(data), "mark": {"type": "line", "strokeWidth": 9, "opacity": 0.001, **mark}, "encoding": where},
        {
            **named(data),
            "transform": [{"filter": HIGHLIGHTED}],
            "mark": {"type": "line", "strokeWidth": 3, "color": colour("accent"), **mark},
            "encoding": where,
        },
    ]


def parameter_axis(field: str, name: str, parameter: Parameter, **options: Any) -> Spec:
    """Encode a parameter on its own scale.

    The scale is logarithmic or linear, or shows choices side by side.
    """
    if isinstance(parameter, Float | Int):
        kind = {"type": "log"} if parameter.log else {"zero": False}
        scale = {**kind, "domain": list(parameter.bounds), "nice": False}
        ticks = {"tickCount": 4, "format": "~g", "labelOverlap": "greedy"}
        return {"field": field, "type": "quantitative", "title": printable(name), "scale": scale, "axis": ticks}
    labels = {"labelAngle": 0, "labelLimit": 90}
    return {"field": field, "type": "ordinal", "title": printable(name), "axis": labels, **options}
