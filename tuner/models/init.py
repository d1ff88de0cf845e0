"""Initial weights other than PyTorch's own."""

from torch import nn


def keras_(model: nn.Module) -> None:
    """Initialize as Keras does: Glorot-uniform weights and zero biases in convolutions and dense layers, in place.

    Weights are uniform in ±sqrt(6 / (fan_in + fan_out)), where a convolution counts kernel² inputs and outputs a
    channel. Batch normalization starts the same in both libraries. Draws from PyTorch's global generator.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
