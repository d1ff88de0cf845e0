"""Whole files below one folder, never visible half-written."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tuner.errors import StudyError

_TEMPORARY = ".tmp-"
LOCK_FILES = (".lock", ".holder")
"""The lock of a folder, and the file that names its holder."""
LEASE_FILE = ".lease"
"""Object that names the process that runs a study in an object store."""

T = TypeVar("T")


class StoreError(StudyError, OSError):
    """Files that cannot be read or written, perhaps only for now."""


class Storage:
    """Files of a folder by relative name, such as `trials/part-1.parquet`.

    `ObjectStorage` has the same interface for an object store.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def __str__(self) -> str:
        return str(self.root)

    def create(self) -> None:
        """Make the folder. Raise StudyError if it cannot be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f"{_TEMPORARY}{uuid.uuid4().hex}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise StudyError(f"results: {self.root} cannot be written: {error.strerror}") from None

    def check_writable(self) -> None:
        """Do nothing, because a folder is held by a lock."""

    def check_kind(self, name: str, *, is_folder: bool) -> None:
        """Raise StoreError if a file stands for a folder, or vice versa.

        Raise StoreError also if a folder cannot be written to.
        """
        path = self.root / name
        found, allowed = ("a file", "a folder") if is_folder else ("a folder", "a file")
        if os.path.lexists(path) and path.is_dir() != is_folder:
            raise StoreError(f"{path}: found {found}; allowed: {allowed}; move it away")
        if is_folder and path.exists() and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"{path}: cannot be written: Permission denied; check its permissions")

    def path(self, name: str) -> Path | str:
        """Return the path of a file, for messages and for other tools."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Return True if the file or folder exists."""
        with _reading(self.root / name):
            return (self.root / name).exists()

    def read(self, name: str) -> bytes:
        """Return the contents of a file.

        Raise FileNotFoundError if it does not exist.
        """
        with _reading(self.root / name):
            return (self.root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file, which then survives a power cut.

        It is written under a temporary name, synced and renamed.
        """
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
        """List the files directly below a folder that end in `suffix`, sorted.

        Temporary files are left out.
        """
        try:
            with _reading(self.root / folder):
                entries = [*os.scandir(self.root / folder)]
        except FileNotFoundError:
            return []
        files = [entry.name for entry in entries if entry.is_symlink() or entry.is_file()]
        found = sorted(name for name in files if not name.startswith(_TEMPORARY))
        return [f"{folder}/{name}" for name in found if name.endswith(suffix)]

    def entries(self) -> list[str]:
        """List what others have directly below the root, sorted."""
        try:
            with _reading(self.root):
                names = [entry.name for entry in os.scandir(self.root)]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not is_own(name))

    def folders(self) -> list[str]:
        """List the folders directly below the root, sorted."""
        if not self.root.is_dir():
            return []
        with _reading(self.root):
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())

    def each(self, function: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Call a function with each name, one after the other."""
        return [function(name) for name in names]

    def remove(self, name: str) -> None:
        """Remove a file if it exists.

        Its folder is removed too if it is then empty.
        """
        (self.root / name).unlink(missing_ok=True)
        with suppress(OSError):
            (self.root / name).parent.rmdir()

    def rename(self, old: str, new: str) -> None:
        """Rename a file."""
        (self.root / old).replace(self.root / new)

    def move_aside(self, ending: str) -> Path | str:
        """Append an ending to the name of the whole folder.

        Return its new path.
        """
        aside = self.root.with_name(self.root.name + ending)
        try:
            self.root.rename(aside)
        except OSError as error:
            found = f"cannot be renamed to {aside.name}: {error.strerror}"
            raise StoreError(f"{self.root}: {found}; check the permissions of {self.root.parent}") from error
        for name in LOCK_FILES:
            (aside / name).unlink(missing_ok=True)
        return aside

    def sweep(self) -> None:
        """Remove the temporary files that killed writers left."""
        for path in self.root.rglob(f"{_TEMPORARY}*"):
            path.unlink(missing_ok=True)


def is_own(name: str) -> bool:
    """Return True if a file is one of this package's own.

    These are locks, leases and temporary files.
    """
    return name in (*LOCK_FILES, LEASE_FILE) or name.startswith(_TEMPORARY)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn the system's errors, but for FileNotFoundError, into a StoreError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        if not os.path.lexists(path):  # because it is below a file
            raise FileNotFoundError(error.errno, error.strerror, str(path)) from error
        raise StoreError(f"{path}: found a file; allowed: a folder; move the file away") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
