"""Trained models in a folder: their weights, and all that is needed to use them.

>>> model = tuner.load_model("results/digits/model")  # doctest: +SKIP
>>> model.classes[model.predict(images).argmax(1)[0]]  # doctest: +SKIP
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tuner import models
from tuner.config.code_hash import hash_network
from tuner.config.registry import Scalar
from tuner.config.user_models import is_own, own_network
from tuner.data.decoding import decode_all
from tuner.data.device import normalize
from tuner.data.weights import hash_weights
from tuner.errors import DataError, DeviceError, SpecError, first_line
from tuner.training.evaluation import EVALUATION_BATCH
from tuner.training.loop import Trainer
from tuner.training.precision import Precision, choose

WEIGHTS, ABOUT = "model.safetensors", "model.json"
"""Files of a model's folder."""


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
    """All that is known of a model beside its weights, as `model.json` keeps it."""

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


class SavedModel:
    """A trained network with its classes and preprocessing.

    Attributes:
        about: The content of `model.json`.
        network: The network, in evaluation mode.
        device: The device that predicts.
    """

    def __init__(self, about: About, network: nn.Module, device: torch.device) -> None:
        self.about, self.device = about, device
        self._precision = _precision(about, network, device)
        self.network = network.to(device).to(memory_format=self._precision.memory_format).eval()
        shape = (1, about.channels, 1, 1)
        self._scale, self._offset = (torch.tensor(v).view(shape).to(device) for v in (about.scale, about.offset))

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
            logits = [self._logits(batch) for batch in torch.split(pixels, EVALUATION_BATCH[self.device.type])]
            return torch.cat(logits).softmax(dim=1).cpu()

    def _logits(self, images: Tensor) -> Tensor:
        batch = normalize(images.to(self.device), self._scale, self._offset)
        with self._precision.autocast(self.device):
            logits: Tensor = self.network(batch.to(memory_format=self._precision.memory_format)).float()
        return logits

    def read(self, files: Sequence[str | Path]) -> NDArray[np.uint8]:
        """Decode image files to (N, C, H, W) uint8, as the study decoded its own.

        Raises:
            DataError: A file is no image, or does not fit the model.
        """
        paths = [(Path(file), str(file)) for file in files]
        images = decode_all(paths, self.about.image_size if self.about.resized else None)
        return images.repeat(3, axis=1) if (images.shape[1], self.about.channels) == (1, 3) else images


def save_model(folder: Path, trainer: Trainer, origin: Origin) -> None:
    """Write the evaluated network of a training to a folder that exists.

    Raises:
        DataError: The weights cannot be written.
    """
    state = trainer.evaluated_model.state_dict()
    copies = {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    try:
        save_file(copies, folder / WEIGHTS)  # copies, because layers may share a tensor
    except SafetensorError as error:  # because a full disk is no OSError there
        raise DataError(f"{folder / WEIGHTS}: cannot be written: {first_line(error)}") from error
    config, data = trainer.config, trainer.data
    about = About(
        classes=data.classes,
        channels=data.in_channels,
        image_size=data.image_size,
        resized=data.config.image_size is not None,
        scale=tuple(data.scale.flatten().tolist()),
        offset=tuple(data.offset.flatten().tolist()),
        architecture=config.architecture,
        hyperparameters=config.hyperparameters,
        code=hash_network(config.architecture) if is_own(config.architecture) else None,
        recipe=config.model_dump(mode="json"),
        seed=trainer.seed,
        device=trainer.device.type,
        precision=asdict(trainer.precision),
        weights=hash_weights(folder / WEIGHTS),
        origin=origin,
    )
    (folder / ABOUT).write_text(about.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_model(path: str | Path, device: str = "cpu") -> SavedModel:
    """Load a model that `tuner final` wrote.

    Args:
        path: The model's folder.
        device: The device that predicts: cpu | cuda.

    Raises:
        DataError: There is no model, or a file of it is damaged.
        SpecError: The code of its network is missing or was edited.
        DeviceError: torch sees no GPU.
    """
    folder = Path(path)
    about = _read_about(folder)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device: found '{device}', but torch sees no GPU; allowed: cpu")
    _check_code(folder, about)
    with torch.random.fork_rng(devices=[]):
        network = models.build(
            about.architecture,
            in_channels=about.channels,
            classes=len(about.classes),
            image_size=about.image_size,
            **about.hyperparameters,
        )
    _fill(network, folder / WEIGHTS, about.weights)
    return SavedModel(about, network, torch.device(device))


def _read_about(folder: Path) -> About:
    """Read `model.json`."""
    try:
        return About.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        several = sorted(file.parent.name for file in folder.glob(f"*/{ABOUT}"))
        way = f"load one of its models: {folder / several[0]}" if several else "allowed: what `tuner final` wrote"
        raise DataError(f"{folder}: no model here (no {ABOUT}); {way}") from None
    except OSError as error:
        raise DataError(f"{folder / ABOUT}: {error.strerror or first_line(error)}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / ABOUT}: damaged: {first_line(error)}; `tuner final` writes it again") from error


def _check_code(folder: Path, about: About) -> None:
    """Refuse a user's network that is missing or was edited."""
    if is_own(about.architecture):
        own_network(about.architecture)  # first, because a module that is missing has a hash too
        if about.code != hash_network(about.architecture):
            raise SpecError(f"{folder}: the code of {about.architecture} was edited since its training; restore it")


def _fill(network: nn.Module, file: Path, expected: str) -> None:
    """Load weights into a network, after a check that they are the ones that were written."""
    if not file.is_file():
        raise DataError(f"{file}: missing; `tuner final` writes it again")
    if (found := hash_weights(file)) != expected:
        raise DataError(f"{file}: damaged or exchanged (hash {found}, not {expected}); `tuner final` writes it again")
    try:
        network.load_state_dict(load_file(file))
    except RuntimeError as error:  # because a later version may build another network
        raise DataError(f"{file}: does not fit the network that is built here: {first_line(error)}") from error


def _precision(about: About, network: nn.Module, device: torch.device) -> Precision:
    """Return the precision of the training, or float32 on another kind of device."""
    if about.device == device.type:
        return Precision(**about.precision)
    return choose("float32", device, network)
