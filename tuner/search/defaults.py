"""The configuration that a search tries first: the defaults, as near as the space allows."""

import math
from collections.abc import Mapping
from typing import Any

from tuner.config.parameters import Choice, Constant, Parameter
from tuner.config.registry import architecture
from tuner.config.study import StudyConfig
from tuner.config.training import TrainingConfig
from tuner.config.values import Value


def default_configuration(spec: StudyConfig, given: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """Return the configuration of the recipe's and the architecture's defaults.

    A default outside the space is replaced by the nearest value of the space. Of the
    architectures the first one is taken.

    Args:
        spec: The study.
        given: Values that stand in place of defaults.
    """
    drawn: dict[str, Value] = {}
    named = given or {}

    def pick(name: str, parameter: Parameter) -> Value:
        own = nearest_value(parameter, _default(spec, name, drawn))
        drawn[name] = parameter.canonical(named[name]) if name in named else own
        return drawn[name]

    return spec.space.draw(pick)


def _default(spec: StudyConfig, name: str, drawn: dict[str, Value]) -> Any:
    if name == "architecture":
        return spec.architectures[0]
    if name in TrainingConfig.model_fields:
        return TrainingConfig.model_fields[name].default
    network = str(drawn.get("architecture", spec.architectures[0]))
    declared = architecture(network).hyperparameters.get(name)
    return declared.default if declared else None


def nearest_value(parameter: Parameter, wanted: Any) -> Value:
    """Return the parameter's value that is nearest to a wanted one.

    Without a wanted number it is the first choice, or the middle of the range.
    """
    number = wanted if isinstance(wanted, int | float) and not isinstance(wanted, bool) else None
    if isinstance(parameter, Constant):
        return parameter.value
    if isinstance(parameter, Choice):
        return _nearest_choice(parameter, wanted, number)
    low, high = parameter.reachable
    middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
    value = min(max(middle if number is None else number, low), high)
    return parameter.nearest(value)


def _nearest_choice(parameter: Choice, wanted: Any, number: float | None) -> Value:
    """Compare numbers by their ratio where all are above zero."""
    if parameter.holds(wanted):
        return parameter.canonical(wanted)
    numbers = [v for v in parameter.choice if isinstance(v, int | float) and not isinstance(v, bool)]
    if number is None or len(numbers) < len(parameter.choice):
        return parameter.choice[0]
    if min(*numbers, number) > 0:
        return min(numbers, key=lambda v: abs(math.log(v / number)))
    return min(numbers, key=lambda v: abs(v - number))
