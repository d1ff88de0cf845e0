"""AlexNet for images of 32x32.

Max-pooling stands before ReLU, because it gives the same numbers for a quarter of the work.
"""

from torch import nn

from tuner.models.layers import dropout as drop


def alexnet(
    in_channels: int, classes: int, image_size: int, *, dense: int = 4096, dropout: float = 0.5
) -> nn.Sequential:
    """Five convolutions and two hidden dense layers, as in report 003.

    Higueros and Velásquez trained it on CIFAR-10.

    (N, in_channels, size, size) → (N, classes) logits. Images of 15 pixels or more end in 256 maps
    of 6x6, because the adaptive pooling also enlarges (32x32 reaches it as 3x3). Dropout stands
    before each of the two hidden dense layers.
    """
    del image_size  # because the adaptive pooling makes the dense layers independent of it
    return nn.Sequential(
        nn.Conv2d(in_channels, 64, 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.MaxPool2d(3, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        drop(dropout),
        nn.Linear(256 * 6 * 6, dense),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(dense, dense),
        nn.ReLU(inplace=True),
        nn.Linear(dense, classes),
    )
