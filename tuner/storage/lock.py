"""One process at a time runs a study: a lock on a folder of a file system, a lease in an object store."""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tuner.errors import StudyError
from tuner.storage.local import Storage
from tuner.storage.s3 import ObjectStorage

HEARTBEAT_SECONDS = 10.0
"""Who holds a lease renews it so often."""
LEASE_SECONDS = 60.0
"""A lease that was not renewed for so long may be taken over."""
SETTLE_SECONDS = 0.5
"""Of those that take a lease at the same moment, the one that stands in it after so long has it."""


@contextmanager
def hold(storage: Storage) -> Iterator[None]:
    """Make the place of a study and hold it for this process.

    Raises:
        StudyError: It cannot be written, or another process holds it; the message names that one.
    """
    storage.create()
    with _hold_lease(storage) if isinstance(storage, ObjectStorage) else _hold_folder(storage):
        yield


def _in_use(storage: Storage, who: str, how_long: str = "") -> StudyError:
    return StudyError(f"{storage}: this study is being run by {who}; wait for it, or stop it{how_long}")


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def _hold_folder(storage: Storage) -> Iterator[None]:
    """A lock that the system takes back from a process that is killed."""
    lock, holder = FileLock(storage.path(".lock")), Path(storage.path(".holder"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = "another process"
        with suppress(OSError):  # it is just beginning or ending
            who = holder.read_text() or who
        raise _in_use(storage, who) from None
    try:
        holder.write_text(_this_process())
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def _hold_lease(storage: ObjectStorage) -> Iterator[None]:
    lease = Lease(storage)
    lease.take()
    ended = threading.Event()
    heart = threading.Thread(target=lease.beat, args=(ended,), name="lease", daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        lease.give_back()


class Lease:
    """An object that says who runs a study, renewed while that process lives.

    Ages are taken by the store's clock alone. A holder of this machine that is gone is replaced at once, any other when
    it did not renew for `LEASE_SECONDS`. A holder that finds another in its place writes nothing more.

    Object stores have no locks, and pyarrow no conditional writes: a driver that was suspended for longer than
    `LEASE_SECONDS` and then goes on may write for up to `HEARTBEAT_SECONDS` before it finds that the study has been
    taken over; and so may one of two that start together, if its first write takes longer than `SETTLE_SECONDS`. No row
    is lost then, but trials may have rows of both. Workers are not held back: a checkpoint of either driver is sound.

    Args:
        storage: Where the study is.
    """

    NAME = ".lease"

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._me = {"token": uuid.uuid4().hex, "holder": _this_process(), "pid": os.getpid(), "machine": _machine()}

    def take(self) -> None:
        """Take the lease; a StudyError where another process holds it."""
        holder = self._read()
        if holder and not _is_gone(holder):
            with suppress(FileNotFoundError):  # given back just now
                age = (self._storage.clock() - self._storage.modified_at(self.NAME)).total_seconds()
                if age < LEASE_SECONDS:
                    left = f" (if it is gone: free in {LEASE_SECONDS - age:.0f} s)"
                    raise _in_use(self._storage, holder["holder"], left)
        self._write()
        time.sleep(SETTLE_SECONDS)
        other = self._other()
        if other is not None:
            raise _in_use(self._storage, other)

    def beat(self, ended: threading.Event) -> None:
        """Renew the lease until its holder ends; where another has it, have the storage refuse whatever is written."""
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # the store is out of reach, for others too
                other = self._other()
                if other is not None:
                    self._storage.refuse_writes(f"{self._storage}: taken over by {other}; this run has stopped")
                    return
                self._write()

    def give_back(self) -> None:
        """Let others have it at once; where the store is out of reach they wait until it is old."""
        with suppress(OSError, StudyError):
            if self._other() is None:
                self._storage.remove(self.NAME)

    def _other(self) -> str | None:
        """Who has the lease, if it is not this process."""
        holder = self._read() or {"token": None, "holder": "another process, which has ended"}
        return None if holder["token"] == self._me["token"] else str(holder["holder"])

    def _read(self) -> dict[str, Any] | None:
        try:
            holder: dict[str, Any] = json.loads(self._storage.read(self.NAME))
        except FileNotFoundError:
            return None
        return holder

    def _write(self) -> None:
        self._storage.write(self.NAME, json.dumps(self._me).encode())


def _machine() -> str | None:
    """Where a process number means the same process: this boot of this machine, and this container; None: unknown."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine and has ended."""
    here = _machine()
    return here is not None and holder["machine"] == here and not Path(f"/proc/{holder['pid']}").exists()
