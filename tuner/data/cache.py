"""`load`: find a data set, decode it once per machine, and map the result into memory."""

import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np

from tuner.config.dataset import DatasetConfig
from tuner.config.registry import DATASETS
from tuner.data import sources
from tuner.data.dataset import Dataset, Decoded, Part, reason, write
from tuner.data.splits import stratified_sample
from tuner.errors import DataError

HELD_OUT = 0.2  # of the images of a data set without test images of its own become its test images
HELD_OUT_SEED = 0


def load(config: DatasetConfig, root: Path | None = None, cache: Path | None = None) -> Dataset:
    """Open the data set that `config` names, decoding it into the cache where it is not there yet.

    The named data sets are looked for below `root`, then below `<cache>/data`, as `<name>/{train,test}.parquet` and as
    torchvision's files, and are downloaded to `<cache>/data` where they are in neither. Images without test images of
    their own keep a fixed stratified 20 % as test. Several processes may call this at once.

    Args:
        config: `name`, `test` and `image_size` count here; how the images are split does not.
        root: folder of data sets; None: the environment's TUNER_DATA, if it is set.
        cache: folder of decoded arrays and downloads; None: the environment's TUNER_CACHE, else `tuner` in the
            user's cache folder (XDG_CACHE_HOME, ~/.cache).

    Raises:
        DataError: the images are not there, cannot be read, or do not make a data set of square images of one size.
    """
    root = root or _from_environment("TUNER_DATA")
    cache = (cache or _from_environment("TUNER_CACHE") or _user_cache() / "tuner").expanduser().absolute()
    try:
        source = sources.find(config, root and root.expanduser().absolute(), cache / "data")
        fingerprint = source.fingerprint(config.image_size)
        entry = cache / "arrays" / (re.sub(r"[^\w.-]", "_", source.name) + f"-{fingerprint}")
        if not entry.exists():
            _build(entry, source, fingerprint, config.image_size)
    except OSError as error:
        raise DataError(f"{error.filename or cache}: {reason(error)}") from error
    return Dataset.open(entry)


def ensure_cached(entry: Path, config: DatasetConfig, root: Path | None = None) -> Path:
    """The cache entry `entry` on this machine, which need not be the one that made it: `load` brings it here once.

    Args:
        entry: a cache entry, as the machine that made it calls it.
        config: the data set that it holds.
        root: as for `load`.

    Raises:
        DataError: the images are not here, or are not the same.
    """
    if entry.exists():
        return entry
    here = load(config, root).folder
    if here.name != entry.name:  # the name has the fingerprint of the contents
        raise DataError(f"{config.name}: the images on {socket.gethostname()} ({here}) are not the study's ({entry})")
    return here


def _from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def _user_cache() -> Path:
    return _from_environment("XDG_CACHE_HOME") or Path.home() / ".cache"


def _build(entry: Path, source: sources.Source, fingerprint: str, side: int | None) -> None:
    """Decode `source` into `entry`: one process at a time, and the entry appears whole or not at all."""
    from filelock import FileLock

    entry.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(entry.with_name(f"{entry.name}.lock")):
        if entry.exists():  # another process was faster
            return
        unfinished = entry.with_name(f"{entry.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
        try:
            classes, train, test = _complete(source, source.decode(side), side)
            write(unfinished, source.name, fingerprint, classes, train, test)
            unfinished.rename(entry)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _complete(source: sources.Source, decoded: Decoded, side: int | None) -> tuple[tuple[str, ...], Part, Part]:
    """Check a decoded data set as a whole, and give it test images where it has none."""
    if len(decoded.classes) < 2:
        raise DataError(f"{source.place}: one class ('{decoded.classes[0]}'); allowed: two or more")
    train, test = (decoded.train, decoded.test) if decoded.test else _held_out(source.place, decoded)
    if train.images.shape[1] != test.images.shape[1]:
        train, test = _in_color(train), _in_color(test)
    (height, width), tested = train.images.shape[2:], test.images.shape[2:]
    resize = "dataset.image_size resizes all to one size"
    if (height, width) != tested:
        raise DataError(
            f"{source.place}: training images of {width}x{height} pixels, test images of"
            f" {tested[1]}x{tested[0]}; {resize}"
        )
    if height != width:
        raise DataError(f"{source.place}: images of {width}x{height} pixels; allowed: squares; {resize}")
    _check_known(source, decoded.classes, train, side)
    return decoded.classes, train, test


def _check_known(source: sources.Source, classes: tuple[str, ...], train: Part, side: int | None) -> None:
    """Hold a data set of a known name to what the catalogue says of it, for a study was checked against that."""
    if not source.known:
        return
    known = DATASETS[source.name]
    found = (train.images.shape[1], train.images.shape[2], len(classes))
    expected = (known.channels, side or known.size, known.classes)
    if found != expected:
        raise DataError(
            f"{source.place}: (channels, side, classes) are {found}, but {source.name} has {expected};"
            " a data set of your own is named by its path"
        )


def _held_out(place: str, decoded: Decoded) -> tuple[Part, Part]:
    images, labels = decoded.train
    chosen = stratified_sample(labels, len(decoded.classes), int(np.ceil(HELD_OUT * len(labels))), HELD_OUT_SEED)
    kept = np.setdiff1d(np.arange(len(labels)), chosen)
    for part in (kept, chosen):
        for label in np.flatnonzero(np.bincount(labels[part], minlength=len(decoded.classes)) == 0):
            raise DataError(
                f"{place}: too few images of class '{decoded.classes[label]}' to hold {HELD_OUT:.0%} out as test images"
            )
    return Part(images[kept], labels[kept]), Part(images[chosen], labels[chosen])


def _in_color(part: Part) -> Part:
    return part if part.images.shape[1] == 3 else Part(part.images.repeat(3, axis=1), part.labels)
