"""Images in `.tar` shards with WebDataset's layout: members `0001.jpg` and `0001.cls` or `0001.json`."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tuner.config.validation_messages import shown
from tuner.data import progress
from tuner.data.collecting import Pixels
from tuner.data.dataset import Decoded, Part, reason
from tuner.data.decoding import SUFFIXES, decode_all
from tuner.data.formats.shards import Files
from tuner.data.labels import Label, classes_of, label_numbers
from tuner.errors import DataError, shorten, suggest

IMAGE_ENDINGS = frozenset(suffix[1:] for suffix in SUFFIXES)
"""Endings of members that are images."""
LABEL_ENDINGS = ("cls", "json")
"""Endings of members that hold a label, the preferred one first."""
DEFAULT_LABEL = "label"
"""Key of the label in a member that is JSON."""


class Keys(NamedTuple):
    """Names of a sample's image and label.

    Attributes:
        image: Ending of the member with the image. None: any ending of an image.
        label: Key of the label in `.json`. None: `.cls`, or else the key DEFAULT_LABEL.
    """

    image: str | None = None
    label: str | None = None


class Sample(NamedTuple):
    """An encoded image with its label, and its name in an error."""

    image: bytes
    label: int | str
    origin: str


def read(files: Files, image_size: int | None, keys: Keys) -> Decoded:
    """Decode shards in the order of files and members.

    Args:
        files: The shards of each part.
        image_size: Pixels to resize both sides to; None keeps the size.
        keys: Names of the image and the label.

    Raises:
        DataError: A shard, a sample or an image is refused.
    """
    own: list[Label] = []
    apart: list[Label] = []
    test: list[Label] = []
    images = _decode([(files.train, own), (files.validation, apart)], image_size, keys)
    tested = _decode([(files.test, test)], image_size, keys) if files.test else None
    labels = {"train": _counted([*own, *apart], test), "test": _counted(test, [*own, *apart])}
    classes = classes_of(labels, str(files.train[0].parent))
    names = tuple([label.origin for label in each] for each in labels.values())
    train = Part(images, label_numbers(labels["train"], classes))
    test_part = None if tested is None else Part(tested, label_numbers(labels["test"], classes))
    return Decoded(classes, train, test_part, (names[0], names[1]), len(apart))


def encoded(files: Files, keys: Keys) -> Iterator[tuple[str, bytes]]:
    """Yield the name and encoded file of each image.

    Images are in the order of files and members.
    """
    for path in files.all:
        for sample in _samples(path, keys):
            yield sample.origin, sample.image


def _decode(parts: Sequence[tuple[Sequence[Path], list[Label]]], image_size: int | None, keys: Keys) -> Pixels:
    """Decode the images of some parts, and append their labels."""

    def read() -> Iterator[tuple[bytes, str]]:
        for paths, labels in parts:
            for path in paths:
                before = len(labels)
                for sample in _samples(path, keys):
                    labels.append(Label(sample.label, sample.origin))
                    yield sample.image, sample.origin
                if len(labels) == before:
                    raise DataError(f"{path}: holds no images; allowed: members as 0001.jpg and 0001.cls")

    return decode_all(read(), image_size)


def _counted(labels: Sequence[Label], others: Sequence[Label]) -> list[Label]:
    """Convert labels to numbers if all of them are whole numbers.

    `others`, the labels of the other parts, must be whole numbers too.
    """
    if all(re.fullmatch(r"-?\d{1,18}", str(label.value)) for label in (*labels, *others)):
        return [Label(int(label.value), label.origin) for label in labels]
    return list(labels)


def _samples(path: Path, keys: Keys) -> Iterator[Sample]:
    """Yield the samples of a shard.

    A sample is a run of members whose names differ in their ending only. Samples without image and
    label are left out.
    """
    seen: set[str] = set()
    current, members = "", dict[str, bytes | None]()
    for name, content in _members(path, keys):
        key, ending = _split(name)
        if key != current:
            yield from _sample(path, current, members, keys)
            if key in seen:
                raise DataError(
                    f"{path}: {shown(name)}: sample {shown(key)} has other members before; keep them together"
                )
            seen.add(key)
            current, members = key, {}
        if ending in members:
            raise DataError(f"{path}: two members {shown(name)}; allowed: each name once")
        members[ending] = content
    yield from _sample(path, current, members, keys)


def _split(name: str) -> tuple[str, str]:
    """Split a member's name into the sample's key and the ending.

    The first dot after the folder separates them: `a/0001.seg.png` gives `a/0001` and `seg.png`.
    """
    folder, slash, last = name.rpartition("/")
    key, _, ending = last.partition(".")
    return f"{folder}{slash}{key}", ending.lower()


def _sample(path: Path, key: str, members: dict[str, bytes | None], keys: Keys) -> Iterator[Sample]:
    """Yield one sample, unless it has neither image nor label."""
    read = {ending: content for ending, content in members.items() if content is not None}
    images = [ending for ending in read if ending not in LABEL_ENDINGS]
    if not read:
        return
    origin = f"{path}: {shorten(key)}"
    found = f"found: {', '.join(shorten(ending) for ending in members)}"
    if not images:
        allowed = f"{key}.{keys.image}" if keys.image else f"{key}.jpg or another image"
        raise DataError(f"{origin}: no image ({found}); allowed: {shorten(allowed)}")
    if len(images) > 1:
        raise DataError(f"{origin}: several images ({found}); dataset.image names the ending of one")
    yield Sample(read[images[0]], _label(read, keys, origin, found), origin)


def _label(members: dict[str, bytes], keys: Keys, origin: str, found: str) -> int | str:
    """Return the label of a sample.

    The label is the text of `.cls`, or the value of a key in `.json`.
    """
    if keys.label is None and "cls" in members:
        return _text(members["cls"], f"{origin}.cls").strip()
    if "json" not in members:
        allowed = f"a member .json with {shown(keys.label)}" if keys.label else "a member .cls or .json"
        raise DataError(f"{origin}: no label ({found}); allowed: {allowed}")
    key = keys.label or DEFAULT_LABEL
    try:
        content = json.loads(_text(members["json"], f"{origin}.json"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin}.json: no JSON ({reason(error)})") from error
    if not isinstance(content, dict) or key not in content:
        known = [str(name) for name in content] if isinstance(content, dict) else []
        raise DataError(
            f"{origin}.json: no key {shown(key)}; {shorten(suggest(key, known), 200)}; dataset.label names it"
        )
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{origin}.json: label {shown(value)}; allowed: a whole number from 0, or text")
    return value


def _text(content: bytes, origin: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{origin}: no UTF-8 text") from error


def _members(path: Path, keys: Keys) -> Iterator[tuple[str, bytes | None]]:
    """Yield the name and content of each file in an archive.

    The content is None for files that are neither images nor labels.

    Raises:
        DataError: The archive is truncated or damaged, or a member could not stand in a folder.
    """
    progress.report(path)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                progress.report()
                name = _checked(path, member)
                if member.isdir() or _is_hidden(name):
                    continue
                file = archive.extractfile(member) if _is_wanted(_split(name)[1], keys) else None
                yield name, file.read() if file else None
            _check_end(path, archive)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: no readable archive ({reason(error)}); allowed: .tar without compression") from error


def _is_wanted(ending: str, keys: Keys) -> bool:
    """Return True if an ending is that of an image or label.

    If the study names the ending of images, other images do not count.
    """
    is_image = ending == keys.image.lower() if keys.image else ending.rpartition(".")[2] in IMAGE_ENDINGS
    return is_image or ending in LABEL_ENDINGS


def _checked(path: Path, member: tarfile.TarInfo) -> str:
    """Check a member and return its name.

    Links, devices, and names that lead out of the archive are refused.
    """
    name = member.name.removeprefix("./")
    if not (member.isreg() or member.isdir()) or member.issparse():
        kind = "a link" if member.issym() or member.islnk() else "no plain file"
        raise DataError(f"{path}: {shown(member.name)} is {kind}; allowed: files")
    if name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"{path}: {shown(member.name)} is a path out of the archive; allowed: names inside of it")
    return name


def _is_hidden(name: str) -> bool:
    """Return True for what desktops leave in archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _check_end(path: Path, archive: tarfile.TarFile) -> None:
    """Refuse an archive that stops without its block of zeros.

    tarfile takes damaged and missing blocks for the end.
    """
    with path.open("rb") as stream:
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise DataError(f"{path}: truncated or damaged after {archive.offset:,} bytes; download it again")
