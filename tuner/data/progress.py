"""Progress of long work on images, reported to whoever watches the process."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

REPORT_SECONDS = 1.0
"""Seconds between two reports while waiting."""


def _ignore() -> None:
    """Do nothing, because nobody watches this process."""


listener: Callable[[], None] = _ignore
"""Function called after each image, each batch, and each second of healthy waiting."""
place = ""
"""The file or folder that is being read, as far as it was reported."""


@cache
def warn_once(message: str) -> None:
    """Warn of something about the images, once in a process.

    A process may open the images several times.
    """
    warnings.warn(message, stacklevel=3)


def report(reading: object = None) -> None:
    """Report that the work has moved on, perhaps to another file."""
    global place
    if reading is not None:
        place = str(reading)
    listener()


@contextmanager
def heard(by: Callable[[], None]) -> Iterator[None]:
    """Let a function hear each report.

    The place of earlier work is forgotten.
    """
    global listener, place
    before, listener, place = listener, by, ""
    try:
        yield
    finally:
        listener = before


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, reporting progress while another process holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=REPORT_SECONDS)
        except Timeout:
            report()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def reporting() -> Iterator[None]:
    """Report progress all the while, for work that has its own timeout."""
    ended = threading.Event()

    def keep_reporting() -> None:
        while not ended.wait(REPORT_SECONDS):
            report()

    thread = threading.Thread(target=keep_reporting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
