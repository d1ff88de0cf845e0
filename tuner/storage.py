"""Whole files below one folder, written so that nobody ever sees half of one."""

import os
import uuid
from contextlib import suppress
from pathlib import Path

from tuner.errors import StudyError

_TEMPORARY = ".tmp-"


class Storage:
    """A folder of files by relative name (`trials/part-1.parquet`)."""

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

    def path(self, name: str) -> Path:
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

    def remove(self, name: str) -> None:
        """Remove a file, if there is one, and its folder, if it was the last."""
        (self.root / name).unlink(missing_ok=True)
        with suppress(OSError):
            (self.root / name).parent.rmdir()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        (self.root / old).replace(self.root / new)

    def sweep(self) -> None:
        """Remove what writers that were killed left under temporary names."""
        for left in self.root.rglob(f"{_TEMPORARY}*"):
            left.unlink(missing_ok=True)
