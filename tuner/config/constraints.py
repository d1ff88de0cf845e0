"""Constraints of a study: bounds that a trial has to keep to count."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import model_validator

from tuner.config.registry import METRICS, TEST_METRICS
from tuner.config.sections import Objective
from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import suggest

BEFORE_TRAINING = ("parameters_count",)
"""Metrics that are known before a trial is trained."""
_OF_A_TRIAL = ("val_accuracy", "val_loss", "train_seconds", "parameters_count")
"""Metrics that every trial's row has."""


class Bound(Settings):
    """Lowest and highest value of a metric, both allowed."""

    min: float | None = None
    """Lowest value. None: no limit."""
    max: float | None = None
    """Highest value. None: no limit."""

    @model_validator(mode="after")
    def _is_an_interval(self) -> "Bound":
        if self.min is None and self.max is None:
            raise ValueError("found no bound; allowed: {min: NUMBER}, {max: NUMBER}, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min: {self.min:g} is above max, {self.max:g}")
        return self

    def excess(self, value: float) -> float:
        """Return how far a value is outside, in shares of the bound.

        The result is 0 or less for a value inside.
        """
        over = [] if self.max is None else [(value - self.max) / (abs(self.max) or 1.0)]
        under = [] if self.min is None else [(self.min - value) / (abs(self.min) or 1.0)]
        return max([*over, *under])

    def __str__(self) -> str:
        if self.min is None:
            return f"at most {self.max:,.10g}"
        return f"at least {self.min:,.10g}" if self.max is None else f"{self.min:,.10g} to {self.max:,.10g}"


Constraints = Mapping[str, Bound]


def check_constraints(constraints: Constraints, objectives: Sequence[Objective]) -> None:
    """Raise ValueError for a constraint on a metric that is not allowed.

    A constraint needs a metric that the row of every trial has. Metrics of test images are never
    allowed.

    Args:
        constraints: Bounds by metric.
        objectives: What is searched for.
    """
    known = dict.fromkeys([*_OF_A_TRIAL, *(objective.metric for objective in objectives)])
    for metric in constraints:
        if metric in TEST_METRICS:
            raise ValueError(f"constraints.{metric}: nothing may choose by test images; use val_{metric[5:]}")
        if metric not in known:
            found = "it is measured where it is an objective" if metric in METRICS else "no such metric"
            raise ValueError(f"constraints: found {shown(metric)}; {found}; {suggest(metric, known)}")


def excesses(constraints: Constraints, measured: Mapping[str, Any]) -> dict[str, float]:
    """Return how far a trial is outside each constraint.

    The number is 0 or less for a constraint that is met.

    Args:
        constraints: Bounds by metric.
        measured: What is known of the trial. Other metrics are left out.
    """
    known = {metric: measured[metric] for metric in constraints if _is_number(measured.get(metric))}
    return {metric: constraints[metric].excess(float(value)) for metric, value in known.items()}


def is_outside(constraints: Constraints, measured: Mapping[str, Any]) -> bool:
    """Return True if a measured value is outside a constraint."""
    return any(excess > 0 for excess in excesses(constraints, measured).values())


def describe_outside(constraints: Constraints, measured: Mapping[str, Any]) -> str:
    """Describe the broken constraints: `parameters_count 3,241 is not at most 2,000`."""
    outside = [metric for metric, excess in excesses(constraints, measured).items() if excess > 0]
    return " and ".join(f"{metric} {measured[metric]:,.10g} is not {constraints[metric]}" for metric in outside)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and value == value
