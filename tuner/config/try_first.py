"""Configurations that a study tries first, checked against its space."""

from collections.abc import Mapping

from tuner.config.parameters import Choice, Constant, Float, Int, Parameter
from tuner.config.sections import Search
from tuner.config.space import Space
from tuner.config.validation_messages import shown
from tuner.config.values import Value
from tuner.errors import shorten, suggest


def check_try_first(search: Search, space: Space) -> None:
    """Raise ValueError for a configuration that cannot be tried first.

    Args:
        search: The section with the configurations.
        space: The parameters that are searched.
    """
    first = search.try_first or []
    if first and search.sampler == "grid":
        raise ValueError("search.try_first: a grid tries every configuration; allowed: with other samplers")
    if search.trials is not None and len(first) > search.trials:
        raise ValueError(f"search.try_first: found {len(first)}; allowed: up to search.trials, {search.trials}")
    for index, given in enumerate(first):
        for name, value in given.items():
            place = f"search.try_first[{index}].{shorten(name)}"
            if name not in space:
                raise ValueError(f"{place}: not searched; {suggest(name, space.root)}")
            if not contains(space[name], value):
                raise ValueError(f"{place}: found {shown(value)}; allowed: {_allowed(space[name])}")
            _check_active(place, name, given, space)


def contains(parameter: Parameter, value: Value) -> bool:
    """Return True if a value is one that the parameter can have."""
    if isinstance(parameter, Float) and parameter.step is None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and parameter.bounds[0] <= value <= parameter.bounds[1]  # type: ignore[operator]
    return parameter.holds(value)


def _allowed(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return shorten(", ".join(map(shown, parameter.choice)))
    if isinstance(parameter, Float | Int):
        low, high = parameter.reachable
        return f"{low:g} to {high:g}" + (f" in steps of {parameter.step:g}" if parameter.step else "")
    return shown(parameter.value)


def _check_active(place: str, name: str, given: Mapping[str, Value], space: Space) -> None:
    """Raise ValueError unless every condition of a parameter holds.

    Conditions are compared with the values beside the parameter, and with the space's constants.
    """
    known = {key: one.value for key, one in space.root.items() if isinstance(one, Constant)} | dict(given)
    for other, allowed in space.required[name].items():
        if other not in known or not any(Constant(value=value).holds(known[other]) for value in allowed):
            values = shorten(", ".join(map(shown, allowed)))
            raise ValueError(f"{place}: not active here; name {other} beside it; allowed: {values}")
