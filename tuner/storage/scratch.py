"""Scratch folders, removed even if their process was killed."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "tuner-", ".scratch-lock"


class ScratchFolder:
    """A temporary folder that is locked while its process lives.

    Making one removes those of dead processes.

    Args:
        parent: Folder to make it in. None: the system's temporary folder.
    """

    def __init__(self, parent: Path | None = None) -> None:
        sweep_scratch_folders(parent)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        unlocked = self.path / f"{_LOCK}.new"
        self._lock = FileLock(unlocked)
        self._lock.acquire(timeout=0)
        unlocked.rename(self.path / _LOCK)  # locked, because a sweep may come at any moment

    def remove(self) -> None:
        """Remove the folder and its contents."""
        with suppress(OSError):  # because somebody may have removed it
            _remove(self.path)
        self._lock.release()


def sweep_scratch_folders(parent: Path | None = None) -> None:
    """Remove the scratch folders of processes that were killed."""
    for path in (parent or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*/{_LOCK}"):
        lock = FileLock(path)
        with suppress(OSError, Timeout):  # because its process lives, or is another user's
            lock.acquire(timeout=0)
            _remove(path.parent)
            lock.release()


def _remove(folder: Path) -> None:
    """Remove a scratch folder, its lock last.

    Processes that end a little later may still write into the folder. It then keeps its lock, so
    that the next sweep finds it.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _LOCK:
            path.unlink(missing_ok=True)
    if [path.name for path in folder.iterdir()] == [_LOCK]:
        shutil.rmtree(folder, ignore_errors=True)


def home_folder() -> Path:
    """Return the user's home folder, or a temporary one.

    A user without home and name has a temporary one. Containers run by a number that no user has.
    """
    try:
        return Path.home()
    except RuntimeError:
        folder = Path(tempfile.gettempdir()) / f"home-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder
