"""Helpers that several families of networks share."""

from torch import nn


def size_after(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Return the size of square maps after a convolution or pooling.

    The size is both width and height.
    """
    return (size + 2 * padding - kernel) // stride + 1


def dropout(probability: float) -> nn.Module:
    """Build dropout, or the identity for probability 0.

    The identity is built because PyTorch's dropout would still draw a mask.
    """
    return nn.Dropout(probability) if probability > 0 else nn.Identity()
