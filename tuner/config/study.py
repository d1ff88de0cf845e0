"""Study files, read and checked, with every setting and default."""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tuner.config.budget import Budget, check_gpu_hours, check_target
from tuner.config.constraints import Bound, check_constraints
from tuner.config.dataset import DatasetConfig
from tuner.config.log_to import LogTo
from tuner.config.parameters import Constant
from tuner.config.plain import check_plain
from tuner.config.recipes import Recipes
from tuner.config.registry import (
    DATASETS,
    EXTRA_METRICS,
    METRICS,
    SPEED_METRICS,
    ExtraMetric,
)
from tuner.config.samplers import NSGA, check_sampler
from tuner.config.sections import (
    NSGA_POPULATION,
    Objective,
    Repeats,
    Resources,
    Search,
    Stopping,
)
from tuner.config.settings import Settings
from tuner.config.space import Space
from tuner.config.training import TrainingConfig
from tuner.config.try_first import check_try_first
from tuner.config.user_models import is_function, is_imported
from tuner.config.validation_messages import lines, shown
from tuner.config.values import Value
from tuner.config.yaml import override, read_yaml, to_yaml
from tuner.errors import SpecError, shorten, suggest


def _check_name(name: Any) -> Any:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(f"found {shown(name)}; allowed: a plain folder name of letters, digits, '.', '_' and '-'")
    return name


def _as_list(raw: Any) -> Any:
    return raw if isinstance(raw, list) else [raw]


class StudyConfig(Settings):
    """A study as its file describes it, with every default filled in.

    It is immutable.
    """

    study: Annotated[str, BeforeValidator(_check_name)]
    """Name of the study's folder in the results directory."""
    dataset: DatasetConfig = DatasetConfig()
    """Images, their split, and the scale of their pixels."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Constants of the recipe, which are keys of `TrainingConfig` and hyperparameters."""
    objective: Annotated[list[Objective], BeforeValidator(_as_list), Field(min_length=1, max_length=len(METRICS))] = (
        Field(default_factory=lambda: [Objective.model_validate({"maximize": "val_accuracy"})])
    )
    """One metric of the last epoch, or a list of several."""
    constraints: dict[str, Bound] = Field(default_factory=dict)
    """Bounds of metrics, such as `{parameters_count: {max: 2_000_000}}`, outside of which no trial is best."""
    space: Space
    """Parameters that are searched. {}: a single configuration."""
    search: Search = Search()
    """Sampler, number of trials and seed."""
    stopping: Stopping = Stopping()
    """Rule that stops trials early."""
    resources: Resources = Resources()
    """Cores and GPUs of a trial, and trials side by side."""
    budget: Budget = Budget()
    """Limits of the whole study, over all its runs."""
    repeats: Repeats | None = None
    """Training of the best trials with other seeds. None: no repeats."""
    protocol: Literal["clean", "as_published"] = "clean"
    """clean: selection never sees test images. as_published: the protocol of a report.

    Every row carries the protocol.
    """
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """Number of retries of a trial that crashed. An interruption is no crash."""
    keep_weights: Annotated[int, Field(ge=0)] = 3
    """Number of best trials whose weights stay in the study folder."""
    untrained: bool = False
    """Measure each network before its training too, as epoch 0."""
    log_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between two rows of the table `steps`. None: no such table.

    A row has the training loss since the row before, and the metrics of all validation images.
    """
    predictions: list[Literal["validation", "test"]] = Field(default_factory=list, max_length=2)
    """Images whose predictions each completed trial writes to the table `predictions`."""
    metrics: list[ExtraMetric] = Field(default_factory=list, max_length=len(EXTRA_METRICS))
    """Metrics that every epoch measures beside loss and accuracy. Those of the objective are measured anyway."""
    classes: list[Literal["validation", "test"]] = Field(default_factory=list, max_length=2)
    """Images by which each completed trial is measured per class, in the table `classes`."""
    log_to: LogTo = Field(default_factory=dict)
    """Other logs with a run per trial: `[tensorboard, mlflow]`, or `{tensorboard: FOLDER, mlflow: URI}`.

    auto: `tensorboard/` in the study's folder, and MLFLOW_TRACKING_URI or `mlflow.db` in the results directory.
    """

    @field_validator("objective")
    @classmethod
    def _no_metric_twice(cls, objectives: list[Objective]) -> list[Objective]:
        metrics = [objective.metric for objective in objectives]
        if twice := [metric for metric in metrics if metrics.count(metric) > 1]:
            raise ValueError(f"'{twice[0]}' stands twice")
        return objectives

    @model_validator(mode="after")
    def _check_together(self, info: ValidationInfo) -> Self:
        stored = (info.context or {}).get("stored")
        if not (stored and any(is_imported(str(name)) for name in self.architectures)):
            self.recipes.check()
        if self.dataset.validation == "test" and self.protocol != "as_published":
            raise ValueError("dataset.validation: 'test' chooses by test images; only with `protocol: as_published`")
        if not stored:
            self._check_evaluation()
        self._check_folds()
        self._check_stopping()
        check_constraints(self.constraints, self.objective)
        check_gpu_hours(self.budget, self.resources.gpu)
        check_target(self.budget.target, self.objective)
        check_sampler(self.search, self.space, self.objective, stored=bool(stored))
        check_try_first(self.search, self.space)
        return self

    def _check_evaluation(self) -> None:
        """Refuse evaluations in which other images change a prediction.

        Only studies of a report may normalize images by others of their batch.
        """
        evaluate = self.training.get("evaluate")
        batch_norm = evaluate.get("batch_norm") if isinstance(evaluate, Mapping) else None
        if batch_norm == "train" and self.protocol != "as_published":
            raise ValueError(
                "training.evaluate.batch_norm: 'train' normalizes images by others of their batch;"
                " allowed: eval, or with `protocol: as_published`"
            )

    def _check_folds(self) -> None:
        """Refuse tables of one network where a trial trains several."""
        if self.dataset.folds == 1:
            return
        if self.log_every:
            raise ValueError("log_every: not with dataset.validation.folds; the table `folds` has each fold's epochs")
        for key in ("predictions", "classes"):
            if "test" in getattr(self, key):
                raise ValueError(
                    f"{key}: found 'test', but with dataset.validation.folds each trial has {self.dataset.folds}"
                    " networks; allowed: validation"
                )

    def _check_stopping(self) -> None:
        grace = self.stopping.rule.grace_period if self.stopping.rule else 1
        if grace > self.max_epochs:
            raise ValueError(
                f"stopping.grace_period: {grace} is above the {self.max_epochs} epochs of the longest trial"
            )

    @model_validator(mode="after")
    def _follow_networks(self, info: ValidationInfo) -> Self:
        """Take the image size and pixel scale from published weights.

        A stored study has them already.
        """
        if not (info.context or {}).get("stored"):
            self._replace(dataset=self.recipes.fitting_images())
        return self

    @model_validator(mode="after")
    def _fill_defaults(self) -> Self:
        trials = self.search.trials or self._default_trials()
        self._replace(training=self.recipes.with_defaults(), search=self.search.model_copy(update={"trials": trials}))
        return self

    def _replace(self, **sections: Any) -> None:
        """Replace sections while the study is read, before anybody has seen it."""
        for name, section in sections.items():
            object.__setattr__(self, name, section)

    def _default_trials(self) -> int:
        if self.search.sampler in NSGA:
            return 4 * NSGA_POPULATION
        return len(self.space.grid()) if self.search.sampler == "grid" else 1 if self.single else 32

    @property
    def recipes(self) -> Recipes:
        """Architectures and recipes of the trials."""
        return Recipes(self.training, self.space, self.dataset)

    @property
    def architectures(self) -> list[str]:
        """Architectures that a trial of this study may have."""
        return self.recipes.architectures

    @property
    def code(self) -> list[str]:
        """Names that may be of the user's code.

        These are the architectures, and a function that returns images.
        """
        return [*self.architectures, *([self.dataset.name] if is_function(self.dataset.name) else [])]

    @property
    def weights(self) -> list[tuple[str, bool | str]]:
        """Architectures with the pretrained weights that their trials may start from."""
        return self.recipes.weights

    @property
    def single(self) -> bool:
        """True if there is one configuration and nothing to search."""
        return all(isinstance(parameter, Constant) for parameter in self.space.root.values())

    @property
    def extra_metrics(self) -> tuple[ExtraMetric, ...]:
        """Metrics that every epoch measures beside loss and accuracy."""
        objectives = {objective.metric for objective in self.objective}
        return tuple(name for name in EXTRA_METRICS if name in objectives or name in self.metrics)

    @property
    def speed_metrics(self) -> tuple[str, ...]:
        """Speeds of the network that are measured because an objective names them."""
        return tuple(objective.metric for objective in self.objective if objective.metric in SPEED_METRICS)

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest trial."""
        return self.recipes.max_epochs

    def training_config(self, parameters: Mapping[str, Value]) -> TrainingConfig:
        """Return the recipe of a trial with these parameters."""
        name = str(parameters.get("architecture", self.training.get("architecture")))
        return TrainingConfig.model_validate({**self.recipes.constants(name), **parameters})

    def continuing(self, begun: "StudyConfig") -> "StudyConfig":
        """Return this study with the settings that it began with.

        The sampler, ASHA and validation are those of `begun`. Settings that the study file names
        stay as they are.
        """
        search = self.search.as_begun(begun.search, {"sampler"})
        dataset = self.dataset.as_begun(begun.dataset, {"validation"})
        own, earlier = self.stopping.asha, begun.stopping.asha
        if own is None or earlier is None:
            return self.model_copy(update={"search": search, "dataset": dataset})
        asha = own.as_begun(earlier, {"type", "min_trials", "ranking"})
        stopping = self.stopping.model_copy(update={"asha": asha})
        return self.model_copy(update={"search": search, "dataset": dataset, "stopping": stopping})

    def differences(self, other: "StudyConfig") -> list[str]:
        """List changes that make rows incomparable: `search.seed: 0 -> 1`."""
        new, old = self.to_dict(), other.to_dict()
        changes: list[str] = []
        for key in ("dataset", "training", "objective", "constraints", "space", "stopping", "protocol", "search"):
            changes += _differences(key, old[key], new[key])
        if self.search.sampler == "grid":  # because its n-th point depends on the order
            changes += _differences("space", list(old["space"]), list(new["space"]))
        may_change = ("search.trials:", "training.precision:")  # because every row says how it was computed
        return [line for line in changes if not line.startswith(may_change)]

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain values, every default written out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_yaml(self) -> str:
        """Return the study as YAML that reads back as an equal study."""
        return to_yaml(self.to_dict())


def _check_dataset_name(name: str, source: str) -> None:
    """Refuse a misspelt name.

    A path is checked when the data are loaded.
    """
    # unlike Path, os.path raises nothing for `~nouser` and names of 300 letters
    is_folder = os.path.isdir(os.path.expanduser(name))  # noqa: PTH111, PTH112
    is_path = name.endswith((".parquet", ".tar")) or any(sign in name for sign in "/*?[") or is_folder
    if name not in DATASETS and (not name or not (is_path or is_function(name))):
        hint = f"or a path: ./{shorten(name)}"
        raise SpecError(f"{source}: dataset.name: found {shown(name)}; {suggest(name, DATASETS)}, {hint}")


def _differences(path: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [line for key in keys for line in _differences(f"{path}.{key}", old.get(key), new.get(key))]
    return [] if old == new else [f"{path}: {old} -> {new}"]


def parse_spec(raw: Any, source: str = "study", *, stored: bool = False) -> StudyConfig:
    """Check a study that is given as plain values.

    Args:
        raw: The values.
        source: Name of their file, which begins each line of an error.
        stored: True for a study that was checked when it began. A user's own class is then not imported,
            because it may be gone, and the study's rows can be read without it.

    Raises:
        SpecError: One line for each mistake.
    """
    if not isinstance(raw, Mapping):
        raise SpecError(f"{source}: a mapping with `study:` and `space:` is needed, found {type(raw).__name__}")
    if problem := check_plain(raw):
        raise SpecError(f"{source}: {problem}")
    try:
        return StudyConfig.model_validate(raw, context={"stored": stored})
    except ValidationError as error:
        raise SpecError("\n".join(f"{source}: {line}" for line in lines(error, raw))) from None


def load_spec(path: str | Path, settings: Iterable[str] = ()) -> StudyConfig:
    """Read and check a study file.

    Args:
        path: The file.
        settings: Overrides like those of `--set`: `search.trials=64`.

    Raises:
        SpecError: One line for each mistake.
    """
    path = Path(path)
    spec = parse_spec(override(read_yaml(path), settings), str(path))
    _check_dataset_name(spec.dataset.name, str(path))
    return spec
