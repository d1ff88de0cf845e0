"""Predictions of image files: read as training reads them, in order, past files that cannot be read."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.image_files import noise, write_png
from tuner.data.decoding import decode_all
from tuner.errors import DataError
from tuner.training.exported import GraphModel
from tuner.training.image_model import About, Origin
from tuner.training.prediction import BATCH, Prediction, Unreadable, check_paths, list_images, predict_files

ORIGIN = Origin(study="s", trial=0, protocol="clean", dataset={}, images={}, test={}, versions={})
ORIENTATION = 0x0112


def model(channels: int, resized: bool, size: int = 8) -> GraphModel:
    """A model that tells the mean of an image, as the probability of the first of two classes."""
    about = About(
        classes=("bright", "dark"),
        channels=channels,
        image_size=size,
        resized=resized,
        scale=(1.0,) * channels,
        offset=(0.0,) * channels,
        architecture="vazquez_base",
        hyperparameters={},
        code=None,
        recipe={},
        seed=0,
        device="cpu",
        precision={},
        weights="",
        origin=ORIGIN,
    )

    def run(images: Tensor) -> Tensor:
        mean = images.double().mean(dim=(1, 2, 3)) / 255
        return torch.stack([mean, 1 - mean], dim=1).float()

    return GraphModel(about, run)


def test_images_of_every_mode_are_read_as_in_training(tmp_path: Path) -> None:
    color = Image.fromarray(noise(1, 12, 20, 3)[0])
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    alpha = color.convert("RGBA")
    alpha.putalpha(Image.fromarray(noise(1, 12, 20, seed=1)[0]))
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "gray.png": (color.convert("L"), {}),
        "rgb.png": (color, {}),
        "rgba.png": (alpha, {}),
        "palette.png": (color.quantize(16), {}),
        "turned.jpg": (color, {"exif": exif}),
        "animated.gif": (color, {"save_all": True, "append_images": [color.rotate(90)]}),
    }
    for name, (picture, options) in kinds.items():
        picture.save(tmp_path / name, **options)
    files = sorted(list_images([tmp_path]))
    with pytest.warns(UserWarning, match=r"animated\.gif: the first of several frames or pages is used$"):
        found = list(predict_files(model(3, resized=True), files, 1))
    with pytest.warns(UserWarning, match="number of such files: 1"):
        expected = decode_all([(file, str(file)) for file in files], 8)
    shown = [each.pixels for each in found if isinstance(each, Prediction)]
    assert len(files) == len(kinds)
    assert np.array_equal(np.stack(shown), expected)


def test_gray_model_takes_colors_that_are_gray(tmp_path: Path) -> None:
    gray = noise(1, 8, 8)[0]
    write_png(tmp_path / "gray.png", gray)
    write_png(tmp_path / "gray_as_rgb.png", np.stack([gray] * 3, axis=-1))
    write_png(tmp_path / "red.png", noise(1, 8, 8, 3)[0])
    first, second, refused = predict_files(model(1, resized=False), sorted(list_images([tmp_path])), 2)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert first.classes == second.classes
    assert isinstance(refused, Unreadable)
    assert refused.reason == f"{tmp_path}/red.png: an image of colors; the model was trained on gray images"


def test_unreadable_images_are_passed_over_in_order(tmp_path: Path) -> None:
    count = BATCH + 3
    for number, level in enumerate(np.linspace(0, 255, count).astype(np.uint8)):
        write_png(tmp_path / f"{number:04}.png", np.full((8, 8), level, np.uint8))
    (tmp_path / "0001.png").write_bytes(b"no image")
    write_png(tmp_path / f"{count - 1:04}.png", noise(1, 9, 8)[0])
    found = list(predict_files(model(1, resized=False), list_images([tmp_path]), 2))
    assert [each.file.name for each in found] == [f"{number:04}.png" for number in range(count)]
    refused = {each.file.name: each.reason for each in found if isinstance(each, Unreadable)}
    assert refused.keys() == {"0001.png", f"{count - 1:04}.png"}
    assert refused[f"{count - 1:04}.png"].endswith("8x9 pixels; the model was trained on 8x8, not resized")
    bright = [dict(each.classes)["bright"] for each in found if isinstance(each, Prediction)]
    assert all(low < high for low, high in pairwise(bright))
    assert all(each.classes[0][1] >= 0.5 for each in found if isinstance(each, Prediction))


def test_missing_paths_and_empty_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    with pytest.raises(DataError, match=r"/none\.png: no such file or folder"):
        check_paths([tmp_path, tmp_path / "none.png"])
    with pytest.raises(DataError, match=r"/empty: holds no image"):
        list(list_images([tmp_path / "empty"]))
