"""Networks by name, one module per family, with their layers and parameter counts."""

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
