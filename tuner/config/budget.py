"""Budget of a study file, and the targets that make no sense."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from tuner.config.sections import Objective
from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import suggest


class Budget(Settings):
    """Limits of the whole study, which count over all its runs.

    A raised budget lets the study go on.
    """

    hours: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Hours of the study. Trials in flight are then interrupted. None: no limit."""
    gpu_hours: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Hours of the GPUs that trials hold, summed up. Trials in flight are then interrupted."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs that all trials train together. Trials in flight are then interrupted."""
    target: Annotated[dict[str, float], Field(min_length=1)] | None = None
    """Values of the objective that a completed trial has to reach. Trials in flight are then interrupted."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """Trials that may begin, repeats included. Trials that run go on to their end."""
    plateau: Annotated[int, Field(ge=1)] | None = None
    """Trials in a row without progress, after which none begins. Trials that run go on to their end."""
    trial_minutes: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Minutes that one trial may train and be evaluated. It is then PRUNED at its last epoch."""

    @property
    def limits(self) -> Mapping[str, object]:
        """The limits of the study that are set, by their keys."""
        return {name: value for name, value in self.model_dump(exclude={"trial_minutes"}).items() if value is not None}


def check_gpu_hours(budget: Budget, gpu: float | str) -> None:
    """Raise ValueError for hours of GPUs that no trial has."""
    if budget.gpu_hours is not None and gpu == 0:
        raise ValueError("budget.gpu_hours: trials have no GPU; allowed: with `resources.gpu` above 0, or budget.hours")


def check_target(target: Mapping[str, float] | None, objectives: Sequence[Objective]) -> None:
    """Raise ValueError for a target that no trial, or every trial, reaches.

    Args:
        target: Values by metric.
        objectives: What is searched for.
    """
    known = {objective.metric: objective for objective in objectives}
    for metric, value in (target or {}).items():
        if metric not in known:
            raise ValueError(f"budget.target: no objective {shown(metric)}; {suggest(metric, known)}")
        is_share = known[metric].direction == "maximize"  # as every metric that is maximized
        if value <= 0 or (is_share and value > 1):
            allowed = "above 0 and at most 1" if is_share else "above 0"
            percent = f"did you mean {value / 100:g}? " if is_share and 1 < value <= 100 else ""
            raise ValueError(
                f"budget.target.{metric}: found {shown(value)}; {percent}allowed: {allowed},"
                f" because {metric} is {known[metric].direction}d"
            )
