"""Loss of a training: cross-entropy or focal loss, with weights of classes."""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import Tensor

from tuner.config.training import TrainingConfig


class Loss:
    """Loss that a recipe names, averaged over a batch.

    Args:
        config: The recipe.
        labels: (N,) int64, labels of the training images, on the device that trains.
        classes: Number of classes.
    """

    def __init__(self, config: TrainingConfig, labels: Tensor, classes: int) -> None:
        self._smoothing, self._gamma = config.label_smoothing, config.focal_gamma
        self._weights = balanced_weights(labels, classes) if config.class_weights == "balanced" else None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch, weighted by its images' classes."""
        if self._gamma == 0:
            return F.cross_entropy(logits, labels, self._weights, label_smoothing=self._smoothing)
        return focal_loss(logits, labels, self._gamma, self._weights, self._smoothing)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return N / (classes * images of the class), (classes,) float32.

    A class without images has weight 0.
    """
    counts = torch.bincount(labels, minlength=classes).double()
    return torch.where(counts > 0, len(labels) / (classes * counts), 0.0).float()


def focal_loss(
    logits: Tensor, labels: Tensor, gamma: float, weights: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Return the mean focal loss (Lin et al. 2017).

    The loss of an image is -(1 - p)^gamma log p, where p is the probability of its class. With
    gamma 0 this is PyTorch's cross-entropy. Weights and smoothing act as there.

    Args:
        logits: (B, classes).
        labels: (B,) int64.
        gamma: Exponent.
        weights: (classes,), weights of the classes. None: all are 1.
        smoothing: Share of the target that is spread over all classes.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    # 1 - p, above 0 because the power's gradient is infinite there
    rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    eased = rest**gamma * log_p
    loss = F.nll_loss(eased, labels, weights)
    if smoothing == 0:
        return loss
    weights = torch.ones_like(log_p[0]) if weights is None else weights
    spread = -(eased * weights).mean(dim=1).sum() / weights[labels].sum()
    return (1 - smoothing) * loss + smoothing * spread
