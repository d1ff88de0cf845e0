"""Files of one part of a data set, as hubs number them: `train-00000-of-00002.parquet`."""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from tuner.errors import DataError

VALIDATION = ("validation", "valid", "val")
"""Names of the part that a data set sets apart for validation."""
NUMBERED = re.compile(r"(?P<part>.*?)-?(?P<number>\d+)-of-(?P<total>\d+)(?:-[0-9A-Za-z]+)?\.parquet")


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
