"""LeNet-5 as the student reports built it.

Max-pooling stands before ReLU, because it gives the same numbers for a quarter of the work.
"""

from torch import nn

from tuner.models.layers import dropout as drop
from tuner.models.layers import size_after


def lenet5(in_channels: int, classes: int, image_size: int, *, dropout: float = 0.0) -> nn.Sequential:
    """LeNet-5 with ReLU and max-pooling (report 003: Higueros and Velásquez, MNIST).

    (N, in_channels, size, size) → (N, classes) logits. 28x28 leaves 16 maps of 4x4. The report has
    no dropout. Here it may follow each of the two hidden dense layers.
    """
    size = size_after(image_size, 5) // 2
    size = size_after(size, 5) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * size * size, 120),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        drop(dropout),
        nn.Linear(84, classes),
    )


def lenet5_tinoco(in_channels: int, classes: int, image_size: int) -> nn.Sequential:
    """LeNet-5 of report 000 (Tinoco), with a third convolution.

    The third convolution replaces a dense layer.

    (N, in_channels, size, size) → (N, classes) logits. Images below LeNet's 32x32 are padded to it
    with zeros. The report prints the layers without their activations, so a ReLU after each
    convolution is an assumption.
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
        nn.Linear(120 * _size_after_three(max(image_size, 32), last=5) ** 2, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, classes),
    )


def lenet5_classic(in_channels: int, classes: int, image_size: int) -> nn.Sequential:
    """LeNet-5 of the slides of report 002 (Bruno César): tanh, average pooling.

    (N, in_channels, size, size) → (N, classes) logits. Images below LeNet's 32x32 are padded to it
    with zeros. Unlike in LeCun's network, all 16 maps of the second convolution are connected to
    all 6 maps before them.
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
        nn.Linear(120 * _size_after_three(max(image_size, 32), last=5) ** 2, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )


def lenet5_cesar(in_channels: int, classes: int, image_size: int, *, output_relu: bool = True) -> nn.Sequential:
    """LeNet-5 of the code of report 002 (Bruno César).

    The last convolution is 4x4 and the dense layer has 82 units.

    (N, in_channels, size, size) → (N, classes) logits, for 28x28 images. The code has a ReLU after
    both dense layers, so that no logit is negative. Without `output_relu` the last one is left out.
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
        nn.Linear(120 * _size_after_three(image_size, last=4) ** 2, 82),
        nn.ReLU(inplace=True),
        nn.Linear(82, classes),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if output_relu else []))


def _padding(image_size: int) -> int:
    """Return the pixels of border that bring an image to LeNet's 32x32."""
    return max(0, (32 - image_size + 1) // 2)


def _size_after_three(size: int, last: int) -> int:
    """Return the size after conv 5, pool, conv 5, pool, conv `last`."""
    for _ in range(2):
        size = size_after(size, 5) // 2
    return size_after(size, last)
