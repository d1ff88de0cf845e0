import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.cuda import needs_cuda
from tests.support.image_files import noise
from tuner.config.dataset import Augment
from tuner.data.augment import augment, crop, flip, move

EVERYTHING = Augment(flip=True, crop=3, rotate=15, shift=0.1)


def batch(count: int = 64, channels: int = 3, height: int = 12, width: int = 12) -> Tensor:
    return torch.from_numpy(noise(count, channels, height, width))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def moved_by_hand(image: np.ndarray, radians: float, right: float, down: float) -> np.ndarray:
    """One image (C, H, W) rotated about its center and shifted, pixel by pixel."""
    channels, height, width = image.shape
    result = np.empty(image.shape)
    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, row - (height - 1) / 2
            source_x = math.cos(radians) * x - math.sin(radians) * y + right * width + (width - 1) / 2
            source_y = math.sin(radians) * x + math.cos(radians) * y + down * height + (height - 1) / 2
            source_x = min(max(source_x, 0), width - 1)
            source_y = min(max(source_y, 0), height - 1)
            left, top = math.floor(source_x), math.floor(source_y)
            far, low = min(left + 1, width - 1), min(top + 1, height - 1)
            part_x, part_y = source_x - left, source_y - top
            for channel in range(channels):
                plane = image[channel].astype(float)
                upper = plane[top, left] * (1 - part_x) + plane[top, far] * part_x
                lower = plane[low, left] * (1 - part_x) + plane[low, far] * part_x
                result[channel, row, column] = upper * (1 - part_y) + lower * part_y
    return result


def test_augment_draws_nothing_when_off() -> None:
    images, generator = batch(), seeded()
    before = generator.get_state()
    assert augment(images, Augment(), generator) is images
    assert torch.equal(generator.get_state(), before)


def test_flip_mirrors_the_chosen_images() -> None:
    images, chosen = batch(6), torch.tensor([True, False, False, True, True, False])
    flipped = flip(images, chosen)
    for before, after, mirrored in zip(images.numpy(), flipped.numpy(), chosen.tolist(), strict=True):
        for plane, result in zip(before, after, strict=True):
            picture = Image.fromarray(plane)
            expected = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
            assert np.array_equal(result, np.asarray(expected))


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_crop_cuts_from_a_black_frame(kind: torch.dtype) -> None:
    places = [(row, column) for row in range(7) for column in range(7)]
    images = batch(len(places), height=12, width=9).to(kind)
    rows, columns = torch.tensor(places).T
    cut = crop(images, 3, rows, columns)
    assert cut.dtype == kind
    for before, after, (row, column) in zip(images.numpy(), cut.numpy(), places, strict=True):
        framed = np.pad(before, ((0, 0), (3, 3), (3, 3)))
        assert np.array_equal(after, framed[:, row : row + 12, column : column + 9])


@pytest.mark.parametrize(("height", "width"), [(12, 12), (10, 14)])
def test_move_agrees_with_pixel_by_pixel(height: int, width: int) -> None:
    images = batch(12, height=height, width=width)
    radians, right, down = torch.rand(3, 12, generator=seeded()) * 2 - 1
    moved = move(images, radians, right * 0.3, down * 0.3)
    for i, image in enumerate(images.numpy()):
        expected = moved_by_hand(image, radians[i].item(), right[i].item() * 0.3, down[i].item() * 0.3)
        np.testing.assert_allclose(moved[i].numpy(), expected, atol=0.01)


def test_move_is_exact_for_whole_pixels() -> None:
    images = batch(1, height=10, width=10)
    turned = move(images, torch.tensor([math.pi / 2]), torch.zeros(1), torch.zeros(1))
    np.testing.assert_allclose(turned.numpy(), np.rot90(images.numpy(), axes=(2, 3)), atol=0.01)
    shifted = move(images, torch.zeros(1), torch.tensor([0.2]), torch.zeros(1)).numpy()
    np.testing.assert_allclose(shifted[..., :8], images.numpy()[..., 2:], atol=0.01)
    np.testing.assert_allclose(shifted[..., 8:], images.numpy()[..., [9, 9]], atol=0.01)


def test_augment_makes_only_allowed_flips_and_crops() -> None:
    images = batch(200, channels=1)
    augmented = augment(images, Augment(flip=True, crop=2), seeded())
    assert augmented.dtype == torch.uint8
    seen = []
    for before, after in zip(images.numpy(), augmented.numpy(), strict=True):
        explanations = [
            (mirrored, row, column)
            for mirrored in (False, True)
            for row in range(5)
            for column in range(5)
            if np.array_equal(after[0], np.pad(before[0][:, :: -1 if mirrored else 1], 2)[row:, column:][:12, :12])
        ]
        assert len(explanations) == 1
        seen += explanations
    mirrored, rows, columns = (np.array(values) for values in zip(*seen, strict=True))
    assert 70 < mirrored.sum() < 130
    for places in (rows, columns):  # each of the five is drawn, about equally often
        assert np.bincount(places, minlength=5).min() > 20
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.2


def test_augment_uses_rotation_and_shift_limits() -> None:
    """A ramp to the right and one downwards show where each pixel was read."""
    side = 41
    ramp = torch.arange(side).float() * 6
    images = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side)]).expand(500, 2, side, side)
    center = augment(images, Augment(shift=0.2), seeded())[:, :, side // 2, side // 2] / 6 - side // 2
    assert center.abs().max() <= 0.2 * side + 1e-3
    assert (center.amax(0) > 0.18 * side).all()
    assert (center.amin(0) < -0.18 * side).all()
    turned = augment(images, Augment(rotate=15), seeded())
    slope = (turned[:, :, side // 2, side // 2 + 5] - turned[:, :, side // 2, side // 2 - 5]) / 60
    degrees = torch.rad2deg(torch.atan2(slope[:, 1], slope[:, 0]))
    assert 14 < degrees.max() <= 15.01
    assert -15.01 <= degrees.min() < -14


@pytest.mark.parametrize(
    "config", [EVERYTHING, Augment(flip=True), Augment(crop=4), Augment(rotate=10), Augment(shift=0.1)]
)
def test_augment_draws_per_image_from_the_seed(config: Augment) -> None:
    image = batch(1)
    images = image.expand(50, 3, 12, 12).contiguous()
    kept = images.clone()
    first, again, other = (augment(images, config, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({one.numpy().tobytes() for one in first}) >= (2 if config == Augment(flip=True) else 20)
    assert torch.equal(images, kept)
    assert first.shape == images.shape


def test_augment_draws_again_for_each_batch() -> None:
    generator = seeded()
    assert not torch.equal(augment(batch(), EVERYTHING, generator), augment(batch(), EVERYTHING, generator))


def test_augment_flips_then_crops_then_moves() -> None:
    images, draws = batch(40), torch.rand(6, 40, generator=seeded(7))
    expected = images.flip(3).where((draws[0] < 0.5)[:, None, None, None], images)
    expected = crop(expected, 3, (draws[1] * 7).long(), (draws[2] * 7).long())
    angle, right, down = draws[3:] * 2 - 1
    expected = move(expected, torch.deg2rad(15 * angle), 0.1 * right, 0.1 * down)
    torch.testing.assert_close(augment(images, EVERYTHING, seeded(7)), expected)


def test_augment_keeps_pixels_between_0_and_255() -> None:
    augmented = augment(batch(200), EVERYTHING, seeded())
    assert augmented.dtype == torch.float32
    assert augmented.min() >= 0
    assert augmented.max() <= 255


@needs_cuda
def test_augment_on_gpu_equals_cpu() -> None:
    on_cpu, on_gpu = (augment(batch().to(device), EVERYTHING, seeded()) for device in ("cpu", "cuda"))
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, atol=0.05, rtol=0)
