"""Where the images of a `DatasetConfig` lie: a name, a folder or Parquet files become one `Source`."""

import glob
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.config.dataset import DatasetConfig
from tuner.config.registry import DATASETS
from tuner.data.dataset import Decoded
from tuner.data.formats import digits, image_folder, parquet, torchvision
from tuner.errors import DataError, suggest

FORMAT = 1  # of the decoded arrays: a new number makes every cache entry be built anew


@dataclass(frozen=True)
class Source:
    """A data set before it is decoded.

    Attributes:
        name: for the cache entry and the tables.
        place: what an error calls it.
        files: every file that is read, by a name that does not depend on where the data set lies.
        decode: reads the files, given the side to resize to (None: keep).
        known: the name is one of the catalogue's, not a user's path.
    """

    name: str
    place: str
    files: Mapping[str, Path]
    decode: Callable[[int | None], Decoded]
    known: bool = False

    def fingerprint(self, side: int | None) -> str:
        """Hash what is in the files, what they are called, and how they are decoded: 32 hexadecimal digits."""
        digest = hashlib.blake2b(f"{FORMAT} {self.name if self.known else ''} {side}".encode(), digest_size=16)
        for name, path in self.files.items():
            with path.open("rb") as stream:
                digest.update(f"\n{name} {hashlib.file_digest(stream, 'blake2b').hexdigest()}".encode())
        return digest.hexdigest()


def find(config: DatasetConfig, root: Path | None, downloads: Path) -> Source:
    """Find the data set that `config` names below `root` (None: nowhere), below `downloads`, or by download.

    Raises:
        DataError: it is nowhere, or it is there in part.
    """
    if config.name not in DATASETS:
        return _by_path(config, root)
    if config.test is not None:
        raise DataError(f"dataset.test: '{config.test}'; {config.name} has test images of its own")
    if config.name == "digits":
        return Source("digits", "digits", {"digits": digits.file()}, digits.read, known=True)
    for base in filter(None, (root, downloads)):
        if (source := _below(config.name, base)) is not None:
            return source
    torchvision.download(config.name, downloads, looked=[base for base in (root, downloads) if base])
    source = _below(config.name, downloads)
    assert source is not None  # a download that ends without an error is complete
    return source


def _below(name: str, base: Path) -> Source | None:
    """The data set `name` in the hub's or torchvision's layout below `base`."""
    train, test = parquet.layout(base / name)
    if train:
        if not test:
            raise DataError(f"{base / name}: no test.parquet beside {train[0].name}")
        return _of_parquet(name, base / name, train, test, torchvision.CLASSES[name])
    files = torchvision.layout(name, base)
    if not files:
        return None
    return Source(name, str(base), files, lambda side: torchvision.read(name, files, side), known=True)


def _by_path(config: DatasetConfig, root: Path | None) -> Source:
    """A user's folder of images or Parquet files; relative paths from the working directory, then from `root`."""
    here = _matches(config.name, root)
    if not here:
        raise DataError(f"dataset.name: no data set, folder or file '{config.name}'; {suggest(config.name, DATASETS)}")
    if here[0].is_dir():
        place = here[0]
        if config.test is not None:
            raise DataError(f"dataset.test: '{config.test}'; only beside a Parquet file, and {place} is a folder")
        train, test = parquet.layout(place)
        if train:
            return _of_parquet(place.resolve().name, place, train, test)
        files = image_folder.layout(place)
        return Source(place.resolve().name, str(place), files, lambda side: image_folder.read(files, side))
    test = _matches(config.test, root) if config.test is not None else []
    if config.test is not None and not test:
        raise DataError(f"dataset.test: no file '{config.test}'")
    return _of_parquet(Path(config.name).stem, here[0].parent, here, test)


def _of_parquet(name: str, place: Path, train: list[Path], test: list[Path], classes: tuple[str, ...] = ()) -> Source:
    files = {f"{part}/{i}": path for part, paths in (("train", train), ("test", test)) for i, path in enumerate(paths)}
    return Source(name, str(place), files, lambda side: parquet.read(train, test, side, classes), known=bool(classes))


def _matches(pattern: str, root: Path | None) -> list[Path]:
    """The folder, the file, or the files (sorted) that a user's path or pattern stands for."""
    for base in filter(None, (Path.cwd(), root)):
        path = base / Path(pattern).expanduser()
        if path.exists():
            return [path]
        if found := sorted(Path(match) for match in glob.glob(str(path)) if Path(match).is_file()):  # noqa: PTH207
            return found
    return []
