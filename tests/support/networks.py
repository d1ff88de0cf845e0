"""Networks as a user might write them, sound ones and others."""

import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn


class Tiny(nn.Module):
    """Network with one hidden layer, whose forward depends on values."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        image_size: int,
        note: str = "a positional default is no hyperparameter",
        *,
        units: int = 16,
        dropout: float = 0.0,
        normalized: bool = False,
        activation: str = "relu",
        seen: list[int] | None = None,
    ) -> None:
        super().__init__()
        del note, seen
        self.rate = torch.linspace(0, dropout, 2)[-1].item()
        self.normalized = normalized
        self.hidden = nn.Linear(in_channels * image_size**2, units)
        self.activation = {"relu": nn.ReLU(), "tanh": nn.Tanh()}[activation]
        self.output = nn.Linear(units, classes)

    def forward(self, images: Tensor) -> Tensor:
        values = images.flatten(1)
        if self.normalized and values.std().item() > 0:
            values = values / values.std()
        return self.output(nn.functional.dropout(self.activation(self.hidden(values)), self.rate, self.training))


def lazy(in_channels: int, classes: int, image_size: int) -> nn.Module:
    """A function, and a layer that learns its inputs from the first images."""
    del in_channels, image_size
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


class Picky(Tiny):
    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        if image_size < 16:
            raise ValueError("images of 16 pixels or more\nplease")
        super().__init__(in_channels, classes, image_size)


class Flat(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten()


class Clashing(Tiny):
    def __init__(self, in_channels: int, classes: int, image_size: int, *, momentum: float = 0.5) -> None:
        super().__init__(in_channels, classes, image_size)
        self.momentum = momentum


class Narrow(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes


class Wavering(Tiny):
    """A network that works in evaluation mode only."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("mat1 and mat2 cannot be multiplied\nby anyone")
        return super().forward(images)


class Detached(Tiny):
    """A network whose loss has no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).detach()


class Loose(Tiny):
    """A network whose hyperparameters are written without care."""

    def __init__(
        self,
        in_channels: int,
        classes: int,
        image_size: int,
        units: int = 4,
        *,
        rate: float = 0,
        scale=0,  # noqa: ANN001
    ) -> None:
        super().__init__(in_channels, classes, image_size, units=units)
        del rate, scale


class Demanding(Tiny):
    def __init__(self, in_channels: int, classes: int, image_size: int, *, units: int) -> None:
        super().__init__(in_channels, classes, image_size, units=units)


def nothing(in_channels: int, classes: int, image_size: int) -> None:
    """Forgets to return its network."""


instance = nn.Linear(1, 1)


class Held(nn.Sequential):
    """A network that stops in its fourth epoch of digits while a file is there."""

    def __init__(self, in_channels: int, classes: int, image_size: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(in_channels * image_size**2, classes))
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images) if self.training else 0
        while self.seen > 5000 and Path(os.environ.get("HOLD", "/no/file")).exists():
            time.sleep(0.05)
        output: Tensor = super().forward(images)
        return output
