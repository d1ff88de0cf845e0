"""What is known of a trial before its training, for the constraints of a study."""

from collections.abc import Mapping
from typing import Any

from tuner import data
from tuner.config.constraints import BEFORE_TRAINING
from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.errors import SpecError


class KnownBefore:
    """A function that returns facts about a trial before its training.

    Args:
        spec: The study.
        dataset: Its images.
    """

    def __init__(self, spec: StudyConfig, dataset: data.Dataset) -> None:
        self._spec = spec
        self._channels, self._classes, self._size = dataset.in_channels, len(dataset.classes), dataset.image_size

    def __call__(self, parameters: Mapping[str, Value]) -> Mapping[str, Any]:
        """Return the `parameters_count` of a trial if the study constrains it.

        The result is empty if not, or if the network cannot be built.
        """
        if not any(metric in self._spec.constraints for metric in BEFORE_TRAINING):
            return {}
        import torch  # because the driver needs it for this only

        from tuner import models

        recipe = self._spec.training_config(parameters)
        try:
            with torch.random.fork_rng(devices=[]):
                model = models.build_on_meta(
                    recipe.architecture,
                    in_channels=self._channels,
                    classes=self._classes,
                    image_size=self._size,
                    **recipe.hyperparameters,
                )
        except SpecError:  # by which its worker lets the trial fail
            return {}
        return {"parameters_count": models.parameters_count(model)}
