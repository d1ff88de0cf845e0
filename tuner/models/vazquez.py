"""Networks of report 001 (Vázquez, CIFAR-10 in Keras): 'valid' convolutions, one dense layer.

The report's recipe is Keras's: `init: keras` and `epsilon: 1e-7`.
Max-pooling stands before ReLU, because it gives the same numbers for a quarter of the work.
"""

from torch import nn

from tuner.models.layers import dropout as drop
from tuner.models.layers import size_after


def vazquez_base(
    in_channels: int, classes: int, image_size: int, *, filters: int = 32, dense: int = 128, dropout: float = 0.0
) -> nn.Sequential:
    """One convolution and one hidden dense layer, as in report 001.

    Its experiments 1 and 3 have this network.

    (N, in_channels, size, size) → (N, classes) logits. 32x32 leaves `filters` maps of 15x15. The
    report has no dropout. Here it may follow the hidden dense layer.
    """
    size = size_after(image_size, 3) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, filters, 3),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(filters * size * size, dense),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(dense, classes),
    )


def vazquez_deep(
    in_channels: int,
    classes: int,
    image_size: int,
    *,
    filters: int = 32,
    filters_2: int = 128,
    dense: int = 128,
    dropout: float = 0.25,
    dropout_dense: float = 0.5,
) -> nn.Sequential:
    """Two convolutions and one hidden dense layer, as in report 001.

    The code of its experiment 2 has this network.

    (N, in_channels, size, size) → (N, classes) logits. 32x32 leaves `filters_2` maps of 6x6. The
    report's prose lists one more dense layer of 128 than its code has. `dropout` follows the first
    pooling, `dropout_dense` the hidden dense layer.
    """
    size = size_after(image_size, 3) // 2
    size = size_after(size, 3) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, filters, 3),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Conv2d(filters, filters_2, 3),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(filters_2 * size * size, dense),
        nn.ReLU(inplace=True),
        drop(dropout_dense),
        nn.Linear(dense, classes),
    )


def vazquez_bn(
    in_channels: int, classes: int, image_size: int, *, filters: int = 32, dense: int = 128
) -> nn.Sequential:
    """Experiment 1 of report 001 with a batch norm after each ReLU.

    It is the report's experiment 4.

    (N, in_channels, size, size) → (N, classes) logits. 32x32 leaves `filters` maps of 15x15. Batch
    norm has Keras's momentum of 0.99 (0.01 as PyTorch counts it) and epsilon of 1e-3.
    """
    size = size_after(image_size, 3) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, filters, 3),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(filters, eps=1e-3, momentum=0.01),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(filters * size * size, dense),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(dense, eps=1e-3, momentum=0.01),
        nn.Linear(dense, classes),
    )
