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
        *_dense(channels * side * side, dense),
        nn.Linear(dense, classes),
    )


def rubio_large(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """Four blocks of two convolutions, then dense 128, 256, 512, 1024 (report 004, 'large'); 5,655,498 parameters.

    (N, in_channels, side, side) → (N, classes) logits. Each convolution has a batch norm of its own, which is what the
    count in the report's Table 1 says; its code has `rubio_large_shared`.
    """
    return _large(in_channels, classes, image_size, filters, shared=False)


def rubio_large_shared(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """`rubio_large` as the report's code builds it: both convolutions of a block share one batch norm.

    (N, in_channels, side, side) → (N, classes) logits; 5,653,578 parameters.
    """
    return _large(in_channels, classes, image_size, filters, shared=True)


def _large(in_channels: int, classes: int, image_size: int, filters: int, *, shared: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels, side = in_channels, image_size
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        first, second = _convolution(channels, width), _convolution(width, width)
        if shared:
            second[-1] = first[-1]
        layers += [*first, *second, nn.MaxPool2d(3, stride=2, padding=1)]
        channels, side = width, side_after(side, 3, stride=2, padding=1)
    layers += [nn.Flatten()]
    units = channels * side * side
    for width in (128, 256, 512, 1024):
        layers += _dense(units, width)
        units = width
    return nn.Sequential(*layers, nn.Linear(units, classes))


def _convolution(in_channels: int, filters: int) -> list[nn.Module]:
    """3x3 convolution that keeps the side, ReLU, batch norm: in this order, as the report has it."""
    return [nn.Conv2d(in_channels, filters, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(filters)]


def _dense(units: int, width: int) -> list[nn.Module]:
    """Dense layer, ReLU, batch norm: in this order, as the report has it."""
    return [nn.Linear(units, width), nn.ReLU(inplace=True), nn.BatchNorm1d(width)]
