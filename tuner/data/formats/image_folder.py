"""Folders of images, one subfolder per class: `train/<class>/*.png`, `val/…`, `test/…`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tuner.data import progress
from tuner.data.class_names import all_spelled, differing, in_order
from tuner.data.dataset import Decoded, Part
from tuner.data.decoding import SUFFIXES, decode_all
from tuner.data.formats.shards import VALIDATION, check_one
from tuner.errors import DataError, printable

PARTS = ("train", "test")
SYSTEM_FILES = {".ds_store", "thumbs.db", "desktop.ini", "__macosx"}
"""Files that desktops leave in folders, in lower case. They are passed over without a word."""


def layout(root: Path) -> dict[str, Path]:
    """Return every image below `root`, by its name `<part>/<class>/<file>`, sorted.

    A part is train, test, or one of VALIDATION. Folders inside a class folder belong to the class. A
    warning counts what is left out.

    Raises:
        DataError: There is no `train` folder, a class has no images, parts have different classes,
            or there are two folders of validation images.
    """
    if not (root / "train").is_dir():
        raise DataError(f"{root}: neither train.parquet nor train/<class>/ with images{_found(root)}")
    apart = [part for part in VALIDATION if _has_classes(root / part)]
    check_one([root / part for part in apart])
    classes = {part: _classes(root / part) for part in (*PARTS, *apart) if (root / part).is_dir()}
    for part in classes:
        _check_same(root, classes, part)
    files: dict[str, Path] = {}
    beside = (path for path in root.iterdir() if path.name not in classes)
    left_out = [path.name for path in beside if _has_classes(path)]
    for part, folders in classes.items():
        unused = set((root / part).iterdir()).difference(folders.values())
        left_out += [f"{part}/{path.name}" for path in unused]
        for name, folder in folders.items():
            images, others = _files(folder)
            files |= {f"{part}/{name}/{image}": Path(f"{folder}/{image}") for image in images}
            left_out += [f"{part}/{folder.name}/{other}" for other in others]
    _warn_of_rest(root, left_out)
    return files


def find_images(folder: Path) -> Iterator[Path]:
    """Yield every image below a folder in order, whatever its layout.

    Raises:
        DataError: A link leads to a folder above it.
    """
    return (Path(path) for path in _walk(str(folder)) if _is_image(_last(path)))


def read(files: Mapping[str, Path], image_size: int | None) -> Decoded:
    """Decode the files of `layout`.

    The classes are the sorted names of the subfolders.

    Raises:
        DataError: An image is unreadable, or the images have several sizes.
    """
    classes = tuple(dict.fromkeys(name.split("/")[1] for name in files))
    train, apart, test = names_by_part(files)
    train_part = _part([*train, *apart], files, classes, image_size)
    test_part = _part(test, files, classes, image_size) if test else None
    return Decoded(classes, train_part, test_part, ([*train, *apart], test), len(apart))


def names_by_part(files: Mapping[str, Path]) -> tuple[list[str], list[str], list[str]]:
    """Return the names of training, validation and test images."""
    names: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in files:
        part = name.split("/")[0]
        names[1 if part in VALIDATION else 2 * PARTS.index(part)].append(name)
    return names


def _part(names: list[str], files: Mapping[str, Path], classes: tuple[str, ...], image_size: int | None) -> Part:
    """Decode the images of these names."""
    label = {name: i for i, name in enumerate(classes)}
    images = decode_all(((files[name], str(files[name])) for name in names), image_size)
    return Part(images, np.array([label[name.split("/")[1]] for name in names], np.int64))


def _found(root: Path) -> str:
    """Name the folders of `root`, as the end of a message.

    The data set has no folder `train`.
    """
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    more = ", …" if len(names) > 3 else ""
    return f"; found: {', '.join(names[:3])}{more}" if names else ""


def _classes(part: Path) -> dict[str, Path]:
    """Return the subfolders of `part` by class name, in order.

    Hidden folders are left out.
    """
    folders = [path for path in sorted(part.iterdir()) if path.is_dir() and not _is_hidden(path.name)]
    if not folders:
        raise DataError(f"{part}: empty; allowed: one folder of images for each class")
    found = dict(zip(all_spelled((path.name for path in folders), str(part)), folders, strict=True))
    return {name: found[name] for name in in_order(found)}


def _check_same(root: Path, classes: Mapping[str, Mapping[str, Path]], part: str) -> None:
    """Refuse a class that only one of train and another part has."""
    for has, lacks in (("train", part), (part, "train")):
        if odd := differing(classes[has], classes[lacks]):
            raise DataError(f"{root / lacks}: no class {odd}, which {has} has")


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """Return the images and the other files in a class folder.

    Paths are relative to the folder and in order.
    """
    files = [path[len(str(folder)) + 1 :] for path in _walk(str(folder))]
    images = [path for path in files if _is_image(_last(path))]
    if not images:
        found = f" (found: {_last(files[0])})" if files else ""
        raise DataError(f"{folder}: holds no image{found}; allowed: {', '.join(sorted(SUFFIXES))}")
    return images, [path for path in files if not _is_image(_last(path))]


def _walk(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every file below `folder` in order.

    Hidden folders are yielded too, without their files. Paths are text, because objects take longer
    than the disk.

    Raises:
        DataError: A link leads to a folder above it.
    """
    real = os.path.realpath(folder)
    if real in above:
        raise DataError(f"{folder}: a link to a folder above it; allowed: folders that end")
    progress.report(folder)
    with os.scandir(folder) as entries:
        by_name = sorted(entries, key=lambda entry: entry.name)
    for entry in by_name:
        if entry.is_dir() and not _is_hidden(entry.name):
            yield from _walk(entry.path, (*above, real))
        else:
            yield entry.path


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES


def _is_image(name: str) -> bool:
    """Return True if a file's name is that of an image."""
    return name[name.rfind(".") :].lower() in SUFFIXES and not _is_hidden(name)


def _warn_of_rest(root: Path, rest: Iterable[str]) -> None:
    """Warn of files below `root` that are not used, in one line."""
    if left_out := sorted(path for path in rest if not _is_of_system(_last(path))):
        shown = ", ".join(left_out[:3]) + (", …" if len(left_out) > 3 else "")
        used_only = "only images in train/<class>, val/<class> and test/<class> are used"
        message = f"{root}: number of files and folders left out: {len(left_out):,} ({shown}); {used_only}"
        progress.warn_once(printable(message))


def _is_of_system(name: str) -> bool:
    return name.lower() in SYSTEM_FILES or name.startswith("._")


def _has_classes(folder: Path) -> bool:
    """Return True if a folder beside train and test holds image folders."""
    is_shown = folder.is_dir() and not _is_hidden(folder.name)
    return is_shown and any(_is_image(path.name) for path in folder.glob("*/**/*"))
