"""Vega-Lite specifications of the page's figures, as plain dictionaries."""

from collections.abc import Sequence
from typing import Any

from tuner.config.parameters import Choice, Parameter
from tuner.report.encodings import (
    Spec,
    axis,
    colour,
    fate_colour,
    lines,
    metric_axis,
    metric_labels,
    named,
    parameter_axis,
    points,
    title_of,
    whole,
)


def best_so_far(data: str, x: str, x_title: str, metric: str) -> Spec:
    """Draw the best value as steps, and the values of completed trials."""
    across = axis(x, x_title, zero=True, nice=False)
    steps = {"type": "line", "interpolate": "step-after", "strokeWidth": 2.2, "color": colour("complete")}
    line = {**named(data), "mark": steps, "encoding": {"x": across, "y": metric_axis("best", metric)}}
    dots = {"x": across, "y": metric_axis("value", metric)}
    return {"height": 220, "layer": [line, *points(dots, data, color=colour("complete"), opacity=0.45)]}


def learning_curves(data: str, ends: str, rungs: str, metric: str, scale: Spec) -> Spec:
    """Draw a learning curve per trial in the colour of its fate.

    The best trial has a thick line. Rungs are vertical lines.
    """
    across = whole(axis("epoch", "epoch", nice=False))
    encoding = {"x": across, "y": metric_axis("value", metric, scale), "color": fate_colour()}
    upright = {
        **named(rungs),
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": colour("muted"), "opacity": 0.7},
        "encoding": {"x": {**across, "field": "rung"}},
    }
    best = {
        **named(data),
        "transform": [{"filter": "datum.is_best"}],
        "mark": {"type": "line", "strokeWidth": 3, "color": colour("complete")},
        "encoding": {"x": across, "y": encoding["y"]},
    }
    pale = {"condition": {"test": "datum.fate === 'stopped'", "value": 0.5}, "value": 0.8}
    drawn, *above = lines(encoding, data, pale)
    return {"height": 320, "layer": [upright, drawn, best, *above, *points(encoding, ends, size=22)]}


def parallel(data: str, ticks: str, axes: int, metric: str, *, is_maximized: bool) -> Spec:
    """Draw a line per trial across the axes of all parameters.

    The last axis is that of the metric.
    """
    scale = {"domain": [-0.02, axes - 1 + 0.02], "nice": False}
    across = {"field": "axis", "type": "quantitative", "axis": None, "scale": scale}
    up = {"field": "position", "type": "quantitative", "axis": None, "scale": {"domain": [-0.07, 1.2], "nice": False}}
    legend = {"title": title_of(metric), "orient": "bottom", "gradientLength": 180, "gradientThickness": 8}
    value = {
        "field": "value",
        "type": "quantitative",
        "legend": {**legend, **metric_labels(metric)},
        "scale": {"scheme": "viridis", "reverse": not is_maximized, "zero": False},
    }
    upright = {
        **named(ticks),
        "transform": [{"filter": "datum.is_axis"}],
        "mark": {"type": "rule", "color": colour("muted"), "opacity": 0.6},
        "encoding": {"x": across, "y": {**up, "field": "low"}, "y2": {"field": "high"}},
    }
    labels = {
        **named(ticks),
        "mark": {
            "type": "text",
            "fontSize": 11,
            "color": colour("ink"),
            "limit": 150,
            "align": {"expr": f"datum.axis == 0 ? 'left' : datum.axis == {axes - 1} ? 'right' : 'center'"},
            # because names would overlap on a phone
            "dy": {"expr": f"datum.is_axis && width < {90 * axes} ? -13 * (datum.axis % 3) + 2 : 0"},
        },
        "encoding": {"x": across, "y": up, "text": {"field": "text", "type": "nominal"}},
    }
    pale = {"condition": {"test": "datum.fate === 'complete'", "value": 0.85}, "value": 0.3}
    drawn = lines({"x": across, "y": up, "color": value}, data, pale)
    return {"height": 340, "layer": [upright, *drawn, labels]}


def slice_of(data: str, field: str, name: str, parameter: Parameter, values: Sequence[Any], metric: str) -> Spec:
    """Draw the values of trials against one parameter."""
    across = parameter_axis(field, name, parameter, sort=list(values), scale={"domain": list(values), "padding": 0.2})
    encoding = {"x": across, "y": metric_axis("value", metric), "color": fate_colour()}
    if isinstance(parameter, Choice):
        encoding["xOffset"] = {"field": "aside", "type": "quantitative", "scale": {"domain": [-0.75, 1.75]}}
    return {"height": 190, "layer": points(encoding, data, f"isValid(datum.{field})", size=26, opacity=0.65)}


def heat_map(
    data: str, parameters: dict[str, Parameter], names: Sequence[Sequence[str]], metric: str, *, is_maximized: bool
) -> Spec:
    """Draw the median value in each cell of two parameters."""
    encoding: Spec = {}
    for channel, (name, parameter), values in zip("xy", parameters.items(), names, strict=True):
        order = {"sort": list(values), "scale": {"domain": list(values)}}
        encoding[channel] = parameter_axis(channel, name, parameter, **order)
        encoding[channel]["axis"]["grid"] = False
        if not isinstance(parameter, Choice):
            encoding[f"{channel}2"] = {"field": f"{channel}2"}
    legend = {
        "title": f"median {title_of(metric)}",
        "orient": "right",
        "gradientThickness": 10,
        **metric_labels(metric),
    }
    scale = {"scheme": "viridis", "reverse": not is_maximized}
    said = [{"field": "cell"}, {"field": "median", "format": ".4~g"}, {"field": "count", "title": "trials"}]
    shades = {"field": "median", "type": "quantitative", "legend": legend, "scale": scale}
    encoding |= {"color": shades, "tooltip": said}
    return {"height": 300, "layer": [{**named(data), "mark": {"type": "rect", "tooltip": True}, "encoding": encoding}]}


def importance(data: str, count: int) -> Spec:
    """Draw the importance of each parameter with its interval.

    Shares for all trials and for the best trials are drawn side by side.
    """
    domain, shades = ["all trials", "the best"], [colour("complete"), colour("second")]
    aside = {"field": "of", "type": "nominal", "scale": {"domain": domain}}
    down = {
        "field": "parameter",
        "type": "nominal",
        "title": None,
        "sort": {"field": "order"},
        "axis": {"labelLimit": 160},
    }
    hue = {"field": "of", "type": "nominal", "legend": None, "scale": {"domain": domain, "range": shades}}
    shared = {"y": down, "yOffset": aside, "color": hue}
    share = axis("share", "share", zero=True, domainMin=0)
    interval = {"type": "rule", "strokeWidth": 2, "opacity": 0.6}
    said = [{"field": field, "title": title, "format": ".2f"} for field, title in SHARES]
    said.insert(0, {"field": "parameter", "title": "parameter"})
    return {
        "height": 34 * count,
        "layer": [
            {
                **named(data),
                "mark": interval,
                "encoding": {**shared, "x": {**share, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                **named(data),
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {**shared, "x": share, "tooltip": said},
            },
        ],
    }


SHARES = (("share", "share"), ("low", "from"), ("high", "to"))


def pareto(data: str, metrics: tuple[str, str], scales: tuple[Spec, Spec]) -> Spec:
    """Draw completed trials by two objectives, and join the front.

    The first objective is horizontal.
    """
    across, up = (metric_axis(*each) for each in zip("ab", metrics, scales, strict=True))
    encoding = {"x": across, "y": up}
    joined = {
        **named(data),
        "transform": [{"filter": "datum.is_front"}],
        "mark": {"type": "line", "strokeDash": [4, 3], "color": colour("complete"), "strokeWidth": 1.5},
        "encoding": {**encoding, "order": {"field": "a", "type": "quantitative"}},
    }
    shade = {"condition": {"test": "datum.is_front", "value": colour("complete")}, "value": colour("stopped")}
    return {"height": 320, "layer": [joined, *points({**encoding, "color": shade}, data, size=60)]}


def hypervolume(data: str) -> Spec:
    """Draw the hypervolume as steps by epochs."""
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": 2.2, "color": colour("complete")}
    across = axis("epochs", "epochs of all trials", zero=True, nice=False)
    return {
        "height": 320,
        **named(data),
        "mark": mark,
        "encoding": {"x": across, "y": axis("hypervolume", "hypervolume")},
    }


def confusion(data: str, names: Sequence[str]) -> Spec:
    """Draw the number of images by true and predicted class."""
    many = len(names) > 12
    label = {"labelLimit": 90, "labelOverlap": many, "grid": False}
    down: Spec = {"field": "label", "type": "ordinal", "title": None, "sort": list(names), "axis": label}
    across = {
        **down,
        "field": "predicted",
        "title": "predicted class",
        "axis": {**label, "orient": "top", "labelAngle": 0 if _short(names) else -40},
    }
    for channel in (down, across):
        channel["scale"] = {"domain": list(names), "padding": 0.04}
    ramp: Spec = {"type": "sqrt", "domain": [0, 1], "range": [colour("low"), colour("high")]}
    shade = {"field": "share", "type": "quantitative", "legend": None, "scale": ramp}
    said = [{"field": field, "title": title} for field, title in CONFUSED]
    said.append({"field": "share", "title": "of its images", "format": ".1%"})
    where = {"y": down, "x": across}
    cells = {
        **named(data),
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {**where, "color": shade, "tooltip": said},
    }
    ink = {"condition": {"test": "datum.share > 0.3", "value": colour("on_high")}, "value": colour("ink")}
    counts = {
        **named(data),
        "mark": {"type": "text", "fontSize": 11},
        "encoding": {**where, "text": {"field": "count", "type": "quantitative"}, "color": ink, "tooltip": said},
    }
    return {"height": min(620, max(260, 34 * len(names))), "layer": [cells] if many else [cells, counts]}


CONFUSED = (("label", "true class"), ("predicted", "predicted class"), ("count", "images"))


def _short(names: Sequence[str]) -> bool:
    return max(map(len, names), default=0) <= 4


def bars(data: str, count: int) -> Spec:
    """Draw the share of each entry of a ledger."""
    down = {"field": "entry", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 140}}
    share = {
        "field": "share",
        "type": "quantitative",
        "title": "share of the slots' time",
        "axis": {"format": "%", "tickCount": 5},
    }
    said = [{"field": "entry", "title": "entry"}, {"field": "share", "title": "share", "format": ".1%"}]
    said.append({"field": "time", "title": "time"})
    where = {"y": down, "x": share, "tooltip": said}
    labels = {"type": "text", "align": "left", "dx": 5, "fontSize": 11, "color": colour("ink")}
    return {
        "height": 26 * count,
        "layer": [
            {
                **named(data),
                "mark": {"type": "bar", "color": colour("complete"), "cornerRadiusEnd": 2, "height": 14},
                "encoding": where,
            },
            {**named(data), "mark": labels, "encoding": {**where, "text": {"field": "share", "format": ".1%"}}},
        ],
    }


def overlay(data: str, names: Sequence[str], shades: Sequence[str], metric: str) -> Spec:
    """Draw the best value of several studies by epochs."""
    hue = {
        "field": "study",
        "type": "nominal",
        "legend": None,
        "scale": {"domain": list(names), "range": [colour(shade) for shade in shades]},
    }
    said = [
        {"field": "study", "title": "study"},
        {"field": "number", "title": "trial"},
        {"field": "best", "title": "best"},
    ]
    where = {
        "x": axis("epochs", "epochs of all trials", zero=True, nice=False),
        "y": metric_axis("best", metric),
        "color": hue,
    }
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": 2.2}
    dots = {"type": "point", "filled": True, "size": 30}
    return {
        "height": 320,
        "layer": [
            {**named(data), "mark": line, "encoding": where},
            {**named(data), "mark": dots, "encoding": {**where, "tooltip": said}},
        ],
    }
