"""Samplers that a study can use, and the reasons why some cannot work with it."""

from collections.abc import Sequence

from tuner.config.parameters import Choice
from tuner.config.sections import NSGA_POPULATION, Objective, Search
from tuner.config.space import Space
from tuner.config.validation_messages import shown
from tuner.errors import SpecError

NSGA = ("nsga2", "nsga3")
"""Genetic samplers, which propose at random until their first generation is complete."""
LEARNS_FROM_RUNGS = ("mixed", "tpe", "curves")
"""Samplers that learn from the rungs of trials, where there is one objective."""
SINGLE_OBJECTIVE = ("curves", "gp", "cmaes")
"""Samplers that Optuna allows with one objective only."""


def check_sampler(search: Search, space: Space, objectives: Sequence[Objective], *, stored: bool) -> None:
    """Raise ValueError if a sampler cannot work with a study.

    The space, the objectives and the number of trials may rule it out.

    Args:
        search: The sampler and its trials.
        space: The parameters that are searched.
        objectives: What is searched for.
        stored: True for a study that was checked when it began, maybe by an earlier version.
    """
    name = search.sampler
    if search.learn_from and (name not in LEARNS_FROM_RUNGS or len(objectives) > 1):
        allowed = f"with one objective and {', '.join(LEARNS_FROM_RUNGS)}"
        raise ValueError(f"search.learn_from: {name} cannot use it; allowed: {allowed}")
    if twice := [each for each in search.learn_from or [] if (search.learn_from or []).count(each) > 1]:
        raise ValueError(f"search.learn_from: {shown(twice[0])} stands twice")
    if name == "grid":
        _check_grid(space)
    if len(objectives) > 1 and name in SINGLE_OBJECTIVE:
        allowed = "nsga2, nsga3, tpe, random, qmc, grid"
        raise ValueError(f"search.sampler: {name} has one objective; allowed: {allowed}")
    if name == "cmaes" and not stored:
        _check_numbers(space)
    if name in NSGA and not stored and search.trials is not None:
        _check_generations(name, search.trials)


def _check_grid(space: Space) -> None:
    try:
        space.grid()
    except SpecError as error:
        raise ValueError(str(error)) from None


def _check_numbers(space: Space) -> None:
    for key, parameter in space.root.items():
        if isinstance(parameter, Choice) and len(parameter.choice) > 1:
            raise ValueError(
                f"search.sampler: cmaes learns nothing about choices, and space.{key} is one; "
                "write it as a range, or sample with tpe"
            )


def _check_generations(name: str, trials: int) -> None:
    if trials <= NSGA_POPULATION:
        raise ValueError(
            f"search.trials: found {trials}; {name} draws its first {NSGA_POPULATION} at random, "
            f"so it needs more; or sample with tpe"
        )
