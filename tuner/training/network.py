"""The network of a training, with weights drawn from its seed."""

from pathlib import Path

import torch
from torch import nn

from tuner import models
from tuner.config.training import TrainingConfig
from tuner.data.device import DeviceDataset
from tuner.errors import SpecError
from tuner.models.init import keras_
from tuner.models.weights import start_from
from tuner.training.seeds import derive_step_seed


def build_network(config: TrainingConfig, data: DeviceDataset, seed: int, root: Path | None = None) -> nn.Module:
    """Build the network of a recipe on the device of `data`.

    A seed gives the same weights on every device.

    Args:
        config: The recipe.
        data: The images.
        seed: The seed of the weights that are not pretrained.
        root: Folder in which pretrained weights are searched after the working directory.

    Raises:
        SpecError: The images are too small for the network, or too few for its batch norm. Or the
            pretrained weights are of another network.
        DataError: The file of pretrained weights is missing or damaged.
    """
    torch.default_generator.manual_seed(derive_step_seed(seed, "weights"))
    channels, classes, size = data.in_channels, len(data.classes), data.image_size
    model = models.build(
        config.architecture, in_channels=channels, classes=classes, image_size=size, **config.hyperparameters
    )
    if config.init == "keras":
        keras_(model)
    if config.pretrained:
        images = {"in_channels": channels, "classes": classes, "image_size": size}
        start_from(model, config.architecture, config.pretrained, root, **images)
    normalized = any(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) for module in model.modules())
    if normalized and min(config.batch_size, len(data.train)) == 1:
        raise SpecError(
            f"batch_size: {config.architecture} has batch normalization and cannot train on 1 image; 2 or more"
        )
    return model.to(data.device)
