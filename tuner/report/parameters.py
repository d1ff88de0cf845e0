"""Sections on the searched parameters: all at once, by importance, two together, and one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tuner.analysis.formatting import metric_text, number_text
from tuner.analysis.parameters import cell_edges, cell_names, choice_values, medians, positions
from tuner.config.parameters import Choice, Parameter
from tuner.report import specs
from tuner.report.blocks import FATES, Block, fate, figure, plain, text
from tuner.report.context import Context, drawn_sentence
from tuner.report.encodings import title_of

MOST_AXES, MOST_SLICES = 7, 12
"""Parameters that are drawn at once, and one by one, at most."""
AXIS_WIDTH, CELL_WIDTH, BESIDE_CELLS = 100, 84, 220
"""Pixels that the texts of an axis and of a choice need, and those beside the cells of the heat map."""
_IMPORTANCE = (("all trials", "importance", "low", "high"), ("the best", "best", "best_low", "best_high"))


def parallel(context: Context) -> list[Block]:
    """Draw trials across the axes of all parameters and the value."""
    drawn = context.lines.dropna(subset="value")
    names = context.parameters_by_importance(MOST_AXES)
    if drawn.empty or len(names) < 2:
        return []
    chosen = {name: context.parameters[name] for name in names}
    values = drawn["value"].to_numpy(float)
    low, high = float(values.min()), float(values.max())
    places = [positions(drawn[f"param_{name}"], each) for name, each in chosen.items()]
    places.append((values - low) / ((high - low) or 1.0))
    known = {"trial": drawn["number"], "value": values, "fate": drawn["state"].map(fate)}
    rows = pd.concat([pd.DataFrame({**known, "axis": index, "position": each}) for index, each in enumerate(places)])
    ends = (metric_text(context.metric, value) for value in (low, high))
    data = context.add("parallel", rows.dropna(subset="position"))
    ticks = context.add("axes", pd.DataFrame(_ticks(chosen, context.metric, *ends)))
    is_maximized = context.study.spec.objective[0].sign > 0
    spec = specs.parallel(data, ticks, len(places), context.metric, is_maximized=is_maximized)
    total = int(context.searched["value"].notna().sum())
    said = [drawn_sentence(len(drawn), total, "trials with a value")]
    said += ["The colour is the last value. Trials that did not complete are pale."]
    said += _left_out(context, len(names))
    least = AXIS_WIDTH * len(places)
    return [figure(context.id("parallel"), "All parameters at once", spec, " ".join(said), least=least)]


def _ticks(parameters: Mapping[str, Parameter], metric: str, low: str, high: str) -> list[dict[str, Any]]:
    """Return the texts along each axis.

    These are the axis's name, and the values at its ends or its choices.
    """
    texts = {name: _axis_texts(each) for name, each in parameters.items()}
    texts[title_of(metric)] = [low, high]
    rows: list[dict[str, Any]] = []
    for index, (name, values) in enumerate(texts.items()):
        rows.append({"axis": index, "position": 1.1, "text": name, "is_axis": True, "low": 0, "high": 1})
        for place, value in zip(np.linspace(0, 1, len(values)) if len(values) > 1 else [0.0], values, strict=True):
            beside = place - 0.045 if place == 0 else place + 0.035
            rows.append({"axis": index, "position": beside, "text": value, "is_axis": False, "low": 0, "high": 1})
    return rows


def _axis_texts(parameter: Parameter) -> list[str]:
    if isinstance(parameter, Choice):
        return cell_names(parameter)
    return [number_text(bound) for bound in (cell_edges(parameter, 1))]


def _left_out(context: Context, drawn: int) -> list[str]:
    left = len(context.parameters) - drawn
    return [f"Less important parameters are left out ({left})."] if left > 0 else []


def importance(context: Context) -> list[Block]:
    """Draw how much each parameter matters."""
    shares, note = context.extras.importance, context.extras.importance_note
    if shares is None or shares.empty:
        return [text(context.id("no_importance"), note)] if note else []
    shown = shares.head(MOST_SLICES)
    rows = [
        {"parameter": str(name), "order": order, "of": of, "share": row[share], "low": row[low], "high": row[high]}
        for order, (name, row) in enumerate(shown.iterrows())
        for of, share, low, high in _IMPORTANCE
        if pd.notna(row[share])
    ]
    spec = specs.importance(context.add("importance", pd.DataFrame(rows)), len(shown))
    said = ["Share of the variance over all trials (fANOVA), and of what makes the best 10\u00a0% (PED-ANOVA)."]
    said += ["Lines are 90\u00a0% intervals.", *([note] if note else [])]
    rare = ", ".join(name for name in context.parameters if name not in shares.index)
    said += [f"Not every trial has {rare}, so it is not weighed."] if rare else []
    legend = [("all trials", "complete"), ("the best", "second")]
    return [figure(context.id("importance"), "Importance", spec, " ".join(said), width="half", legend=legend)]


def heat_map(context: Context) -> list[Block]:
    """Draw the medians over the two most important parameters."""
    names = context.parameters_by_importance(2)
    chosen = {name: context.parameters[name] for name in names}
    found = medians(context.searched, chosen) if len(names) == 2 else pd.DataFrame()
    if found.empty:
        return []
    texts = {name: [*map(plain, cell_names(each))] for name, each in chosen.items()}
    cells: dict[str, Any] = {"median": found["median"], "count": found["count"], "cell": ""}
    for channel, (name, parameter) in zip("xy", chosen.items(), strict=True):
        cells["cell"] += f"{name} " + found[channel].map(texts[name].__getitem__) + (", " if channel == "x" else "")
        cells |= _cell_columns(channel, found[channel], parameter, texts[name])
    data = context.add("medians", pd.DataFrame(cells))
    is_maximized = context.study.spec.objective[0].sign > 0
    spec = specs.heat_map(data, chosen, list(texts.values()), context.metric, is_maximized=is_maximized)
    said = (
        f"Median of the last values in each cell. It holds {int(found['count'].sum()):,} trials, stopped ones included."
    )
    across = chosen[names[0]]
    least = BESIDE_CELLS + CELL_WIDTH * len(cell_names(across)) if isinstance(across, Choice) else 0
    return [figure(context.id("heat_map"), " and ".join(names), spec, said, width="half", least=least)]


def _cell_columns(
    channel: str, index: "pd.Series[int]", parameter: Parameter, texts: Sequence[str]
) -> dict[str, "pd.Series[Any]"]:
    """Return where the cells lie along a parameter.

    Cells of a choice have names. Other cells have a lower and an upper edge.
    """
    if isinstance(parameter, Choice):
        return {channel: index.map(texts.__getitem__)}
    edges = cell_edges(parameter)
    return {channel: index.map(edges.__getitem__), f"{channel}2": index.map(edges[1:].__getitem__)}


def slices(context: Context) -> list[Block]:
    """Draw the values against each parameter."""
    drawn = context.points
    if not drawn["value"].notna().any() or not context.parameters:
        return []
    names = context.parameters_by_importance(MOST_SLICES)
    fates = {*drawn["state"].map(fate)}
    said = [drawn_sentence(len(drawn), len(context.searched), "trials")]
    said += ["Stopped ones are drawn with their last value."] if "stopped" in fates else []
    legend = [[name, name] for name in FATES.values() if name in fates]
    lead = text(context.id("slices_text"), " ".join([*said, *_left_out(context, len(names))])) | {"legend": legend}
    return [lead, *(_slice(context, name) for name in names)]


def _slice(context: Context, name: str) -> Block:
    parameter, field = context.parameters[name], context.field(name)
    values = [plain(value) for value in choice_values(parameter)] if isinstance(parameter, Choice) else []
    spec = specs.slice_of(context.id("trials"), field, name, parameter, values, context.metric)
    return figure(context.id(f"slice_{field}"), "", spec, width="third")
