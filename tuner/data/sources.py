"""Search for the images of a `DatasetConfig`: a name, a folder or Parquet files."""

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tuner.config.dataset import DatasetConfig
from tuner.config.registry import DATASETS
from tuner.config.user_models import is_function
from tuner.config.validation_messages import shown
from tuner.data import progress
from tuner.data.dataset import Decoded, Groups
from tuner.data.formats import digits, image_folder, parquet, tar, torchvision
from tuner.data.formats.function import FunctionReader
from tuner.data.formats.shards import Files, check_complete, layout
from tuner.data.groups import PLACE, number, read_csv
from tuner.data.splits import check_own_validation
from tuner.errors import DataError, suggest

FORMAT = 1
"""Format of the decoded arrays. Another number invalidates every cache entry."""
OWN_FORMAT = 2
"""Format of arrays from a user's own files, which transparency and orientation changed."""
SHARDS = ("parquet", "tar")
"""Endings of files that hold many images each, the preferred one first."""
CHUNK_BYTES = 1 << 20
"""Bytes of a file that are read at once to hash it."""


@dataclass(frozen=True)
class Source:
    """A data set before it is decoded.

    Attributes:
        name: Name in the cache and the tables.
        path: Path in errors.
        files: Every file that is read, by a name that does not depend on the data set's location.
        decode: Function that reads the files, given the size to resize to (None: keep).
        known: True if the name is in the registry, False for a user's path.
        groups: Function that reads the groups of the training images, if they are named.
        columns: Columns of Parquet files that the configuration names, in words.
        images: Function that yields name and encoded file of each image, if they are encoded.
        has_validation: True if the data set sets validation images apart.
        contents: Function that hashes the decoded images, given the size, if there are no files.
    """

    name: str
    path: str
    files: Mapping[str, Path]
    decode: Callable[[int | None], Decoded]
    known: bool = False
    groups: Callable[[], Groups] | None = None
    columns: str = ""
    images: Callable[[], Iterable[tuple[str, bytes | Path]]] | None = None
    has_validation: bool = False
    contents: Callable[[int | None], str] | None = None

    def fingerprint(self, image_size: int | None) -> str:
        """Hash the files' contents, names and decoding, as 32 hexadecimal digits."""
        decoding = f"{FORMAT} {self.name}" if self.known else f"{OWN_FORMAT} "
        digest = hashlib.blake2b(f"{decoding} {image_size}{self.columns}".encode(), digest_size=16)
        for name, path in self.files.items():
            digest.update(os.fsencode(f"\n{name} {hash_file(path)}"))
        if self.contents:
            digest.update(self.contents(image_size).encode())
        return digest.hexdigest()


def hash_file(path: Path, digest_size: int = 64) -> str:
    """Hash a file to `digest_size` bytes, as hexadecimal digits.

    Progress is reported, because the file may be large.
    """
    digest = hashlib.blake2b(digest_size=digest_size)
    progress.report(path)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            progress.report()
            digest.update(chunk)
    return digest.hexdigest()


def find(config: DatasetConfig, root: Path | None, downloads: Path) -> Source:
    """Find or download the data set that `config` names.

    Known data sets are looked for below `root`, then below `downloads`.

    Raises:
        DataError: The data set is missing or incomplete. Or the configuration names a validation
            beside the validation images that the data set sets apart.
    """
    source = _find(config, root, downloads)
    if source.has_validation:
        check_own_validation(config, source.path)
    return source


def _find(config: DatasetConfig, root: Path | None, downloads: Path) -> Source:
    if config.name not in DATASETS:
        return _by_path(config, root, downloads.with_name("functions"))
    _refuse_columns(config, config.name)
    if config.groups is not None:
        raise DataError(
            f"{PLACE}: found {shown(config.groups)}; only with a folder of images or Parquet files of your own,"
            f" and {config.name} is neither"
        )
    if config.test is not None:
        raise DataError(f"dataset.test: '{config.test}'; {config.name} has test images of its own")
    if config.name == "digits":
        return Source("digits", "digits", {"digits": digits.file()}, digits.read, known=True)
    for base in filter(None, (root, downloads)):
        if (source := _below(config.name, base)) is not None:
            return source
    torchvision.download(config.name, downloads, searched=[base for base in (root, downloads) if base])
    source = _below(config.name, downloads)
    assert source is not None  # because a download without an error is complete
    return source


def _below(name: str, base: Path) -> Source | None:
    """Return the data set `name` below `base`, if it is there.

    Its layout is the hub's or torchvision's.
    """
    found = layout(base / name, "parquet")
    if found.train:
        if not found.test:
            raise DataError(f"{base / name}: no test.parquet beside {found.train[0].name}")
        return _of_parquet(name, base / name, found, torchvision.CLASSES[name])
    files = torchvision.layout(name, base)
    if not files:
        return None
    return Source(name, str(base), files, lambda size: torchvision.read(name, files, size), known=True)


def _by_path(config: DatasetConfig, root: Path | None, notes: Path) -> Source:
    """Return a user's folder of images, Parquet files or function.

    Relative paths start at the working directory, then at `root`.
    """
    found = _matches(config.name, root)
    if not found and is_function(config.name):
        return _of_function(config, notes)
    if not found:
        raise DataError(
            f"dataset.name: no data set, folder or file {shown(config.name)}; {suggest(config.name, DATASETS)}"
        )
    if found[0].is_dir():
        path = found[0]
        if config.test is not None:
            raise DataError(f"dataset.test: '{config.test}'; only beside a Parquet file, and {path} is a folder")
        for ending in SHARDS:
            if (parts := layout(path, ending)).train:
                return _of_shards(config, path.resolve().name, path, parts)
        _refuse_columns(config, f"{path} without Parquet files")
        files = image_folder.layout(path)
        source = Source(
            path.resolve().name,
            str(path),
            files,
            lambda size: image_folder.read(files, size),
            images=files.items,
            has_validation=bool(image_folder.names_by_part(files)[1]),
        )
        return _by_file(source, config.groups, root)
    test = _matches(config.test, root) if config.test is not None else []
    if config.test is not None and not test:
        raise DataError(f"dataset.test: no file {shown(config.test)}")
    for path in test:
        if any(path.samefile(file) for file in found):
            raise DataError(f"dataset.test: {path} is a file of training images too; allowed: other files")
    return _of_shards(config, Path(config.name).stem, found[0].parent, Files(found, test))


def _of_shards(config: DatasetConfig, name: str, path: Path, files: Files) -> Source:
    """Return a user's Parquet files or `.tar` shards as a source.

    The two kinds may not be mixed.
    """
    tars = [file for file in files.all if file.suffix == ".tar"]
    if not tars:
        source = _of_parquet(name, path, files, columns=_columns(config))
        return _by_column(source, files, config.groups)
    if len(tars) < len(files.all):
        raise DataError(f"{path}: {tars[0].name} is a .tar shard, other files are not; allowed: one kind")
    if config.groups is not None:
        raise DataError(f"{PLACE}: found {shown(config.groups)}; only with folders and Parquet files, not {tars[0]}")
    keys = tar.Keys(config.image, config.label)
    return Source(
        name,
        str(path),
        _named(files),
        lambda size: tar.read(files, size, keys),
        images=lambda: tar.encoded(files, keys),
        has_validation=bool(files.validation),
        columns="" if keys == tar.Keys() else f" members {keys.image!r} {keys.label!r}",
    )


def _named(files: Files) -> dict[str, Path]:
    """Return files by names that do not depend on their place."""
    return {f"{part}/{i}": file for part, shards in files.by_part.items() for i, file in enumerate(shards)}


def _of_function(config: DatasetConfig, notes: Path) -> Source:
    """Return the data set of a user's function as a source.

    The fingerprint depends on the decoded images, because there are no files.
    """
    _refuse_columns(config, config.name)
    for place, value in (("dataset.test", config.test), (PLACE, config.groups)):
        if value is not None:
            raise DataError(f"{place}: found {shown(value)}; only with files, and {config.name} is a function")
    reader = FunctionReader(config.name, notes)
    return Source(
        config.name,
        config.name,
        {},
        reader.decode,
        has_validation=reader.has_validation,
        contents=reader.fingerprint,
    )


def _by_file(source: Source, file: str | None, root: Path | None) -> Source:
    """Add the groups of a CSV file to a folder of images.

    Without `file` the source is returned unchanged.
    """
    if file is None:
        return source
    if not (found := _matches(file, root)) or found[0].is_dir():
        raise DataError(f"{PLACE}: no file {shown(file)}; allowed: a CSV file with a header image,group")

    def read() -> Groups:
        groups = read_csv(found[0], source.files)
        train, test = ([groups[name] for name in source.files if name.startswith(part)] for part in ("train/", "test/"))
        return number(train, test)

    return replace(source, files={**source.files, "groups": found[0]}, groups=read)


def _by_column(source: Source, files: Files, column: str | None) -> Source:
    """Add the groups of a column to Parquet files.

    Without `column` the source is returned unchanged.
    """
    if column is None:
        return source

    def read() -> Groups:
        return number(parquet.read_column(files.train, column), parquet.read_column(files.test, column))

    return replace(source, groups=read, columns=f"{source.columns} groups {column!r}")


def _columns(config: DatasetConfig) -> parquet.Columns:
    """Return the columns that a configuration names."""
    return parquet.Columns(config.image, config.label or parquet.DEFAULT_COLUMNS.label)


def _refuse_columns(config: DatasetConfig, source: str) -> None:
    """Refuse `dataset.image` and `dataset.label` if they are set.

    Only Parquet files and `.tar` shards of the user take these keys.
    """
    for key, value in (("image", config.image), ("label", config.label)):
        if value is not None:
            raise DataError(
                f"dataset.{key}: found {shown(value)}; only with Parquet files or .tar shards of your own, not {source}"
            )


def _of_parquet(
    name: str,
    path: Path,
    files: Files,
    classes: tuple[str, ...] = (),
    columns: parquet.Columns = parquet.DEFAULT_COLUMNS,
) -> Source:
    """Return Parquet files as a source.

    Known data sets give their class names.
    """
    return Source(
        name,
        str(path),
        _named(files),
        lambda size: parquet.read(files, size, classes, columns),
        known=bool(classes),
        images=lambda: parquet.encoded(files.all, columns),
        has_validation=bool(files.validation),
        columns="" if columns == parquet.DEFAULT_COLUMNS else f" columns {columns.image!r} {columns.label!r}",
    )


def _matches(pattern: str, root: Path | None) -> list[Path]:
    """Return the path, or the sorted files that match a pattern."""
    for base in filter(None, (Path.cwd(), root)):
        path = base / os.path.expanduser(pattern)  # noqa: PTH111 because pathlib's raises for unknown users
        if _exists(path):
            return [path]
        literal, rest = _literal_part(path)
        found = sorted(literal / match for match in glob.glob(rest, root_dir=literal))  # noqa: PTH207
        if files := [match for match in found if match.is_file()]:
            check_complete(files, pattern)
            return files
    return []


def _exists(path: Path) -> bool:
    """Return True if a path exists.

    Raise PermissionError if that cannot be seen.
    """
    try:
        os.stat(path)  # noqa: PTH116 because a path may be too long
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return True


def _literal_part(path: Path) -> tuple[Path, str]:
    """Split a path into folders that exist and a pattern.

    A `[` in the name of a folder that exists is no pattern.
    """
    parts = path.parts
    for length in range(len(parts) - 1, 0, -1):
        if os.path.isdir(folder := Path(*parts[:length])):  # noqa: PTH112 because pathlib's raises for long names
            return folder, str(Path(*parts[length:]))
    return Path(path.anchor), str(path.relative_to(path.anchor))
