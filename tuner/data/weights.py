"""Files of pretrained weights: where they are, and their hashes."""

import os
import socket
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from tuner.config.published import describe_published
from tuner.config.validation_messages import shown
from tuner.data.published import fetch_published
from tuner.data.sources import hash_file
from tuner.errors import DataError, suggest

ENDINGS = (".pt", ".pth", ".safetensors")
"""Endings of files of weights."""


_directory: Path | None = None
"""The driver's working directory, or None in the driver."""


def search_below(directory: Path | None) -> None:
    """Let relative paths start at the driver's working directory.

    Workers are told it, because Ray changes theirs.
    """
    global _directory
    _directory = directory


def find_weights(path: str, root: Path | None) -> Path:
    """Find a file of weights.

    A relative path starts at the working directory, then at `root` or else TUNER_DATA.

    Raises:
        DataError: There is no such file, or it is of another kind.
    """
    bases = [base for base in (_directory or Path.cwd(), root or os.environ.get("TUNER_DATA")) if base]
    candidates = [Path(base, os.path.expanduser(path)) for base in bases]  # noqa: PTH111 because pathlib's may raise
    found = next((file for file in candidates if os.path.isfile(file)), None)  # noqa: PTH113 the same
    if found is None:
        beside = {name for file in candidates for name in _weights_beside(file)}
        names = suggest(Path(path).name, beside) if beside else "allowed: a path to a state dict"
        raise DataError(f"training.pretrained: no file {shown(path)} on {socket.gethostname()}; {names}")
    if found.suffix not in ENDINGS:
        raise DataError(f"training.pretrained: {shown(path)}; allowed: a file {', '.join(ENDINGS)}")
    return found


def _weights_beside(file: Path) -> list[str]:
    """Name the files of weights in the folder of a missing file."""
    try:
        return [other.name for other in file.parent.iterdir() if other.suffix in ENDINGS]
    except (OSError, ValueError):
        return []


def hash_all(weights: Iterable[tuple[str, bool | str]], root: Path | None) -> dict[str, str]:
    """Hash files of pretrained weights.

    Published weights that this machine lacks are downloaded.

    Args:
        weights: Architectures with their weights.
        root: Folder in which weights are searched after the working directory.

    Returns:
        Hashes by the name of the weights, such as `weights resnet18.pth`.

    Raises:
        DataError: A file is missing, cannot be read or cannot be downloaded.
    """
    files: dict[str, Path] = {}
    for architecture, pretrained in weights:
        if pretrained is True:
            files[f"weights {describe_published(architecture).name}"] = fetch_published(architecture)
        else:
            files[f"weights {pretrained}"] = find_weights(str(pretrained), root)
    return {name: hash_weights(files[name]) for name in sorted(files)}


def hash_weights(file: Path) -> str:
    """Hash a file of weights, as 16 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        status = file.stat()
        return _hash(file, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise DataError(f"training.pretrained: {file}: {error.strerror or error}; check its permissions") from error


@lru_cache(maxsize=16)
def _hash(file: Path, changed_at: int, size: int) -> str:  # noqa: ARG001 because they tell its versions apart
    return hash_file(file, digest_size=8)
