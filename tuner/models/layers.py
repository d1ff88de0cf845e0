"""Small pieces that the families share."""

from torch import nn


def side_after(side: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """Side of a square image, in pixels, after a convolution or a pooling."""
    return (side + 2 * padding - kernel) // stride + 1


def dropout(probability: float) -> nn.Module:
    """Dropout, or nothing where the probability is 0: PyTorch would draw a mask all the same."""
    return nn.Dropout(probability) if probability > 0 else nn.Identity()
