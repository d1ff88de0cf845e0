"""A folder of images, one subfolder a class: `train/<class>/*.png`, and `test/<class>/*.png` if there is one."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tuner.data.dataset import Decoded, Part
from tuner.data.decoding import decode, stack
from tuner.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def layout(place: Path) -> dict[str, Path]:
    """Every image below `place`, named `<part>/<class>/<file>`, sorted by part, class and file name.

    Raises:
        DataError: no `train` folder, a class without images, or classes that differ between train and test.
    """
    if not (place / "train").is_dir():
        raise DataError(f"{place}: neither train.parquet nor train/<class>/ with images")
    parts = [part for part in ("train", "test") if (place / part).is_dir()]
    classes = {part: _classes(place / part) for part in parts}
    if len(parts) == 2 and classes["train"] != classes["test"]:
        odd = sorted(set(classes["train"]) ^ set(classes["test"]))[0]
        has, lacks = ("train", "test") if odd in classes["train"] else ("test", "train")
        raise DataError(f"{place / lacks}: no class '{odd}', which {has} has")
    return {
        f"{part}/{name}/{image.name}": image
        for part in parts
        for name in classes[part]
        for image in _images(place / part / name)
    }


def read(files: Mapping[str, Path], side: int | None) -> Decoded:
    """Decode the files that `layout` found; the classes are the names of the subfolders, sorted.

    Raises:
        DataError: an image that cannot be read, or images of several sizes.
    """
    classes = tuple(dict.fromkeys(name.split("/")[1] for name in files))
    train = _part("train", files, classes, side)
    test = _part("test", files, classes, side) if any(name.startswith("test/") for name in files) else None
    return Decoded(classes, train, test)


def _part(part: str, files: Mapping[str, Path], classes: tuple[str, ...], side: int | None) -> Part:
    label = {name: i for i, name in enumerate(classes)}
    chosen = [(label[name.split("/")[1]], path) for name, path in files.items() if name.startswith(f"{part}/")]
    pictures = [decode(path, str(path), side) for _, path in chosen]
    images = stack(pictures, [str(path) for _, path in chosen])
    return Part(images, np.array([i for i, _ in chosen], np.int64))


def _classes(part: Path) -> list[str]:
    names = sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{part}: empty; allowed: one folder of images for each class")
    return names


def _images(place: Path) -> list[Path]:
    images = sorted(
        path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not images:
        raise DataError(f"{place}: holds no image; allowed: {', '.join(sorted(SUFFIXES))}")
    return images
