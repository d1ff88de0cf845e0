"""Section that compares several studies of a page."""

from collections.abc import Sequence

import pandas as pd

from tuner.analysis.compare import compare
from tuner.analysis.leaderboard import best_by_epochs
from tuner.report import specs
from tuner.report.blocks import Block, Column, Columns, columns, figure, metric_kind, table, text
from tuner.results.folder import StudyResults

SHADES = ("complete", "failed", "running", "accent", "waiting", "second")
"""Colours of studies, of which the first are farthest apart."""


def comparison(studies: Sequence[StudyResults], data: dict[str, Columns]) -> list[Block]:
    """Compare studies by their values, curves and differing settings."""
    found = compare(studies)
    labels = [str(name) for name in found.results.index]
    said = [*found.obstacles, *found.tests["verdict"].astype(str)]
    if found.obstacles:
        said.insert(0, "These values cannot be compared:")
    return [
        *([text("comparison_verdict", *said)] if said else []),
        _value_table(found.results, labels),
        *_overlay(studies, labels, data),
        *_settings(found.settings),
    ]


def _value_table(results: pd.DataFrame, labels: list[str]) -> Block:
    metrics = {*results["metric"]}
    kind = metric_kind(metrics.pop()) if len(metrics) == 1 else "number"
    cells = [
        Column("study", "text", labels),
        Column("objective", "text", results["metric"].tolist()),
        Column("best trial", "whole", results["best"].tolist()),
        Column("in the search", kind, results["value"].tolist()),
        Column("mean of repeats", kind, results["mean"].tolist()),
        Column("from (95\u00a0%)", kind, results["low"].tolist()),
        Column("to (95\u00a0%)", kind, results["high"].tolist()),
        Column("repeats", "whole", results["seeds"].tolist()),
        Column("test accuracy", "share", results["test_accuracy"].tolist()),
        Column("trials", "whole", results["trials"].tolist()),
        Column("epochs", "whole", results["epochs"].tolist()),
        Column("training", "seconds", results["train_seconds"].tolist()),
    ]
    return table("comparison_values", "Best values", cells, noun="studies")


def _overlay(studies: Sequence[StudyResults], labels: list[str], data: dict[str, Columns]) -> list[Block]:
    """Draw the best value of each study by epochs.

    Nothing is drawn if the studies have different objectives.
    """
    metrics = {study.spec.objective[0].metric for study in studies}
    frames = [best_by_epochs(study).assign(study=label) for study, label in zip(studies, labels, strict=True)]
    raised = [frame[frame["best"] != frame["best"].shift()] for frame in frames]
    ends = [frame.tail(1) for frame in frames]
    drawn = pd.concat([*raised, *ends]).drop_duplicates(["study", "number"]).sort_values(["study", "epochs"])
    if len(metrics) > 1 or drawn.empty:
        return []
    data["comparison"] = columns(drawn[["study", "number", "epochs", "best"]])
    shades = [SHADES[index % len(SHADES)] for index in range(len(labels))]
    shown = columns(pd.DataFrame({"label": labels}))["label"]
    spec = specs.overlay("comparison", shown, shades, metrics.pop())
    legend = list(zip(shown, shades, strict=True))
    return [figure("comparison_overlay", "Best so far, by epochs", spec, legend=legend)]


def _settings(settings: pd.DataFrame) -> list[Block]:
    """List the settings that differ."""
    if settings.empty:
        return [text("comparison_same", "All settings are equal.")]
    cells = [Column("setting", "text", settings.index.tolist())]
    cells += [Column(str(name), "text", [_cell(cell) for cell in settings[name]]) for name in settings]
    return [table("comparison_settings", "Settings that differ", cells, noun="settings")]


def _cell(value: object) -> str:
    return "" if value is None else str(value)
