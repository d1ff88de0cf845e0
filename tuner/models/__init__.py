"""Networks by name: each family's file, what builds them, and what they look like."""

from tuner.models.build import (
    BUILDERS,
    build,
    build_on_meta,
    names,
    parameters_count,
    shapes,
)
from tuner.models.summary import Layer, layer_table

__all__ = ["BUILDERS", "Layer", "build", "build_on_meta", "layer_table", "names", "parameters_count", "shapes"]
