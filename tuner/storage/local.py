"""Whole files below one folder, written so that nobody ever sees half of one."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tuner.errors import StudyError

_TEMPORARY = ".tmp-"

T = TypeVar("T")


class Storage:
    """A folder of files by relative name (`trials/part-1.parquet`); `ObjectStorage` is the same in an object store."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def __str__(self) -> str:
        return str(self.root)

    def create(self) -> None:
        """Make the folder; a StudyError where it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f"{_TEMPORARY}{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StudyError(f"results: {self.root} cannot be written: {error.strerror}") from None

    def check_writable(self) -> None:
        """Nothing to say about a folder; see `ObjectStorage`."""

    def path(self, name: str) -> Path | str:
        """Where a file lies, for messages and for tools that need a path."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / name).exists()

    def read(self, name: str) -> bytes:
        """The contents of a file; FileNotFoundError where there is none."""
        return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file: under a temporary name, synced, renamed; afterwards it survives a power cut."""
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Files directly below a folder with this ending, sorted; temporary ones left out."""
        if not (self.root / folder).is_dir():
            return []
        found = sorted(entry.name for entry in os.scandir(self.root / folder) if entry.is_file())
        return [f"{folder}/{name}" for name in found if name.endswith(suffix) and not name.startswith(_TEMPORARY)]

    def folders(self) -> list[str]:
        """Folders directly below this one, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())

    def each(self, do: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Do something with each of many files: one after the other here."""
        return [do(name) for name in names]

    def remove(self, name: str) -> None:
        """Remove a file, if there is one, and its folder, if it was the last."""
        (self.root / name).unlink(missing_ok=True)
        with suppress(OSError):
            (self.root / name).parent.rmdir()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        (self.root / old).replace(self.root / new)

    def move_aside(self, ending: str) -> Path | str:
        """Give the whole folder another name, its own with this ending; returns where it is."""
        aside = self.root.with_name(self.root.name + ending)
        self.root.rename(aside)
        return aside

    def remove_all(self) -> None:
        """Remove the folder with all that is in it, as far as that can be done."""
        shutil.rmtree(self.root, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what writers that were killed left under temporary names."""
        for left in self.root.rglob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)
