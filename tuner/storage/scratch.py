"""Scratch folders on the disk of this machine, removed even if their process was killed."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX, _LOCK = "tuner-", ".scratch-lock"


class ScratchFolder:
    """A folder in the system's temporary folder that is locked while its process lives.

    Making one removes those of dead processes.
    """

    def __init__(self) -> None:
        sweep_scratch_folders()
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        unlocked = self.path / f"{_LOCK}.new"
        self._lock = FileLock(unlocked)
        self._lock.acquire(timeout=0)
        unlocked.rename(self.path / _LOCK)  # locked, because a sweep may come at any moment

    def remove(self) -> None:
        """Remove the folder and its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()


def sweep_scratch_folders() -> None:
    """Remove the scratch folders of processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        lock = FileLock(path)
        with suppress(OSError, Timeout):  # because its process lives, or is another user's
            lock.acquire(timeout=0)
            shutil.rmtree(path.parent, ignore_errors=True)
            lock.release()
