"""Files of each part of a data set, as hubs number them: `train-00000-of-00002.parquet`."""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tuner.data import progress
from tuner.errors import DataError, printable

VALIDATION = ("validation", "valid", "val")
"""Names of the part that a data set sets apart for validation."""
NUMBERED = re.compile(r"(?P<part>.*?)-?(?P<number>\d+)-of-(?P<total>\d+)(?:-[0-9A-Za-z]+)?\.(?:parquet|tar)")


class Files(NamedTuple):
    """Files of each part, shards by name.

    Validation images are those that the data set itself sets apart.
    """

    train: Sequence[Path]
    test: Sequence[Path] = ()
    validation: Sequence[Path] = ()

    @property
    def by_part(self) -> dict[str, Sequence[Path]]:
        """Files by the name of their part.

        Parts without files are left out.
        """
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {part: files for part, files in parts.items() if files}

    @property
    def all(self) -> list[Path]:
        """Files of all parts."""
        return [path for files in self.by_part.values() for path in files]


def layout(root: Path, ending: str) -> Files:
    """Return the files of one ending below `root`.

    A warning names other files of the ending.

    Args:
        root: A folder.
        ending: parquet | tar.

    Raises:
        DataError: A shard is missing, or the files of one part are there twice.
    """
    apart = [files for part in VALIDATION if (files := _shards(root, part, ending))]
    check_one([files[0] for files in apart])
    found = Files(_shards(root, "train", ending), _shards(root, "test", ending), apart[0] if apart else ())
    if found.train:
        rest = sorted({*root.glob(f"*.{ending}"), *root.glob(f"data/*.{ending}")} - {*found.all})
        names = ", ".join(path.relative_to(root).as_posix() for path in rest[:3]) + (", …" if len(rest) > 3 else "")
        if rest:
            kind = "Parquet" if ending == "parquet" else f".{ending}"
            used_only = "only train, validation and test are used"
            message = f"{root}: number of {kind} files left out: {len(rest):,} ({names}); {used_only}"
            progress.warn_once(printable(message))
    return found


def _shards(root: Path, part: str, ending: str) -> list[Path]:
    """Return the file or the sorted shards of one part below `root`."""
    patterns = (f"{part}.{ending}", f"data/{part}-*.{ending}", f"{part}-*.{ending}")
    found = [files for pattern in patterns if (files := sorted(root.glob(pattern)))]
    if len(found) > 1:
        raise DataError(f"{found[1][0]}: the {part} images are also in {found[0][0].name}; keep one of them")
    for files in found:
        check_complete(files)
    return found[0] if found else []


def check_one(found: Sequence[Path]) -> None:
    """Refuse two places with validation images."""
    if len(found) > 1:
        raise DataError(f"{found[1]}: there are validation images in {found[0].name} too; keep one of them")


def check_complete(files: Sequence[Path], pattern: str = "*") -> None:
    """Refuse shards of which one is missing or doubled.

    They would pass for another data set.

    Args:
        files: Files found together.
        pattern: The pattern that found them. A missing file counts if it would match.

    Raises:
        DataError: A shard is missing, doubled, or of another download.
    """
    named = [(file, NUMBERED.fullmatch(file.name)) for file in files]
    shards = [(file, match) for file, match in named if match]
    if not shards:
        return
    if odd := [file for file, match in named if not match]:
        raise DataError(f"{odd[0]}: no numbered file as {shards[0][0].name} beside it; remove or rename one of them")
    for part in dict.fromkeys((file.parent, match["part"]) for file, match in shards):
        _check_part([(file, match) for file, match in shards if (file.parent, match["part"]) == part], pattern)


def _check_part(shards: list[tuple[Path, re.Match[str]]], pattern: str) -> None:
    """Check the shards of one part in one folder."""
    (first, match), *_ = shards
    total, seen = int(match["total"]), dict[int, Path]()
    for file, other in shards:
        number = int(other["number"])
        if int(other["total"]) != total:
            raise DataError(
                f"{file}: one of {int(other['total'])} files, but {first.name} of {total}; keep one download"
            )
        if number in seen:
            raise DataError(f"{file}: the same number as {seen[number].name}; keep one download")
        seen[number] = file
    start = 0 if 0 in seen or total not in seen else 1
    for number in range(start, start + total):
        expected = first.name[: match.start("number")] + str(number).zfill(len(match["number"]))
        expected += first.name[match.end("number") :]
        if number not in seen and fnmatch(expected, Path(pattern).name):
            raise DataError(
                f"{first}: one of {total} files, {len(seen)} found beside it; number {number} is missing: download it"
            )
