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


def lenet5_tinoco(in_channels: int, classes: int, image_size: int) -> nn.Sequential:
    """LeNet-5 with a third convolution instead of a dense layer (report 000: Tinoco).

    (N, in_channels, side, side) → (N, classes) logits; images below LeNet's 32x32 are padded to it with zeros. The
    report prints the layers but not how they are joined: a ReLU follows each convolution here, which is an assumption.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=_padding(image_size)),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 120, 5),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(120 * _side_of_three(max(image_size, 32), last=5) ** 2, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, classes),
    )


def lenet5_classic(in_channels: int, classes: int, image_size: int) -> nn.Sequential:
    """LeNet-5 as the slides of report 002 (Bruno César) describe it: tanh and average pooling, 120, 84, 10.

    (N, in_channels, side, side) → (N, classes) logits; images below LeNet's 32x32 are padded to it with zeros. Of the
    16 maps of the second convolution all are connected to all 6 before them, unlike in LeCun's network.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5, padding=_padding(image_size)),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120 * _side_of_three(max(image_size, 32), last=5) ** 2, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def lenet5_cesar(in_channels: int, classes: int, image_size: int, *, output_relu: bool = True) -> nn.Sequential:
    """LeNet-5 as the code of report 002 (Bruno César) builds it for 28x28 images: last convolution 4x4, dense 82.

    (N, in_channels, side, side) → (N, classes) logits. The code has a ReLU after both dense layers, so that no logit is
    ever negative; without `output_relu` the last one is left out.
    """
    layers = [
        nn.Conv2d(in_channels, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120 * _side_of_three(image_size, last=4) ** 2, 82),
        nn.ReLU(inplace=True),
        nn.Linear(82, classes),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if output_relu else []))


def _padding(image_size: int) -> int:
    """Pixels of border that bring an image up to LeNet's 32x32."""
    return max(0, (32 - image_size + 1) // 2)


def _side_of_three(side: int, last: int) -> int:
    """Side of the maps after conv 5x5, pool, conv 5x5, pool and a convolution of `last`."""
    for _ in range(2):
        side = side_after(side, 5) // 2
    return side_after(side, last)
