"""LeNet-5 as the student reports built it.

Max-pooling stands before ReLU: the same numbers as after it, forward and backward, for a quarter of the work.
"""

from torch import nn

from tuner.models.layers import dropout as drop
from tuner.models.layers import side_after


def lenet5(in_channels: int, classes: int, image_size: int, *, dropout: float = 0.0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling (report 003: Higueros and Velásquez, MNIST).

    (N, in_channels, side, side) → (N, classes) logits; 28x28 leaves 16 maps of 4x4. The report has no dropout;
    here it may follow each of the two hidden dense layers.
    """
    side = side_after(image_size, 5) // 2
    side = side_after(side, 5) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(84, classes),
    )
