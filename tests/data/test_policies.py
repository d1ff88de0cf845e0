import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.image_files import noise
from tuner.data import color
from tuner.data.policies import LARGEST, NAMES, RAND, TRIVIAL, Policy, apply, rand_augment, trivial_augment


def batch(count: int = 62, channels: int = 3, height: int = 14, width: int = 11) -> Tensor:
    """Noise, of which some images have few values or one."""
    images = torch.from_numpy(noise(count, channels, height, width)).clone()
    images[::5] = images[::5] // 3 + 40
    images[7:8] = 90
    return images


def affine(image: Tensor, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Tensor:
    """torchvision's call, as its own RandAugment makes it."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    degrees = [math.degrees(math.atan(one)) for one in shear]
    center = [0.0, 0.0] if any(shear) else None
    bilinear = InterpolationMode.BILINEAR
    return functional.affine(
        image, angle=0, translate=list(shift), scale=1, shear=degrees, interpolation=bilinear, center=center
    )


def by_torchvision(policy: Policy, name: str, image: Tensor, strength: float, sign: float) -> Tensor:
    """One image changed by torchvision's functions."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as reference

    bilinear = InterpolationMode.BILINEAR
    share, height, width = strength / LARGEST, *image.shape[1:]
    signed = sign * share
    across, down = (int(signed * policy.shift * (size if policy.is_share else 1)) for size in (width, height))
    factor = 1 + signed * policy.factor
    calls: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "shear_x": lambda: affine(image, shear=(signed * policy.shear, 0)),
        "shear_y": lambda: affine(image, shear=(0, signed * policy.shear)),
        "translate_x": lambda: affine(image, shift=(across, 0)),
        "translate_y": lambda: affine(image, shift=(0, down)),
        "rotate": lambda: reference.rotate(image, signed * policy.degrees, interpolation=bilinear),
        "brightness": lambda: reference.adjust_brightness(image, factor),
        "color": lambda: reference.adjust_saturation(image, factor),
        "contrast": lambda: reference.adjust_contrast(image, factor),
        "sharpness": lambda: reference.adjust_sharpness(image, factor),
        "posterize": lambda: reference.posterize(image, round(8 - share * policy.bits)),
        "solarize": lambda: reference.solarize(image, 255 * (1 - share)),
        "autocontrast": lambda: reference.autocontrast(image),
        "equalize": lambda: reference.equalize(image),
    }
    return calls[name]()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", [RAND, TRIVIAL], ids=["rand", "trivial"])
@pytest.mark.parametrize("name", NAMES)
def test_operation_agrees_with_torchvision_per_image(name: str, policy: Policy, channels: int) -> None:
    images = batch(channels=channels)
    strengths = torch.arange(62) % (LARGEST + 1)
    signs = torch.where(torch.arange(62) < 31, 1.0, -1.0)
    operations = torch.full((62,), NAMES.index(name))
    results = apply(policy, images, operations, strengths.float(), signs)
    expected = torch.stack(
        [
            by_torchvision(policy, name, image, strength, sign)
            for image, strength, sign in zip(images, strengths.tolist(), signs.tolist(), strict=True)
        ]
    )
    difference = (results.int() - expected.int()).abs()
    assert difference.max() <= 1  # of 255, because sums are rounded in another order
    assert (difference > 0).float().mean() < 0.02


@pytest.mark.parametrize("change", [lambda images, draw: rand_augment(images, 9, draw), trivial_augment])
def test_policy_draws_per_image_from_the_seed(change: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    images = batch(1).expand(200, 3, 14, 11).contiguous()
    kept = images.clone()
    first, again, other = (change(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.uint8
    assert len({one.numpy().tobytes() for one in first}) > 20
    assert torch.equal(images, kept)


def test_policies_draw_each_operation_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Tensor] = []

    def keep(_: Policy, images: Tensor, operations: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
        drawn.append(torch.stack([operations.float(), strengths, signs]))
        return images

    monkeypatch.setattr("tuner.data.policies.apply", keep)
    images = torch.zeros(14_000, 1, 1, 1, dtype=torch.uint8)
    trivial_augment(images, torch.Generator().manual_seed(0))
    rand_augment(images, 7.5, torch.Generator().manual_seed(0))
    trivial, *rand = drawn
    for operations, strengths, signs in (trivial, *rand):
        assert np.bincount(operations.long().numpy(), minlength=14).min() > 850
        assert abs(signs.mean()) < 0.05
        assert 0 <= strengths.min() <= strengths.max() <= LARGEST
    assert np.bincount(trivial[1].long().numpy(), minlength=31).min() > 350
    assert len(rand) == 2
    assert all((strengths == 7.5).all() for _, strengths, _ in rand)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_agrees_with_torchvision_per_image(channels: int) -> None:
    from torchvision.transforms.v2 import functional as reference

    images = batch(channels=channels)
    factors = 0.6 + 0.8 * torch.rand(3, 62, generator=torch.Generator().manual_seed(0))
    results = color.jitter(images, *factors)
    for image, result, (bright, contrast, saturation) in zip(images, results, factors.T.tolist(), strict=True):
        expected = reference.adjust_contrast(reference.adjust_brightness(image, bright), contrast)
        expected = reference.adjust_saturation(expected, saturation)
        assert (result.int() - expected.int()).abs().max() <= 1
