"""The lock of a study, by a file or by an object."""

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tuner.errors import StudyError
from tuner.storage.local import LEASE_FILE, LOCK_FILES, Storage
from tuner.storage.s3 import ObjectStorage

HEARTBEAT_SECONDS = 10.0
"""Seconds between two renewals of a lease."""
LEASE_SECONDS = 60.0
"""Seconds without a renewal after which a lease may be taken over."""
SETTLE_SECONDS = 0.5
"""Seconds until two processes that write a lease at once see the other."""

LOCK_TRIES = 100
"""Tries to lock a folder that other processes remove at each try."""


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock of a study.

    A process that was killed while it held the lock is still its holder.
    """

    name: str
    is_alive: bool | None
    """None if unknown, because it runs on another machine."""


def read_holder(storage: Storage) -> Holder | None:
    """Return the process that runs a study, None if no process does.

    Nothing is locked or written. A lease counts by this machine's clock.
    """
    if isinstance(storage, ObjectStorage):
        return Lease(storage).read_holder()
    if not storage.exists(LOCK_FILES[0]):
        return None
    name = _read_holder(storage.root)
    process, _, host = name.removeprefix("process ").partition(" on ")
    is_here = process.isdecimal() and host == socket.gethostname()
    return Holder(name, _is_running(int(process)) if is_here else None)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # because it is another user's
        return True
    return True


@contextmanager
def hold(storage: Storage) -> Iterator[None]:
    """Make the folder of a study and lock it for this process.

    At the end, what this process made is removed if it is empty.

    Raises:
        StudyError: The folder cannot be written, or is locked; the message names the process.
    """
    with _hold_lease(storage) if isinstance(storage, ObjectStorage) else _hold_folder(storage):
        yield


def _in_use(storage: Storage, holder: str, how_long: str = "") -> StudyError:
    return StudyError(f"{storage}: this study is being run by {holder}; wait for it, or stop it{how_long}")


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def _hold_folder(storage: Storage) -> Iterator[None]:
    """Lock a folder by a file lock, which ends with the process."""
    made: list[Path] = []
    try:
        lock, folder = _lock_folder(storage.root, made)
    except Timeout:
        holder = _read_holder(storage.root)
        _remove_empty(made)
        raise _in_use(storage, holder) from None
    except OSError as error:
        _remove_empty(made)
        raise StudyError(f"results: {storage} cannot be written: {error.strerror}") from None
    try:
        _write_holder(storage.root)
        yield
    finally:
        if _inode(storage.root) == folder:  # or else it was moved aside
            for name in LOCK_FILES:
                (storage.root / name).unlink(missing_ok=True)
        _remove_empty(made)
        lock.release()


def _lock_folder(root: Path, made: list[Path]) -> tuple[FileLock, int]:
    """Make and lock a folder.

    Other processes may make, move and remove it meanwhile.

    Args:
        root: The folder.
        made: Filled with the folders that were made.

    Returns:
        The lock, and the inode of the folder.

    Raises:
        Timeout: Another process holds the lock.
        OSError: The folder cannot be written.
    """
    lock = FileLock(root / LOCK_FILES[0])
    for _ in range(LOCK_TRIES):
        try:
            made += _make_folders(root)
            folder = root.stat().st_ino
            lock.acquire(timeout=0)
        except FileNotFoundError:  # because another process has removed the folder
            continue
        except FileExistsError:
            if root.is_file():
                raise
            continue  # because filelock met the folder while another process removed it
        if _inode(root) == folder:
            return lock, folder
        lock.release()
    raise OSError(errno.ESTALE, "other processes remove it again and again")


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with its parents.

    Return those that this process made, parents first.
    """
    try:
        folder.mkdir()
    except FileExistsError:
        return []
    except FileNotFoundError:
        return [*_make_folders(folder.parent), *_make_folders(folder)]
    return [folder]


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders that are empty, the last first."""
    while folders:
        with suppress(OSError):  # because it is not empty, or gone
            folders.pop().rmdir()


def _inode(folder: Path) -> int | None:
    with suppress(FileNotFoundError):
        return folder.stat().st_ino
    return None


def _write_holder(root: Path) -> None:
    try:
        (root / LOCK_FILES[1]).write_text(_this_process())
    except OSError as error:
        raise StudyError(f"results: {root} cannot be written: {error.strerror}") from None


def _read_holder(root: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):  # because that process may just start or end
        return (root / LOCK_FILES[1]).read_text() or "another process"
    return "another process"


@contextmanager
def _hold_lease(storage: ObjectStorage) -> Iterator[None]:
    storage.create()
    lease = Lease(storage)
    lease.acquire()
    ended = threading.Event()
    renewal = threading.Thread(target=lease.keep_renewing, args=(ended,), name="lease", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        ended.set()
        renewal.join()
        lease.release()


class Lease:
    """An object that names the process that runs a study.

    Ages are measured by the store's clock alone, and by waiting if that clock was set back. A dead
    holder on this machine is replaced at once. Any other holder is replaced after `LEASE_SECONDS`
    without a renewal. A holder that was replaced writes nothing more.

    Object stores have no locks, and pyarrow has no conditional writes. So two drivers may write for
    a while: up to `HEARTBEAT_SECONDS` after a suspended driver continues, and after two drivers
    start together if the first write of one takes longer than `SETTLE_SECONDS`. No row is lost
    then, but trials may have rows of both drivers. Workers keep writing, because a checkpoint of
    either driver is valid.

    Args:
        storage: The study's files.
    """

    NAME = LEASE_FILE

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._own = {"token": uuid.uuid4().hex, "holder": _this_process(), "pid": os.getpid(), "machine": _machine()}

    def read_holder(self) -> Holder | None:
        """Return the process that holds the lease.

        Its `is_alive` is None if it did not renew the lease in time.
        """
        holder = self._read()
        if holder is None:
            return None
        if _is_gone(holder):
            return Holder(holder["holder"], is_alive=False)
        with suppress(FileNotFoundError):  # because it may be released just now
            age = (datetime.now(UTC) - self._storage.modified_at(self.NAME)).total_seconds()
            return Holder(holder["holder"], is_alive=True if age < LEASE_SECONDS else None)
        return None

    def acquire(self) -> None:
        """Write the lease. Raise StudyError if another process holds it."""
        holder = self._read()
        if holder and not _is_gone(holder):
            with suppress(FileNotFoundError):  # because it may be released just now
                age = self._age()
                if age < LEASE_SECONDS:
                    left = f" (if it is gone: free in {LEASE_SECONDS - age:.0f} s)"
                    raise _in_use(self._storage, holder["holder"], left)
        self._write()
        time.sleep(SETTLE_SECONDS)
        if (winner := self._other_holder()) is not None:
            raise _in_use(self._storage, winner)

    def _age(self) -> float:
        """Return the seconds since the last renewal.

        A lease from the future tells no age, because the store's clock was set back. Its holder
        is watched instead, and counts as gone after LEASE_SECONDS without a renewal.
        """
        renewed_at = self._storage.modified_at(self.NAME)
        age = (self._storage.clock() - renewed_at).total_seconds()
        until = time.monotonic() + LEASE_SECONDS
        while age < -LEASE_SECONDS:
            if self._storage.modified_at(self.NAME) != renewed_at:
                return 0.0
            if time.monotonic() > until:
                return LEASE_SECONDS
            time.sleep(SETTLE_SECONDS)
        return age

    def keep_renewing(self, ended: threading.Event) -> None:
        """Renew the lease until `ended`, or until another process has it."""
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # because no other process reaches the store either
                holder = self._other_holder()
                if holder is not None:
                    self._storage.refuse_writes(f"{self._storage}: taken over by {holder}; this run has stopped")
                    return
                self._write()

    def release(self) -> None:
        """Remove the lease if this process holds it and the store answers."""
        with suppress(OSError, StudyError):
            if self._other_holder() is None:
                self._storage.remove(self.NAME)

    def _other_holder(self) -> str | None:
        """Return the process that holds the lease, if it is another."""
        holder = self._read() or {"token": None, "holder": "another process, which has ended"}
        return None if holder["token"] == self._own["token"] else str(holder["holder"])

    def _read(self) -> dict[str, Any] | None:
        try:
            holder = json.loads(self._storage.read(self.NAME))
        except FileNotFoundError:
            return None
        except ValueError:
            holder = None
        unknown = {"token": None, "holder": "another process", "pid": 0, "machine": None}
        return unknown | holder if isinstance(holder, dict) else unknown

    def _write(self) -> None:
        self._storage.write(self.NAME, json.dumps(self._own).encode())


def _machine() -> str | None:
    """Identify this machine, boot and container, or return None if unknown.

    Process numbers of equal identifiers can be compared.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_gone(holder: dict[str, Any]) -> bool:
    """Return True if the holder ran on this machine and ended."""
    machine = _machine()
    return machine is not None and holder["machine"] == machine and not Path(f"/proc/{holder['pid']}").exists()
