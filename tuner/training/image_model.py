"""Trained models, whatever kind of file they come from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from tuner.config.registry import Scalar
from tuner.data.decoding import decode_all
from tuner.errors import DataError
from tuner.training.evaluation import EVALUATION_BATCH


class Origin(BaseModel):
    """The search and the images from which a model comes."""

    model_config = ConfigDict(frozen=True)

    study: str
    trial: int
    protocol: str
    dataset: dict[str, Any]
    images: dict[str, int]
    test: dict[str, float | None]
    versions: dict[str, str | None]


class About(BaseModel):
    """Description of a model beside its weights, as `model.json` keeps it.

    With several folds the network is the mean of their networks and scales the pixels itself.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    format: Literal[1] = 1
    classes: tuple[str, ...]
    channels: int
    image_size: int
    resized: bool
    scale: tuple[float, ...]
    offset: tuple[float, ...]
    architecture: str
    hyperparameters: dict[str, Scalar]
    code: str | None
    recipe: dict[str, Any]
    seed: int
    device: str
    precision: dict[str, bool]
    weights: str
    origin: Origin
    folds: int = 1

    @property
    def summary(self) -> str:
        """Architecture, trial and training images, as a command prints them."""
        folds = f", the mean of {self.folds} networks" if self.folds > 1 else ""
        images = f"{self.origin.images['training']:,} training images"
        return f"{self.architecture} of trial {self.origin.trial} of {self.origin.study}, {images}{folds}"


class ImageModel(ABC):
    """A trained model that gives probabilities of images.

    Attributes:
        about: Its classes, its images and its origin.
        device: The device that predicts.
    """

    def __init__(self, about: About, device: torch.device) -> None:
        self.about, self.device = about, device

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names. Column i of the probabilities is of `classes[i]`."""
        return self.about.classes

    def predict(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Return probabilities (N, classes) of images, float32 on the CPU.

        Args:
            images: (N, C, H, W) uint8, of the model's channels and size.

        Raises:
            DataError: The images are of another shape or type.
        """
        pixels = images if isinstance(images, Tensor) else torch.tensor(images)
        about = self.about
        expected = (about.channels, about.image_size, about.image_size)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or tuple(pixels.shape[1:]) != expected:
            found = f"{tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}"
            raise DataError(f"images: found {found}; allowed: (N, {', '.join(map(str, expected))}) uint8")
        with torch.inference_mode():
            batches = torch.split(pixels, EVALUATION_BATCH[self.device.type])
            return torch.cat([self._probabilities(batch) for batch in batches]).cpu()

    @abstractmethod
    def _probabilities(self, images: Tensor) -> Tensor:
        """Return probabilities of one batch of uint8 images."""

    def read(self, files: Sequence[str | Path]) -> NDArray[np.uint8]:
        """Decode image files as the study did.

        Returns:
            (N, C, H, W) uint8.

        Raises:
            DataError: A file is no image, or does not fit the model.
        """
        paths = [(Path(file), str(file)) for file in files]
        images = decode_all(paths, self.about.image_size if self.about.resized else None)
        return images.repeat(3, axis=1) if (images.shape[1], self.about.channels) == (1, 3) else images
