"""Networks of report 004 (Rubio, CIFAR-10): blocks of convolution, ReLU, batch norm, pooling."""

from torch import nn

from tuner.models.layers import size_after


def rubio_small(
    in_channels: int, classes: int, image_size: int, *, filters: int = 64, dense: int = 128
) -> nn.Sequential:
    """Four blocks of one convolution and one dense layer (report 004, 'small').

    (N, in_channels, size, size) → (N, classes) logits. 32x32 leaves 8 x `filters` maps of 2x2. Each
    pooling halves the size, rounded up, so that images of every size fit.
    """
    layers: list[nn.Module] = []
    channels, size = in_channels, image_size
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        layers += _convolution(channels, width)
        layers += [nn.MaxPool2d(3, stride=2, padding=1)]
        channels, size = width, size_after(size, 3, stride=2, padding=1)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        *_dense(channels * size * size, dense),
        nn.Linear(dense, classes),
    )


def rubio_large(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """The network 'large' of report 004, with eight convolutions.

    Four blocks of two convolutions come before dense layers of 128, 256, 512 and 1024.

    (N, in_channels, size, size) → (N, classes) logits. It has 5,655,498 parameters, because each
    convolution has its own batch norm, as in the report's Table 1. The report's code is
    `rubio_large_shared`.
    """
    return _large(in_channels, classes, image_size, filters, shared=False)


def rubio_large_shared(in_channels: int, classes: int, image_size: int, *, filters: int = 64) -> nn.Sequential:
    """Network `rubio_large` of the report's code: two convolutions share one batch norm.

    (N, in_channels, size, size) → (N, classes) logits. It has 5,653,578 parameters.
    """
    return _large(in_channels, classes, image_size, filters, shared=True)


def _large(in_channels: int, classes: int, image_size: int, filters: int, *, shared: bool) -> nn.Sequential:
    """Build the large network, with shared or separate batch norms."""
    layers: list[nn.Module] = []
    channels, size = in_channels, image_size
    for width in (filters, 2 * filters, 4 * filters, 8 * filters):
        first, second = _convolution(channels, width), _convolution(width, width)
        if shared:
            second[-1] = first[-1]
        layers += [*first, *second, nn.MaxPool2d(3, stride=2, padding=1)]
        channels, size = width, size_after(size, 3, stride=2, padding=1)
    layers += [nn.Flatten()]
    units = channels * size * size
    for width in (128, 256, 512, 1024):
        layers += _dense(units, width)
        units = width
    return nn.Sequential(*layers, nn.Linear(units, classes))


def _convolution(in_channels: int, filters: int) -> list[nn.Module]:
    """Build a convolution, ReLU and batch norm, in the report's order.

    The convolution is 3x3 and keeps the size.
    """
    return [nn.Conv2d(in_channels, filters, 3, padding=1), nn.ReLU(inplace=True), nn.BatchNorm2d(filters)]


def _dense(units: int, width: int) -> list[nn.Module]:
    """Dense layer, ReLU, batch norm, in the report's order."""
    return [nn.Linear(units, width), nn.ReLU(inplace=True), nn.BatchNorm1d(width)]
