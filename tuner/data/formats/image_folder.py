"""Folders of images, one subfolder per class: `train/<class>/*.png`, `test/<class>/*.png`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tuner.data.dataset import Decoded, Part
from tuner.data.decoding import decode, stack
from tuner.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"}


def layout(root: Path) -> dict[str, Path]:
    """Return every image below `root`, by its name `<part>/<class>/<file>`, sorted.

    Raises:
        DataError: There is no `train` folder, a class has no images, or train and test have
            different classes.
    """
    if not (root / "train").is_dir():
        raise DataError(f"{root}: neither train.parquet nor train/<class>/ with images")
    parts = [part for part in ("train", "test") if (root / part).is_dir()]
    classes = {part: _classes(root / part) for part in parts}
    if len(parts) == 2 and classes["train"] != classes["test"]:
        odd = sorted(set(classes["train"]) ^ set(classes["test"]))[0]
        has, lacks = ("train", "test") if odd in classes["train"] else ("test", "train")
        raise DataError(f"{root / lacks}: no class '{odd}', which {has} has")
    return {
        f"{part}/{name}/{image.name}": image
        for part in parts
        for name in classes[part]
        for image in _images(root / part / name)
    }


def read(files: Mapping[str, Path], image_size: int | None) -> Decoded:
    """Decode the files of `layout`. The classes are the sorted names of the subfolders.

    Raises:
        DataError: An image is unreadable, or the images have several sizes.
    """
    classes = tuple(dict.fromkeys(name.split("/")[1] for name in files))
    train = _part("train", files, classes, image_size)
    test = _part("test", files, classes, image_size) if any(name.startswith("test/") for name in files) else None
    return Decoded(classes, train, test)


def _part(part: str, files: Mapping[str, Path], classes: tuple[str, ...], image_size: int | None) -> Part:
    """Decode the images of one part: train | test."""
    label = {name: i for i, name in enumerate(classes)}
    chosen = [(label[name.split("/")[1]], path) for name, path in files.items() if name.startswith(f"{part}/")]
    pictures = [decode(path, str(path), image_size) for _, path in chosen]
    images = stack(pictures, [str(path) for _, path in chosen])
    return Part(images, np.array([i for i, _ in chosen], np.int64))


def _classes(part: Path) -> list[str]:
    """Return the sorted names of the subfolders of `part`, ignoring hidden ones."""
    names = sorted(path.name for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{part}: empty; allowed: one folder of images for each class")
    return names


def _images(folder: Path) -> list[Path]:
    """Return the sorted images in `folder`, ignoring hidden and other files."""
    images = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not images:
        raise DataError(f"{folder}: holds no image; allowed: {', '.join(sorted(SUFFIXES))}")
    return images
