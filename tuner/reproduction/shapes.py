"""Output shapes that a report prints, measured on the built networks without training."""

from pathlib import Path

import pandas as pd

from tuner.models import shapes
from tuner.models.summary import Layer
from tuner.reproduction import reported
from tuner.reproduction.runs import SHAPES, choice

KINDS = ("Conv2d", "AvgPool2d", "MaxPool2d", "Linear")
"""Kinds of layers that reports count."""


def write_shapes(name: str, results: Path) -> None:
    """Write the layers of networks whose shapes a report prints.

    The file lies beside the studies. Most reports print no shapes.

    Args:
        name: One of `tuner.reproduction.reported.REPORTS`.
        results: The results directory.
    """
    lines = reported.lines(name)
    asked = [choice(trial) for trial in lines["trial"][lines["unit"] == "shape"]]
    networks = dict.fromkeys((asked_for["architecture"], asked_for["image_size"]) for asked_for in asked)
    rows = [row for architecture, image_size in networks for row in _rows(architecture, image_size)]
    if rows:
        results.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(results / SHAPES, index=False)


def _rows(architecture: str, image_size: int) -> list[dict[str, object]]:
    passed = shapes(architecture, in_channels=1, classes=10, image_size=image_size)
    layers = [layer for layer in passed if layer.kind in KINDS]
    network = {"architecture": architecture, "image_size": image_size}
    return [
        network | {"layer": number, "kind": layer.kind, "output": _text(layer), "parameters": layer.parameters}
        for number, layer in enumerate(layers, 1)
    ]


def _text(layer: Layer) -> str:
    """Format a shape as slides do: `28x28x6`, or `120` for one pixel."""
    maps, *sides = layer.shape
    return "x".join(map(str, [*sides, maps] if any(side > 1 for side in sides) else [maps]))
