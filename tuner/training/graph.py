"""Networks as one module from uint8 pixels to probabilities, for exports."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FoldMean(nn.Module):
    """Networks of all folds as one, which gives their mean probabilities.

    It takes pixels 0 to 255, because each fold has its own scale of them.

    Args:
        networks: The network of each fold.
        scales: (1, C, 1, 1) for each fold.
        offsets: (1, C, 1, 1) for each fold.
    """

    def __init__(self, networks: Sequence[nn.Module], scales: Sequence[Tensor], offsets: Sequence[Tensor]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("scales", torch.cat(list(scales)))
        self.register_buffer("offsets", torch.cat(list(offsets)))

    scales: Tensor
    offsets: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities, which are logits of them."""
        probabilities = [
            network(pixels * self.scales[fold : fold + 1] + self.offsets[fold : fold + 1]).float().softmax(dim=1)
            for fold, network in enumerate(self.networks)
        ]
        return torch.stack(probabilities).mean(dim=0).log()


class Graph(nn.Module):
    """A network with its preprocessing, from uint8 pixels to probabilities.

    It takes (N, C, H, W), gives (N, classes), and computes in float32 on the CPU.
    """

    def __init__(self, network: nn.Module, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
        self.requires_grad_(False)
        self.register_buffer("scale", scale.cpu())
        self.register_buffer("offset", offset.cpu())

    scale: Tensor
    offset: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities of uint8 images."""
        pixels = images.to(torch.float32) * self.scale + self.offset
        probabilities: Tensor = self.network(pixels).float().softmax(dim=1)
        return probabilities
