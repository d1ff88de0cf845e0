"""Mixtures agree with each image mixed alone, and their loss with torchvision's soft labels."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name
from torch import Tensor

from tuner.config.training import TrainingConfig
from tuner.training.mixing import Targets, cutmix, mix, mixed_loss, mixup

IMAGES = torch.rand(9, 3, 10, 13, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 3])


def loss_by(logits: Tensor, targets: Targets) -> Tensor:
    return mixed_loss(lambda labels: F.cross_entropy(logits, labels), targets)


def soft(targets: Targets) -> Tensor:
    """The mixed labels as probabilities, (9, 4)."""
    first, second = (F.one_hot(labels, 4).float() for labels in (targets.labels, targets.others))
    return targets.share * first + (1 - targets.share) * second


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_mixup_agrees_with_torchvision(share: float) -> None:
    from torchvision.transforms.v2 import MixUp  # here, because it takes seconds

    expected = MixUp(num_classes=4).transform(IMAGES, {"labels": LABELS, "batch_size": 9, "lam": share})
    torch.testing.assert_close(mixup(IMAGES, share), expected)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8, 1.0])
@pytest.mark.parametrize("center", [(0.5, 0.5), (0.05, 0.9), (0.999, 0.0)])
def test_cutmix_agrees_with_each_image_cut_alone(share: float, center: tuple[float, float]) -> None:
    from torchvision.transforms.v2 import CutMix

    mixed, kept = cutmix(IMAGES, share, center)
    changed = (mixed != IMAGES)[0, 0]
    rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
    assert changed.sum() == len(rows) * len(columns)  # one box
    assert kept == pytest.approx(1 - changed.sum().item() / 130)
    if len(rows):
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        expected = CutMix(num_classes=4).transform(IMAGES, {"box": box, "batch_size": 9, "labels": LABELS})
        assert torch.equal(mixed, expected)
        assert box[0] <= center[0] * 13 <= box[2]
        assert box[1] <= center[1] * 10 <= box[3]


def test_cutmix_covers_the_share_that_was_drawn() -> None:
    large = torch.zeros(2, 1, 200, 200)
    assert cutmix(large, 0.7, (0.5, 0.5))[1] == pytest.approx(0.7, abs=0.01)


def test_mixed_loss_is_that_of_soft_labels() -> None:
    logits = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    targets = Targets(LABELS, LABELS.roll(1), 0.3)
    torch.testing.assert_close(loss_by(logits, targets), F.cross_entropy(logits, soft(targets)))
    assert torch.equal(targets.main, targets.others)
    whole = Targets(LABELS, LABELS, 1.0)
    assert torch.equal(loss_by(logits, whole), F.cross_entropy(logits, LABELS))


def test_mix_leaves_a_plain_recipe_alone() -> None:
    images, targets = mix(IMAGES, LABELS, TrainingConfig(), 0)
    assert images is IMAGES
    assert targets.share == 1


@pytest.mark.parametrize(("mixup_alpha", "cutmix_alpha"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_mix_draws_method_and_share_from_the_seed(mixup_alpha: float, cutmix_alpha: float) -> None:
    config = TrainingConfig(mixup=mixup_alpha, cutmix=cutmix_alpha)
    shares, boxes = [], 0
    for seed in range(300):
        images, targets = mix(IMAGES, LABELS, config, seed)
        again, _ = mix(IMAGES, LABELS, config, seed)
        assert torch.equal(images, again)
        assert torch.equal(targets.others, LABELS.roll(1))
        is_box = bool(torch.isin(images[1], IMAGES[:2]).all()) and targets.share < 1
        boxes += is_box
        shares.append(targets.share)
    assert 0.4 < sum(shares) / 300 < 0.8  # boxes at the edge keep more
    expected = {(0.4, 0.0): (0, 5), (0.0, 1.0): (250, 300), (0.4, 1.0): (110, 190)}[mixup_alpha, cutmix_alpha]
    assert expected[0] <= boxes <= expected[1]


def test_mix_draws_shares_from_the_beta_distribution() -> None:
    shares = torch.tensor([mix(IMAGES, LABELS, TrainingConfig(mixup=0.2), seed)[1].share for seed in range(2000)])
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.1)
