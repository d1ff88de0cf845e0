"""Losses and weights of classes against plain references."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from tuner.config.training import TrainingConfig
from tuner.training.loss import Loss, balanced_weights, focal_loss

LABELS = torch.tensor([0] * 50 + [1] * 7 + [2] * 3)
LOGITS = 3 * torch.randn(60, 3, generator=torch.Generator().manual_seed(1))


def plain(logits: Tensor, labels: Tensor, gamma: float, weights: list[float], smoothing: float) -> float:
    """Return the weighted mean of -(1 - p)^gamma log p, image by image and class by class."""
    total = weight = 0.0
    classes = logits.shape[1]
    for row, label in zip(logits.double().softmax(1).tolist(), labels.tolist(), strict=True):
        for number, p in enumerate(row):
            share = smoothing / classes + (1 - smoothing) * (number == label)
            total -= share * weights[number] * (1 - p) ** gamma * float(torch.tensor(p).double().log())
        weight += weights[label]
    return total / weight


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_loss_equals_a_plain_loop(gamma: float, smoothing: float, class_weights: str) -> None:
    config = TrainingConfig.model_validate(
        {"focal_gamma": gamma, "label_smoothing": smoothing, "class_weights": class_weights}
    )
    loss = Loss(config, LABELS, 3)(LOGITS, LABELS).item()
    weights = [60 / (3 * count) for count in (50, 7, 3)] if class_weights == "balanced" else [1.0] * 3
    assert loss == pytest.approx(plain(LOGITS, LABELS, gamma, weights, smoothing), rel=1e-5)


def test_balanced_weights_equal_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=torch.arange(3).numpy(), y=LABELS.numpy())
    assert balanced_weights(LABELS, 3).tolist() == pytest.approx(expected)
    assert balanced_weights(LABELS, 4).tolist()[3] == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_loss_with_gamma_zero_is_cross_entropy(smoothing: float) -> None:
    weights = balanced_weights(LABELS, 3)
    expected = F.cross_entropy(LOGITS, LABELS, weights, label_smoothing=smoothing)
    assert focal_loss(LOGITS, LABELS, 0.0, weights, smoothing).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 5.0])
def test_focal_loss_has_finite_gradients_when_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 0.0]], requires_grad=True)
    torch.autograd.backward(focal_loss(logits, torch.tensor([0, 0, 1]), gamma, smoothing=0.1))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_default_loss_is_cross_entropy_bit_for_bit() -> None:
    loss = Loss(TrainingConfig(label_smoothing=0.1), LABELS, 3)(LOGITS, LABELS)
    assert torch.equal(loss, F.cross_entropy(LOGITS, LABELS, label_smoothing=0.1))
