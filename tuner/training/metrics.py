"""Metrics of predictions, as tensors on the device that trains.

They equal scikit-learn's, which workers do not import because that takes seconds and memory.
Probabilities are float64, so that those near 1 keep their order.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import Tensor

from tuner.config.registry import ExtraMetric

TOP = 5
"""Classes among which `val_top5_accuracy` searches the true one."""
CALIBRATION_BINS = 15
"""Bins of equal width for the calibration error, as in Guo et al. 2017."""
_SORTED_AT_ONCE = 4_000_000
"""Scores that are sorted at once, because sorting takes several times their memory."""


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the mean cross-entropy (nats) and the accuracy (0 to 1).

    Args:
        logits: (N, classes) float32.
        labels: (N,) int64.
    """
    loss = F.cross_entropy(logits.double(), labels)
    accuracy = (logits.argmax(dim=1) == labels).double().mean()
    return loss.item(), accuracy.item()


def extra_metrics(names: Sequence[ExtraMetric], logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    """Return the named metrics, None for a metric that is not defined.

    Args:
        names: The metrics.
        logits: (N, classes) float32.
        labels: (N,) int64.
    """
    values = {name: _METRICS[name](logits, labels).item() for name in names}
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def class_metrics(logits: Tensor, labels: Tensor) -> dict[str, list[Any]]:
    """Return `support`, `precision`, `recall`, `f1` and `auroc` of each class.

    A value is None where it is not defined: precision without predictions, recall without images.
    """
    right, images, predictions = _counts(logits, labels)
    shares = {
        "precision": right / predictions,
        "recall": right / images,
        "f1": 2 * right / (images + predictions),
        "auroc": _class_aurocs(logits, labels),
    }
    return {
        "support": images.long().tolist(),
        **{name: [None if math.isnan(value) else value for value in each.tolist()] for name, each in shares.items()},
    }


def auroc(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean area under the ROC curve over the classes.

    Each class is compared with the rest. Of two classes only the area of class 1 counts. The result
    is NaN if a class has no image or all images.
    """
    areas = _class_aurocs(logits, labels)
    return areas[1] if len(areas) == 2 else areas.mean()


def f1(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean F1 of the classes that have images or predictions."""
    right, images, predictions = _counts(logits, labels)
    return (2 * right / (images + predictions)).nanmean()


def balanced_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean recall of the classes that have images."""
    right, images, _ = _counts(logits, labels)
    return (right / images).nanmean()


def top5_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of images whose class is among the five likeliest.

    Of equal classes the last ones count as likelier, as in scikit-learn.
    """
    own = logits.gather(1, labels[:, None])
    later = torch.arange(logits.shape[1], device=logits.device) > labels[:, None]
    likelier = (logits > own) | ((logits == own) & later)
    return (likelier.sum(dim=1) < TOP).double().mean()


def calibration_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the expected calibration error of Guo et al. 2017.

    Images are put into 15 bins (low, high] of equal width by the probability of their predicted
    class. The error is the mean over images of their bin's |accuracy - mean probability|.
    """
    confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
    edges = torch.arange(1, CALIBRATION_BINS, dtype=torch.float64, device=logits.device) / CALIBRATION_BINS
    bins = F.one_hot(torch.bucketize(confidence, edges), CALIBRATION_BINS)
    gaps = ((predicted == labels).double() - confidence) @ bins.double()
    return gaps.abs().sum() / len(labels)


def _counts(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each class's right predictions, images and predictions, (classes,) float64 each."""
    predicted, classes = logits.argmax(dim=1), logits.shape[1]
    parts = (labels[predicted == labels], labels, predicted)
    right, images, predictions = (torch.bincount(part, minlength=classes).double() for part in parts)
    return right, images, predictions


def _class_aurocs(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the area under the ROC curve of each class.

    Pairs consist of an image of the class and an image of another class. The area is the share of
    pairs whose scores are in order. Equal scores count half. The area is computed from ranks
    (Mann-Whitney).

    Returns:
        (classes,) float64, NaN where undefined.
    """
    scores = logits.double().softmax(dim=1).T.contiguous()
    at_once = max(1, _SORTED_AT_ONCE // len(labels))
    sums = torch.cat([_rank_sums(part, labels, at) for at, part in _cut(scores, at_once)])
    images = torch.bincount(labels, minlength=len(scores)).double()
    return (sums - images * (images + 1) / 2) / (images * (len(labels) - images))


def _cut(scores: Tensor, at_once: int) -> list[tuple[int, Tensor]]:
    """Cut rows into groups, each with the number of its first row."""
    return [(first, scores[first : first + at_once]) for first in range(0, len(scores), at_once)]


def _rank_sums(scores: Tensor, labels: Tensor, first: int) -> Tensor:
    """Return the rank sum of each class's own images, (B,) float64.

    Ranks count from 1. Equal scores share their mean rank.

    Args:
        scores: (B, N), of the classes from `first`.
        labels: (N,).
        first: The first class.
    """
    ordered = scores.sort(dim=1).values
    below, up_to = (torch.searchsorted(ordered, scores, right=right) for right in (False, True))
    own = labels == torch.arange(first, first + len(scores), device=labels.device)[:, None]
    return ((below + up_to + 1) * own).sum(dim=1).double() / 2


_METRICS: Mapping[ExtraMetric, Callable[[Tensor, Tensor], Tensor]] = {
    "val_auroc": auroc,
    "val_f1": f1,
    "val_balanced_accuracy": balanced_accuracy,
    "val_top5_accuracy": top5_accuracy,
    "val_ece": calibration_error,
}
