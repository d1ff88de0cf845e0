"""Networks of report 004 (Rubio, CIFAR-10): blocks of convolution, ReLU, batch norm, then max-pooling."""

from torch import nn

from tuner.models.layers import side_after


def rubio_small(
    in_channels: int, classes: int, image_size: int, *, filters: int = 64, dense: int = 128
) -> nn.Sequential:
    """Four blocks of one convolution, doubling the filters, and one hidden dense layer (report 004, 'small').

    (N, in_channels, side, side) → (N, classes) logits; 32x32 leaves 8 x `filters` maps of 2x2. Each pooling halves
    the side, rounding up, so that every side fits.
    """
    layers: list[nn.Module] = []
    channels, side = in_channels, image_size
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        layers += _convolution(channels, width)
        layers += [nn.MaxPool2d(3, stride=2, padding=1)]
        channels, side = width, side_after(side, 3, stride=2, padding=1)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels * side * side, dense),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(dense),
        nn.Linear(dense, classes),
    )


def _convolution(in_channels: int, filters: int) -> list[nn.Module]:
    """3x3 convolution that keeps the side, ReLU, batch norm: in this order, as the report has it."""
    return [nn.Conv2d(in_channels, filters, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(filters)]
