"""Cache of decoded data sets: each is decoded once per machine and memory-mapped."""

import glob
import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np

from tuner.config.dataset import DatasetConfig
from tuner.config.registry import DATASETS
from tuner.data import progress, sources
from tuner.data.collecting import on_disk, taken
from tuner.data.dataset import Dataset, Decoded, Groups, Names, Part, reason, write
from tuner.data.groups import grouped_sample
from tuner.data.splits import check_groups, stratified_sample
from tuner.errors import DataError

HELD_OUT = 0.2
"""Share of the images that become test images if a data set has none."""
HELD_OUT_SEED = 0


def load(config: DatasetConfig, root: Path | None = None, cache: Path | None = None) -> Dataset:
    """Open a data set, decoding it into the cache on first use.

    Named data sets are searched below `root`, then below `<cache>/data`, as
    `<name>/{train,test}.parquet` and as torchvision's files. If they are in neither, they are
    downloaded to `<cache>/data`. A data set without test images holds out a fixed stratified 20 %,
    in whole groups if there are any.
    Several processes may call this at the same time.

    Args:
        config: The data set. Only `name`, `test`, `image_size` and the groups count here, not the
            split.
        root: Folder of data sets; None: TUNER_DATA of the environment, if set.
        cache: Folder of decoded arrays and downloads; None: TUNER_CACHE of the environment, else
            `tuner` in the user's cache folder (XDG_CACHE_HOME, ~/.cache).

    Raises:
        DataError: The images are missing, unreadable, or not squares of one size.
    """
    root, cache = _places(root, cache)
    arrays = cache / "arrays"
    try:
        source = sources.find(config, root, cache / "data")
        with on_disk(arrays):
            fingerprint = source.fingerprint(config.size)
            entry = arrays / (re.sub(r"[^\w.-]", "_", source.name) + f"-{fingerprint}")
            if not entry.exists():
                _build(entry, source, fingerprint, config.size)
    except OSError as error:
        raise DataError(f"{error.filename or cache}: {reason(error)}{_remedy(error, cache)}") from error
    return Dataset.open(entry)


def find_cached(fingerprint: str, cache: Path | None = None) -> Dataset:
    """Open the cache entry with a fingerprint, without looking for its source.

    Raises:
        DataError: There is no such entry on this machine, or it is damaged.
    """
    arrays = _places(None, cache)[1] / "arrays"
    entry = next(arrays.glob(f"*-{glob.escape(fingerprint)}"), None) if fingerprint else None
    if entry is None:
        raise DataError(f"{arrays}: the images of the study are not on this machine")
    return Dataset.open(entry)


def find_source(config: DatasetConfig, root: Path | None = None) -> sources.Source:
    """Find the files of a data set without decoding them.

    Raises:
        DataError: The data set is missing or incomplete.
    """
    root, cache = _places(root, None)
    try:
        return sources.find(config, root, cache / "data")
    except OSError as error:
        raise DataError(f"{error.filename or config.name}: {reason(error)}{_remedy(error, cache)}") from error


def _places(root: Path | None, cache: Path | None) -> tuple[Path | None, Path]:
    """Return the folder of data sets, if any, and the cache."""
    root = root or _from_environment("TUNER_DATA")
    cache = cache or _from_environment("TUNER_CACHE") or _user_cache() / "tuner"
    return root and _expanded(root), _expanded(cache)


def _remedy(error: OSError, cache: Path) -> str:
    """Return the remedy for an error of the system.

    It is the end of a message, '' if there is none.
    """
    if Path(error.filename or cache).is_relative_to(cache):
        return "; the cache of images must be writable; set TUNER_CACHE to another folder"
    return "; check its permissions" if isinstance(error, PermissionError) else ""


def ensure_cached(entry: Path, config: DatasetConfig, root: Path | None = None) -> Path:
    """Return this machine's cache entry for a data set.

    The data set is decoded on its first use.

    Args:
        entry: The cache entry, by its path on the machine that made it.
        config: The data set that it holds.
        root: Folder of data sets, as in `load`.

    Raises:
        DataError: The images are missing here, or are not the same.
    """
    if entry.exists():
        return entry
    local = load(config, root).folder
    if local.name != entry.name:  # the name has the fingerprint of the contents
        raise DataError(f"{config.name}: the images on {socket.gethostname()} ({local}) are not the study's ({entry})")
    return local


def _expanded(path: Path) -> Path:
    """Return an absolute path, with `~` as the home of a user.

    Raises:
        DataError: There is no such user.
    """
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise DataError(f"{path}: no such user; allowed: a path without a name after '~'") from error


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _user_cache() -> Path:
    from tuner.storage.scratch import home_folder  # late, because the storage imports pyarrow

    return _from_environment("XDG_CACHE_HOME") or home_folder() / ".cache"


def _build(entry: Path, source: sources.Source, fingerprint: str, image_size: int | None) -> None:
    """Decode `source` into `entry`, in one process at a time."""
    with progress.locked(entry.with_name(f"{entry.name}.lock")):
        if entry.exists():  # because another process was faster
            return
        unfinished = entry.with_name(f"{entry.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
        try:
            groups = source.groups() if source.groups else None
            decoded = source.decode(image_size)
            complete = _complete(source, decoded, groups, image_size)
            write(unfinished, source.name, fingerprint, *complete, decoded.own_validation)
            unfinished.rename(entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _complete(
    source: sources.Source, decoded: Decoded, groups: Groups | None, image_size: int | None
) -> tuple[tuple[str, ...], Part, Part, Groups | None, Names]:
    """Check a decoded data set and hold out test images if needed."""
    if len(decoded.classes) < 2:
        raise DataError(f"{source.path}: one class ('{decoded.classes[0]}'); allowed: two or more")
    _check_classes(source.path, decoded)
    train, test, names = decoded.train, decoded.test, decoded.names
    if test is None:
        train, test, groups, names = _held_out(source.path, decoded, groups)
    if train.images.shape[1] != test.images.shape[1]:
        train, test = _in_color(train), _in_color(test)
    (height, width), test_size = train.images.shape[2:], test.images.shape[2:]
    resize = "dataset.image_size resizes all to one size"
    if (height, width) != test_size:
        raise DataError(
            f"{source.path}: training images of {width}x{height} pixels, test images of"
            f" {test_size[1]}x{test_size[0]}; {resize}"
        )
    if height != width:
        raise DataError(f"{source.path}: images of {width}x{height} pixels; allowed: squares; {resize}")
    _check_known(source, decoded.classes, train, image_size)
    return decoded.classes, train, test, groups, names


def _check_classes(path: str, decoded: Decoded) -> None:
    """Refuse a class without images."""
    training = len(decoded.train.labels) - decoded.own_validation
    parts = {"training": decoded.train.labels[:training]}
    if decoded.own_validation:
        parts["validation"] = decoded.train.labels[training:]
    if decoded.test is not None:
        parts["test"] = decoded.test.labels
    for part, labels in parts.items():
        counts = np.bincount(labels, minlength=len(decoded.classes))
        if len(empty := np.flatnonzero(counts == 0)):
            more = f" (nor of {len(empty) - 1} more classes)" if len(empty) > 1 else ""
            raise DataError(
                f"{path}: no {part} image of class '{decoded.classes[empty[0]]}'{more}; allowed: one of each class"
            )


def _check_known(source: sources.Source, classes: tuple[str, ...], train: Part, image_size: int | None) -> None:
    """Refuse a data set that differs from the registry's of its name.

    The study was checked against the registry, so a difference would break it later.
    """
    if not source.known:
        return
    known = DATASETS[source.name]
    found = (train.images.shape[1], train.images.shape[2], len(classes))
    expected = (known.channels, image_size or known.size, known.classes)
    if found != expected:
        raise DataError(
            f"{source.path}: (channels, image size, classes) are {found}, but {source.name} has {expected};"
            " name a data set of your own by its path"
        )


def _held_out(path: str, decoded: Decoded, groups: Groups | None) -> tuple[Part, Part, Groups | None, Names]:
    """Return training and test images, a stratified share of `decoded.train` held out.

    Validation images that the source sets apart stay.
    """
    images, labels = decoded.train
    apart = np.arange(len(labels) - decoded.own_validation, len(labels))
    labels = labels[: len(labels) - decoded.own_validation]
    if groups:
        check_groups(decoded.classes, groups.names, labels, groups.of_train, "the test")
        chosen = grouped_sample(labels, len(decoded.classes), groups.of_train, HELD_OUT, HELD_OUT_SEED)
    else:
        chosen = stratified_sample(labels, len(decoded.classes), int(np.ceil(HELD_OUT * len(labels))), HELD_OUT_SEED)
    kept = np.setdiff1d(np.arange(len(labels)), chosen)
    for part in (kept, chosen):
        for label in np.flatnonzero(np.bincount(labels[part], minlength=len(decoded.classes)) == 0):
            raise DataError(
                f"{path}: too few images of class '{decoded.classes[label]}' to hold {HELD_OUT:.0%} out as test images"
            )
    if groups:
        groups = groups._replace(of_train=groups.of_train[kept])
    kept = np.concatenate([kept, apart])
    train, test = (Part(taken(images, part), decoded.train.labels[part]) for part in (kept, chosen))
    names = decoded.names[0]
    return train, test, groups, ([names[i] for i in kept], [names[i] for i in chosen]) if names else ((), ())


def _in_color(part: Part) -> Part:
    """Return a part with three channels.

    The channel of gray images is repeated as a view, so that nothing is copied in memory.
    """
    shape = (len(part.images), 3, *part.images.shape[2:])
    return Part(np.broadcast_to(part.images, shape), part.labels)
