"""Sections of a study file besides `dataset`, `training` and `space`."""

import math
from collections.abc import Mapping
from itertools import count, takewhile
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_serializer, model_validator

from tuner.config.registry import METRICS, TEST_METRICS
from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.config.values import CheckedValue
from tuner.errors import shorten, suggest

SMALLEST_GPU = 0.0001
"""Smallest share of a GPU that Ray counts."""
Direction = Literal["maximize", "minimize"]
NSGA_POPULATION = 50
"""Trials of one generation of nsga2 and nsga3, of which the first is drawn at random."""


class Objective(Settings):
    """Metric of the last epoch that is maximized or minimized.

    It is written `{maximize: val_accuracy}`.
    """

    metric: str
    """Name of the metric."""
    direction: Direction
    """maximize or minimize, as the metric wants."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or len(raw) != 1 or next(iter(raw)) not in ("maximize", "minimize"):
            raise ValueError(f"found {shown(raw)}; allowed: {{maximize: METRIC}} or {{minimize: METRIC}}")
        direction, metric = next(iter(raw.items()))
        if not isinstance(metric, str):
            raise ValueError(f"found {shown(raw)}; {suggest('', METRICS)}")
        if metric in TEST_METRICS:
            raise ValueError(f"'{metric}' is measured on test images, and nothing may choose by them; use val_accuracy")
        if metric not in METRICS:
            raise ValueError(f"no metric {shown(metric)}; {suggest(metric, METRICS)}")
        if direction != METRICS[metric].direction:
            raise ValueError(f"found {{{direction}: {metric}}}; allowed: {{{METRICS[metric].direction}: {metric}}}")
        return {"metric": metric, "direction": direction}

    @property
    def sign(self) -> Literal[1, -1]:
        """Factor that makes more of the metric better.

        It is 1 to maximize and -1 to minimize.
        """
        return 1 if self.direction == "maximize" else -1

    @model_serializer
    def _write(self) -> dict[str, str]:
        return {self.direction: self.metric}


def _check_reference(name: Any) -> Any:
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise ValueError(f"found {shown(name)}; allowed: the name of a study, or the path of its folder")
    return name


StudyReference = Annotated[str, BeforeValidator(_check_reference)]


class Search(Settings):
    """Sampler, number of trials, and the seed of every proposal and training."""

    sampler: Literal["mixed", "tpe", "curves", "random", "qmc", "grid", "gp", "cmaes", "nsga2", "nsga3"] = "mixed"
    """Algorithm that proposes configurations. mixed: curves, tpe and random in turn."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Number of finished trials to reach.

    Default: 32, every point of a grid, or 200 with nsga2 and nsga3.
    """
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every proposal and training."""
    try_first: Annotated[list[dict[str, CheckedValue]], Field(min_length=1)] | None = None
    """Configurations that are proposed first. Parameters that one leaves out have their defaults."""
    learn_from: Annotated[list[StudyReference], Field(min_length=1)] | None = None
    """Earlier studies to learn from: names in the same results directory, or paths."""


class HalvingConfig(Settings):
    """Rungs at grace_period * reduction_factor**k epochs."""

    grace_period: Annotated[int, Field(ge=1)] = 1
    """Epochs that every trial gets, and the first rung."""
    reduction_factor: Annotated[float, Field(ge=1.01, le=1_000_000)] = 3.0
    """Ratio of two rungs, and of the trials that reach and pass a rung."""

    def rungs_before(self, epochs: int) -> list[int]:
        """Return the epochs of all brackets' rungs before an epoch."""
        rungs = (math.ceil(self.grace_period * self.reduction_factor**k) for k in count())
        return sorted({*takewhile(lambda rung: rung < epochs, rungs)})


class AshaConfig(HalvingConfig):
    """Asynchronous successive halving, in which a trial can wait.

    A trial waits at a rung for its turn.
    """

    type: Literal["promote", "stop"] = "promote"
    """promote: a trial waits, and the best 1/reduction_factor of a rung go on. stop: it goes on or stops."""
    min_trials: Annotated[int, Field(ge=1)] = 3
    """Trials that must stand at a rung before any goes on. Until then trials wait."""

    ranking: Literal["front", "first"] = "front"
    """Order of trials with several objectives. front: by Pareto fronts. first: by the first objective."""

    @model_validator(mode="before")
    @classmethod
    def _read_earlier(cls, raw: Any, info: ValidationInfo) -> Any:
        """Give a study of an earlier version the rule that it had.

        Such a study names no type.
        """
        is_stored = bool((info.context or {}).get("stored"))
        if is_stored and isinstance(raw, Mapping):
            return {"type": "stop", "min_trials": 1, "ranking": "first", **raw}
        return raw

    @property
    def can_wait(self) -> bool:
        """True if a trial may have to wait."""
        return self.type == "promote" or self.min_trials > 1

    def waits_at(self, epoch: int) -> bool:
        """Return True if a trial may have to wait after this epoch."""
        if not self.can_wait:
            return False
        rungs = (math.ceil(self.grace_period * self.reduction_factor**k) for k in count())
        return next(rung for rung in rungs if rung >= epoch) == epoch


class HyperbandConfig(HalvingConfig):
    """ASHA in several brackets, with the verdicts of Ray's.

    Bracket k starts k rungs later.
    """

    brackets: Annotated[int, Field(ge=1, le=8)] = 3
    """Number of brackets."""


class MedianConfig(Settings):
    """Rule that stops trials whose best value is worse than a median.

    The median is of the running means of the other trials at the same epoch.
    """

    grace_period: Annotated[int, Field(ge=1)] = 1
    """Epochs that every trial gets."""
    min_trials: Annotated[int, Field(ge=1)] = 3
    """Other trials that must have reached an epoch before stops."""


class Stopping(Settings):
    """Rule that stops trials early: asha, hyperband, median, or `none`."""

    asha: AshaConfig | None = None
    """Asynchronous successive halving, which promotes or stops."""
    hyperband: HyperbandConfig | None = None
    """ASHA in several brackets."""
    median: MedianConfig | None = None
    """Median rule."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if raw in ("none", None):
            return {}
        raw = {raw: {}} if isinstance(raw, str) else raw
        if isinstance(raw, Mapping) and len(raw) > 1:
            raise ValueError(f"one rule is allowed, found {shorten(' and '.join(map(str, raw)))}")
        # `asha:` with nothing below it means the rule with its defaults.
        return {key: {} if value is None else value for key, value in raw.items()} if isinstance(raw, Mapping) else raw

    @model_serializer
    def _write(self) -> Any:
        rules = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: rule.model_dump() for name, rule in rules.items() if rule} or "none"

    @property
    def rule(self) -> AshaConfig | HyperbandConfig | MedianConfig | None:
        """The rule that is set, or None."""
        return self.asha or self.hyperband or self.median

    def waits_at(self, epoch: int) -> bool:
        """Return True if a trial may have to wait after this epoch."""
        return self.asha is not None and self.asha.waits_at(epoch)


def _check_gpu(gpu: float) -> float:
    if 0 < gpu < SMALLEST_GPU or (gpu > 1 and gpu % 1):  # which Ray refuses, or rounds to none
        raise ValueError(f"found {gpu}; allowed: 0, {SMALLEST_GPU} to 1, or a whole number")
    return gpu


class Resources(Settings):
    """Cores and GPUs of one trial, and the number of slots."""

    cpu: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Cores and threads of a trial."""
    gpu: Annotated[float, Field(ge=0, le=1000), AfterValidator(_check_gpu)] | Literal["auto"] = "auto"
    """GPUs of a trial, fractions allowed. auto: one if there are any, else none."""
    concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials side by side (slots). auto: as many as the cores and GPUs allow."""


class Repeats(Settings):
    """Training of the best trials with other seeds, after the search."""

    top: Annotated[int, Field(ge=1)] | Literal["all"] = 3
    """Number of best trials that are repeated, or all."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of other seeds for each of them."""
