"""Trained models in a folder: their weights, and all that is needed to use them."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tuner import models
from tuner.config.code_hash import hash_network
from tuner.config.training import TrainingConfig
from tuner.config.user_models import is_own, own_network
from tuner.data.device import DeviceDataset, normalize
from tuner.data.weights import hash_weights
from tuner.errors import DataError, SpecError, first_line
from tuner.training.graph import FoldMean
from tuner.training.image_model import About, ImageModel, Origin
from tuner.training.loop import Trainer
from tuner.training.precision import Precision, choose

WEIGHTS, ABOUT = "model.safetensors", "model.json"
"""Files of a model's folder."""


class SavedModel(ImageModel):
    """A trained network with its classes and preprocessing.

    Attributes:
        network: The network, in evaluation mode.
        scale: (1, C, 1, 1). A pixel reaches the network as `pixel * scale + offset`.
        offset: (1, C, 1, 1).
    """

    def __init__(self, about: About, network: nn.Module, device: torch.device) -> None:
        super().__init__(about, device)
        self._precision = _precision(about, network, device)
        self.network = network.to(device).to(memory_format=self._precision.memory_format).eval()
        shape = (1, about.channels, 1, 1)
        self.scale, self.offset = (torch.tensor(v).view(shape).to(device) for v in (about.scale, about.offset))

    def _probabilities(self, images: Tensor) -> Tensor:
        batch = normalize(images.to(self.device), self.scale, self.offset)
        with self._precision.autocast(self.device):
            logits: Tensor = self.network(batch.to(memory_format=self._precision.memory_format)).float()
        return logits.softmax(dim=1)


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Return copies of a network's weights on the CPU.

    They are copied because layers may share a tensor.
    """
    state = network.state_dict()
    return {name: value.cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}


def write_weights(state: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write weights as a file of safetensors.

    Raises:
        DataError: They cannot be written.
    """
    try:
        file.write_bytes(save(state, metadata))  # because `save_file` lets nobody else read the file
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror or first_line(error)}") from error


def save_model(folder: Path, trainer: Trainer, origin: Origin) -> None:
    """Write the evaluated network of a training to a folder that exists.

    Raises:
        DataError: The weights cannot be written.
    """
    write_weights(copy_state(trainer.evaluated_model), folder / WEIGHTS)
    about = describe(
        trainer.config,
        trainer.data,
        seed=trainer.seed,
        device=trainer.device.type,
        precision=trainer.precision,
        weights=hash_weights(folder / WEIGHTS),
        origin=origin,
    )
    (folder / ABOUT).write_text(about.model_dump_json(indent=2) + "\n", encoding="utf-8")


def describe(
    config: TrainingConfig,
    data: DeviceDataset,
    *,
    seed: int,
    device: str,
    precision: Precision,
    weights: str,
    origin: Origin,
) -> About:
    """Describe a trained network.

    Args:
        config: Its recipe.
        data: The images of its training, scaled for its architecture.
        seed: The seed of its training.
        device: The device that trained: cpu | cuda.
        precision: The precision of its training.
        weights: Hash of its weights.
        origin: The search that it comes from.
    """
    return About(
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
        seed=seed,
        device=device,
        precision=asdict(precision),
        weights=weights,
        origin=origin,
    )


def load_folder(folder: Path, device: torch.device) -> SavedModel:
    """Load a model from the folder that `tuner final` wrote.

    Raises:
        DataError: There is no model, or a file of it is damaged.
        SpecError: The code of its network is missing or was edited.
    """
    about = _read_about(folder)
    network = build(folder, about)
    _fill(network, folder / WEIGHTS, about.weights)
    return SavedModel(about, network, device)


def build(place: Path, about: About) -> nn.Module:
    """Build the network of a model, with random weights.

    Raises:
        SpecError: The code of the network is missing or was edited.
    """
    _check_code(place, about)
    with torch.random.fork_rng(devices=[]):
        networks = [
            models.build(
                about.architecture,
                in_channels=about.channels,
                classes=len(about.classes),
                image_size=about.image_size,
                **about.hyperparameters,
            )
            for _ in range(about.folds)
        ]
    if about.folds == 1:
        return networks[0]
    values = [torch.zeros(1, about.channels, 1, 1)] * about.folds
    return FoldMean(networks, values, values)


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
    """Load a file of weights into a network.

    A file whose hash is not `expected` is refused.
    """
    if not file.is_file():
        raise DataError(f"{file}: missing; `tuner final` writes it again")
    if (found := hash_weights(file)) != expected:
        raise DataError(f"{file}: damaged or exchanged (hash {found}, not {expected}); `tuner final` writes it again")
    fit(network, load_file(file), str(file))


def fit(network: nn.Module, state: Mapping[str, Tensor], place: str) -> None:
    """Put weights into a network. Raise DataError if they do not fit."""
    try:
        network.load_state_dict(state)
    except RuntimeError as error:  # because a later version may build another network
        raise DataError(f"{place}: does not fit the network that is built here: {first_line(error)}") from error


def _precision(about: About, network: nn.Module, device: torch.device) -> Precision:
    """Return the training's precision, or float32 on another kind of device."""
    if about.device == device.type:
        return Precision(**about.precision)
    return choose("float32", device, network)
