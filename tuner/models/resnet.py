"""ResNet-9, with which David Page trained CIFAR-10 to 94 % in DAWNBench.

It follows his series "How to Train Your ResNet" and its code (davidcpage/cifar10-fast, `dawn.py`):

- 3x3 convolutions without bias, each followed by batch norm and ReLU
- max-pooling by 2 in three of the four stages
- residual blocks in the second and the fourth stage
- a global max-pool
- a dense layer without bias, whose logits are scaled by 0.125

Max-pooling stands before ReLU, because it gives the same numbers for a quarter of the work.
"""

from torch import Tensor, nn

LOGIT_SCALE = 0.125


class Residual(nn.Module):
    """Residual block: maps plus two convolutions, no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the same shape, (N, channels, size, size)."""
        branched: Tensor = self.branch(maps)
        return maps + branched


class Scale(nn.Module):
    """Multiplication by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        """Return scaled values of the same shape."""
        return values * self.factor

    def extra_repr(self) -> str:
        """Return the factor."""
        return str(self.factor)


def resnet9(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """ResNet-9 with `filters` to 8 x `filters` maps.

    (N, in_channels, size, size) → (N, classes) logits. Images need 8 pixels or more. 32x32 leaves
    8 x `filters` maps of 4x4.
    """
    return nn.Sequential(
        *_convolution(in_channels, filters),
        *_convolution(filters, 2 * filters, pool=True),
        Residual(2 * filters),
        *_convolution(2 * filters, 4 * filters, pool=True),
        *_convolution(4 * filters, 8 * filters, pool=True),
        Residual(8 * filters),
        nn.MaxPool2d(image_size // 8),
        nn.Flatten(),
        nn.Linear(8 * filters, classes, bias=False),
        Scale(LOGIT_SCALE),
    )


def _convolution(in_channels: int, filters: int, *, pool: bool = False) -> list[nn.Module]:
    """Build a convolution, batch norm, optional pooling by 2, and ReLU.

    The convolution is 3x3 and keeps the size.
    """
    return [
        nn.Conv2d(in_channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.ReLU(inplace=True),
    ]
