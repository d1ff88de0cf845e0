"""ResNet-9, the compact residual network with which David Page trained CIFAR-10 to 94 % in DAWNBench.

Source: his series "How to Train Your ResNet" and its code (davidcpage/cifar10-fast, `dawn.py`), of which are kept: 3x3
convolutions without bias, each followed by batch norm and ReLU; max-pooling by 2 in three of the four stages; residual
blocks in the second and fourth; a global max-pool; a dense layer without bias whose logits are scaled by 0.125.
Max-pooling stands before ReLU: the same numbers as after it, forward and backward, for a quarter of the work.
"""

from torch import Tensor, nn

LOGIT_SCALE = 0.125


class Residual(nn.Module):
    """Add to maps (N, channels, side, side) what a branch of two convolutions makes of them; no ReLU after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps as they come in → maps of the same shape."""
        branched: Tensor = self.branch(maps)
        return maps + branched


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: Tensor) -> Tensor:
        """Values of any shape → the same shape."""
        return values * self.factor

    def extra_repr(self) -> str:
        """The factor."""
        return str(self.factor)


def resnet9(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """Four convolutions with `filters` to 8 x `filters` maps, residual blocks after the second and the fourth.

    (N, in_channels, side, side) → (N, classes) logits; any side from 8, 32x32 leaves 8 x `filters` maps of 4x4.
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
    """3x3 convolution that keeps the side, batch norm, ReLU; then, with `pool`, half the side."""
    return [
        nn.Conv2d(in_channels, filters, 3, padding=1, bias=False),
        nn.BatchNorm2d(filters),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.ReLU(inplace=True),
    ]
