"""Initial weights other than PyTorch's."""

from torch import nn


def keras_(model: nn.Module) -> None:
    """Initialize convolutions and dense layers in place as Keras does.

    Biases are zero. Weights are uniform in ±sqrt(6 / (fan_in + fan_out)), where a convolution
    counts kernel² inputs and outputs per channel. Batch normalization starts the same in both
    libraries. The draws are from PyTorch's global generator.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
