"""The lock of a study: a file lock, or a lease in an object store."""

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
"""Seconds between two renewals of a lease."""
LEASE_SECONDS = 60.0
"""Seconds without a renewal after which a lease may be taken over."""
SETTLE_SECONDS = 0.5
"""Seconds to wait before reading a lease back, because two processes may write it at once."""


@contextmanager
def hold(storage: Storage) -> Iterator[None]:
    """Make the folder of a study and lock it for this process.

    Raises:
        StudyError: The folder cannot be written, or is locked; the message names the process.
    """
    storage.create()
    with _hold_lease(storage) if isinstance(storage, ObjectStorage) else _hold_folder(storage):
        yield


def _in_use(storage: Storage, holder: str, how_long: str = "") -> StudyError:
    return StudyError(f"{storage}: this study is being run by {holder}; wait for it, or stop it{how_long}")


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


@contextmanager
def _hold_folder(storage: Storage) -> Iterator[None]:
    """Lock a folder by a file lock, which the system releases when the process is killed."""
    lock, holder = FileLock(storage.path(".lock")), Path(storage.path(".holder"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = "another process"
        with suppress(OSError):  # because that process may just start or end
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
    """An object that names the process that runs a study and that this process renews.

    Ages are measured by the store's clock alone. A dead holder on this machine is replaced at once.
    Any other holder is replaced after `LEASE_SECONDS` without a renewal. A holder that was replaced
    writes nothing more.

    Object stores have no locks, and pyarrow has no conditional writes. So two drivers may write for
    a while: up to `HEARTBEAT_SECONDS` after a suspended driver continues, and after two drivers
    start together if the first write of one takes longer than `SETTLE_SECONDS`. No row is lost
    then, but trials may have rows of both drivers. Workers keep writing, because a checkpoint of
    either driver is valid.

    Args:
        storage: The study's files.
    """

    NAME = ".lease"

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._own = {"token": uuid.uuid4().hex, "holder": _this_process(), "pid": os.getpid(), "machine": _machine()}

    def acquire(self) -> None:
        """Write the lease. Raise StudyError if another process holds it."""
        holder = self._read()
        if holder and not _is_gone(holder):
            with suppress(FileNotFoundError):  # because it may be released just now
                age = (self._storage.clock() - self._storage.modified_at(self.NAME)).total_seconds()
                if age < LEASE_SECONDS:
                    left = f" (if it is gone: free in {LEASE_SECONDS - age:.0f} s)"
                    raise _in_use(self._storage, holder["holder"], left)
        self._write()
        time.sleep(SETTLE_SECONDS)
        if (winner := self._other_holder()) is not None:
            raise _in_use(self._storage, winner)

    def keep_renewing(self, ended: threading.Event) -> None:
        """Renew the lease until `ended`; refuse all writes once another process has it."""
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
        """Return the process that holds the lease, or None if it is this one."""
        holder = self._read() or {"token": None, "holder": "another process, which has ended"}
        return None if holder["token"] == self._own["token"] else str(holder["holder"])

    def _read(self) -> dict[str, Any] | None:
        try:
            holder: dict[str, Any] = json.loads(self._storage.read(self.NAME))
        except FileNotFoundError:
            return None
        return holder

    def _write(self) -> None:
        self._storage.write(self.NAME, json.dumps(self._own).encode())


def _machine() -> str | None:
    """Identify this boot of this machine and this container, or return None if unknown.

    Process numbers of equal identifiers can be compared.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_gone(holder: dict[str, Any]) -> bool:
    """Return True if the holder was a process of this machine and has ended."""
    machine = _machine()
    return machine is not None and holder["machine"] == machine and not Path(f"/proc/{holder['pid']}").exists()
