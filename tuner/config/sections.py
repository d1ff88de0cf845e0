"""The sections of a study file besides `dataset`, `training` and `space`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from tuner.config.registry import METRICS, TEST_METRICS
from tuner.config.settings import Settings
from tuner.config.validation_messages import shown
from tuner.errors import suggest

Direction = Literal["maximize", "minimize"]


class Objective(Settings):
    """What is searched for: a metric of the last epoch, and where better is. Written `{maximize: val_accuracy}`."""

    metric: str
    direction: Direction

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or len(raw) != 1 or next(iter(raw)) not in ("maximize", "minimize"):
            raise ValueError(f"found {raw!r}; allowed: {{maximize: METRIC}} or {{minimize: METRIC}}")
        direction, metric = next(iter(raw.items()))
        if not isinstance(metric, str):
            raise ValueError(f"found {shown(raw)}; {suggest('', METRICS)}")
        if metric in TEST_METRICS:
            raise ValueError(f"'{metric}' is measured on test images, and nothing may choose by them; use val_accuracy")
        if metric not in METRICS:
            raise ValueError(f"no metric '{metric}'; {suggest(metric, METRICS)}")
        if direction != METRICS[metric].direction:
            raise ValueError(f"found {{{direction}: {metric}}}; allowed: {{{METRICS[metric].direction}: {metric}}}")
        return {"metric": metric, "direction": direction}

    @property
    def sign(self) -> Literal[1, -1]:
        """Factor that makes more of the metric better: 1 to maximize, -1 to minimize."""
        return 1 if self.direction == "maximize" else -1

    @model_serializer
    def _write(self) -> dict[str, str]:
        return {self.direction: self.metric}


class Search(Settings):
    """Who proposes, how many trials, and the seed from which every proposal and every training is drawn."""

    sampler: Literal["tpe", "random", "grid", "gp", "cmaes", "nsga2"] = "tpe"
    trials: Annotated[int, Field(ge=1)] | None = None
    """Finished trials that are asked for; default 32, for a grid all of it."""
    seed: Annotated[int, Field(ge=0)] = 0


class AshaConfig(Settings):
    """Stopping-type asynchronous successive halving with Ray's verdicts: rungs at grace_period * reduction_factor**k.

    At a rung a trial goes on when its value is in the best 1/reduction_factor of those that came before it.
    """

    grace_period: Annotated[int, Field(ge=1)] = 1
    """Epochs that every trial gets; the first rung."""
    reduction_factor: Annotated[float, Field(gt=1)] = 3.0


class HyperbandConfig(AshaConfig):
    """ASHA in several brackets; bracket k starts k rungs later, so that slow starters have a chance."""

    brackets: Annotated[int, Field(ge=1, le=8)] = 3


class MedianConfig(Settings):
    """Stop a trial whose best value so far is worse than the median of the others' running means at that epoch."""

    grace_period: Annotated[int, Field(ge=1)] = 1
    min_trials: Annotated[int, Field(ge=1)] = 3
    """Other trials that must have reached the epoch before anything is stopped."""


class Stopping(Settings):
    """How trials are stopped early: one of asha, hyperband, median, or `none`."""

    asha: AshaConfig | None = None
    hyperband: HyperbandConfig | None = None
    median: MedianConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, raw: Any) -> Any:
        if raw in ("none", None):
            return {}
        raw = {raw: {}} if isinstance(raw, str) else raw
        if isinstance(raw, Mapping) and len(raw) > 1:
            raise ValueError(f"one rule is allowed, found {' and '.join(map(str, raw))}")
        # `asha:` with nothing below it is the rule with its defaults, not no rule.
        return {key: {} if value is None else value for key, value in raw.items()} if isinstance(raw, Mapping) else raw

    @model_serializer
    def _write(self) -> Any:
        rules = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: rule.model_dump() for name, rule in rules.items() if rule} or "none"

    @property
    def rule(self) -> AshaConfig | HyperbandConfig | MedianConfig | None:
        """The rule that is set."""
        return self.asha or self.hyperband or self.median


class Resources(Settings):
    """What one trial gets, and how many run side by side."""

    cpu: Annotated[int, Field(ge=1)] = 1
    """Cores of a trial, and its number of threads."""
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    """GPUs of a trial, fractions allowed; auto: one where there are any, else none."""
    concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Trials side by side (slots); auto: as many as the cores and GPUs allow."""


class Budget(Settings):
    """When to stop the study; trials in flight are then interrupted and go on when it is run again."""

    hours: Annotated[float, Field(gt=0)] | None = None


class Repeats(Settings):
    """After the search: the best trials trained again with other seeds."""

    top: Annotated[int, Field(ge=1)] | Literal["all"] = 3
    seeds: Annotated[int, Field(ge=1)] = 5
