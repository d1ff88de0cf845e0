"""Recipes that a study may train: architectures with their hyperparameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from tuner.config.dataset import DatasetConfig
from tuner.config.parameters import Choice, Constant, Parameter
from tuner.config.published import check_published, common_size
from tuner.config.registry import ARCHITECTURE_NAMES, DATASETS, architecture
from tuner.config.space import Space
from tuner.config.training import TrainingConfig, check_hyperparameter
from tuner.config.validation_messages import lines
from tuner.config.values import Value
from tuner.errors import SpecError, shorten, suggest


@dataclass(frozen=True)
class Recipes:
    """Architectures and recipes that the trials of a study may have.

    Attributes:
        training: The constants of the study file.
        space: Its parameters.
        dataset: Its images.
    """

    training: Mapping[str, Any]
    space: Space
    dataset: DatasetConfig

    @cached_property
    def architectures(self) -> list[str]:
        """Architectures that a trial may have.

        Raises:
            ValueError: None is named, or not every trial has one.
        """
        if "architecture" in self.space:
            if self.space["architecture"].when:
                raise ValueError("space.architecture.when: not allowed; every trial needs an architecture")
            names: list[Any] = _extremes(self.space["architecture"])
            return names
        if "architecture" not in self.training:
            raise ValueError(f"training.architecture: missing; {suggest('', ARCHITECTURE_NAMES)}")
        return [self.training["architecture"]]

    @property
    def weights(self) -> list[tuple[str, bool | str]]:
        """Architectures with the pretrained weights that their trials may start from."""
        return [(name, value) for name in self.architectures for value in self._pretrained(name) if value is not False]

    @property
    def max_epochs(self) -> int:
        """Epochs of the longest trial."""
        constant = int(self.training.get("epochs", TrainingConfig.model_fields["epochs"].default))
        if "epochs" not in self.space:
            return constant
        longest = max(value for value in _extremes(self.space["epochs"]) if isinstance(value, int))
        return max(longest, constant) if self.space["epochs"].when else longest

    def constants(self, name: str) -> dict[str, Any]:
        """Return the constants that an architecture takes, with its name."""
        known = {*TrainingConfig.model_fields, *architecture(name).hyperparameters}
        return {key: value for key, value in self.training.items() if key in known} | {"architecture": name}

    def with_defaults(self) -> dict[str, Any]:
        """Return the constants with each default that no parameter replaces."""
        given = {key: self.training[key] for key in TrainingConfig.model_fields if key in self.training}
        recipe = _check_recipe("training", given | {"architecture": "lenet5"}).model_dump(mode="json")
        recipe["architecture"] = self.architectures[0]
        filled = {key: recipe[key] for key in TrainingConfig.model_fields if key not in self.space}
        return {**filled, **{key: value for key, value in self.training.items() if key not in filled}}

    def fitting_images(self) -> DatasetConfig:
        """Return the data set, adapted to the images of published weights.

        Its image size and pixels are those that the weights were trained with. Settings that the
        study file names stay as they are.
        """
        dataset, given = self.dataset, self.dataset.image_size
        used = [value for name in self.architectures for value in self._pretrained(name) or [False]]
        if given == "auto" or (given is None and all(value is True for value in used)):
            found = "auto" if given else "none with `pretrained: true`"
            dataset = dataset.model_copy(update={"image_size": common_size(self.architectures, found)})
        if "pixels" not in dataset.model_fields_set and any(value is True for value in used):
            dataset = dataset.model_copy(update={"pixels": "auto"})
        return dataset

    def check(self) -> None:
        """Check a parameter's values with every architecture that it may meet.

        Raises:
            ValueError: Place, what was found and what is allowed.
        """
        if twice := [key for key in self.training if key in self.space]:
            raise ValueError(f"training.{twice[0]}: stands under space too; keep one of them")
        self._check_keys()
        for name in self.architectures:
            self._check_image_size(name)
            self._check_values(name)
        for name, pretrained in self.weights:
            if pretrained is True:
                check_published(name)

    def _check_keys(self) -> None:
        try:
            declared = {key for name in self.architectures for key in architecture(name).hyperparameters}
        except SpecError as error:
            raise ValueError(f"{self._architecture_section}.{error}") from None
        known = {*TrainingConfig.model_fields, *declared}
        for section, keys in (("training", self.training), ("space", self.space.root)):
            if unknown := [key for key in keys if key not in known]:
                reason = self._positional(unknown[0]) or f"unknown; {suggest(unknown[0], known)}"
                raise ValueError(f"{section}.{shorten(unknown[0])}: {reason}")

    def _positional(self, key: str) -> str | None:
        """Return the remedy for a positional hyperparameter of a user's network.

        Its parameters lack the `*` before it.
        """
        lacking = [name for name in self.architectures if key in architecture(name).positional]
        return f"{lacking[0]} takes it without a keyword; write `*, {key}=…` in its parameters" if lacking else None

    @property
    def _architecture_section(self) -> str:
        return "space" if "architecture" in self.space else "training"

    def _check_image_size(self, name: str) -> None:
        known = DATASETS.get(self.dataset.name)
        given = self.dataset.image_size
        if given == "auto":  # because the networks of libraries take every size
            return
        size = given or (known.size if known else None)
        least = architecture(name).min_size
        if size is not None and size < least:
            raise ValueError(
                f"{self._architecture_section}.architecture: {name} needs {least}x{least} images, "
                f"{self.dataset.name} has {size}x{size}; a larger `dataset.image_size` makes them fit"
            )

    def _check_values(self, name: str) -> None:
        """Check the constants, and every parameter that is active with an architecture."""
        constants = self.constants(name)
        _check_recipe("training", constants)
        declared = architecture(name).hyperparameters
        for key, parameter in self.space.root.items():
            if key == "architecture" or name not in self.space.required[key].get("architecture", [name]):
                continue
            self._check_is_known(key, name)
            for value in _extremes(parameter):
                if key in declared:
                    check_hyperparameter(f"space.{key}", value, declared[key])
                elif name == self.architectures[0]:  # because the others check it alike
                    _check_recipe("space", {**constants, key: value})

    def _check_is_known(self, key: str, name: str) -> None:
        if key not in TrainingConfig.model_fields and key not in architecture(name).hyperparameters:
            having = [other for other in self.architectures if key in architecture(other).hyperparameters]
            when = f"when: {{architecture: [{', '.join(having)}]}}"
            raise ValueError(f"space.{key}: {name} has no such hyperparameter; add `{when}`")

    def _pretrained(self, name: str) -> list[Any]:
        """Return the values of `pretrained` that trials of an architecture may have."""
        parameter = self.space.root.get("pretrained")
        constant = [self.training[key] for key in ("pretrained",) if key in self.training]
        if parameter is None or name not in self.space.required["pretrained"].get("architecture", [name]):
            return constant
        return [*_extremes(parameter), *(constant if parameter.when else [])]


def _extremes(parameter: Parameter) -> list[Value]:
    """Return each choice of a parameter, or both ends of its range."""
    if isinstance(parameter, Choice):
        return list(parameter.choice)
    return [parameter.value] if isinstance(parameter, Constant) else list(parameter.bounds)


def _check_recipe(section: str, recipe: dict[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig.model_validate(recipe)
    except ValidationError as error:
        raise ValueError(f"{section}.{lines(error, recipe)[0]}") from None
