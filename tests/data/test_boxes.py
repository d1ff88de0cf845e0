import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tests.support.image_files import noise
from tuner.data.boxes import CROP_RATIO, cover, cut_and_resize, draw_boxes, erase, resized_crop


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("height", "width"), [(12, 12), (9, 16)])
def test_cut_and_resize_agrees_with_each_crop_interpolated(height: int, width: int) -> None:
    images = torch.from_numpy(noise(100, 3, height, width))
    boxes, fits = draw_boxes(100, (height, width), (0.05, 1.0), CROP_RATIO, seeded())
    assert fits.sum() > 90
    results = cut_and_resize(images[fits], boxes[:, fits])
    for image, result, (top, left, rows, columns) in zip(images[fits], results, boxes[:, fits].T.tolist(), strict=True):
        cut = image[None, :, top : top + rows, left : left + columns].float()
        expected = interpolate(cut, size=(height, width), mode="bilinear", align_corners=False)
        torch.testing.assert_close(result[None], expected, atol=0.01, rtol=0)


def test_draw_boxes_spreads_area_ratio_and_place() -> None:
    boxes, fits = draw_boxes(4000, (200, 200), (0.2, 0.6), (0.5, 2.0), seeded())
    top, left, height, width = boxes.numpy()
    assert fits.all()
    assert ((top >= 0) & (top + height <= 200) & (left >= 0) & (left + width <= 200)).all()
    shares, ratios = height * width / 200**2, width / height
    assert np.allclose([shares.min(), shares.max(), shares.mean()], [0.2, 0.6, 0.4], atol=0.015)
    assert np.allclose([ratios.min(), ratios.max()], [0.5, 2.0], atol=0.05)
    assert abs(np.log(ratios).mean()) < 0.02
    room = 200 - height
    assert (top == 0).any()
    assert (top == room).any()
    assert abs((top / room.clip(1)).mean() - 0.5) < 0.02


def test_draw_boxes_says_where_none_fits() -> None:
    _, fits = draw_boxes(50, (100, 10), (0.5, 1.0), (1.0, 1.1), seeded())
    assert not fits.any()


def test_resized_crop_keeps_an_image_whole_that_no_box_fits() -> None:
    images = torch.from_numpy(noise(5, 3, 100, 10))
    torch.testing.assert_close(resized_crop(images, 0.9, seeded()), images.float(), atol=0.01, rtol=0)


def test_cover_fills_the_box_alone() -> None:
    images = torch.ones(3, 2, 5, 6)
    boxes = torch.tensor([[1, 0, 4], [2, 0, 5], [3, 0, 1], [4, 0, 1]])
    expected = images.clone()
    expected[0, :, 1:4, 2:6] = 0
    expected[2, :, 4, 5] = 0
    assert torch.equal(cover(images, boxes), expected)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_erase_chooses_images_by_the_probability(probability: float) -> None:
    erased = erase(torch.ones(2000, 3, 20, 20), probability, seeded())
    shares = 1 - erased.mean((1, 2, 3))
    assert abs((shares > 0).float().mean() - probability) < 0.03
    assert shares[shares > 0].min() >= 0.01
    assert 0.3 < shares.max() <= 0.36


@pytest.mark.parametrize("change", [lambda i, g: resized_crop(i, 0.3, g), lambda i, g: erase(i.float(), 0.9, g)])
def test_box_changes_draw_per_image_from_the_seed(change: "type[Tensor]") -> None:
    images = torch.from_numpy(noise(1, 3, 16, 16)).expand(50, 3, 16, 16)
    first, again, other = (change(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({one.numpy().tobytes() for one in first}) > 30
