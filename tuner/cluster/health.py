"""Whether Ray is still there: its head, and its own process on this machine."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tuner.errors import RayLostError

CONNECT_SECONDS = 5.0
"""A head that does not answer for so long is not there."""
WATCH_SECONDS = 3.0
"""So often a study looks whether Ray is still there."""
LOST_SECONDS = 30.0
"""A head that is away for so long is lost; one that keeps its state elsewhere may come back before."""


def is_alive() -> bool:
    """Whether the head of the cluster and Ray's own process on this machine are still those that we connected to."""
    return _raylet_is_there() and _head_is_there()


def _connection() -> Any:
    """Where Ray's processes are that this one is connected to; Ray has no public word for all of it."""
    return ray._private.worker._global_node


def _raylet_is_there() -> bool:
    """Ray's process on this machine has a socket in the folder of its session, which no later one has."""
    try:
        with socket.socket(socket.AF_UNIX) as raylet:
            raylet.connect(_connection().raylet_socket_name)
    except OSError:
        return False
    return True


def _head_is_there() -> bool:
    host, _, port = _connection().gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def lost(joined: bool) -> RayLostError:
    """What to say where Ray is gone; `joined`: it was a running cluster, not one of our own."""
    return RayLostError(
        "Ray was lost: its processes were killed, or its head does not answer; what was finished is kept, and the same "
        "command goes on once Ray is back"
        if joined
        else "Ray was lost: its processes were killed; what was finished is kept, and the same command goes on"
    )


@contextmanager
def watched(on_lost: Callable[[RayLostError], None], *, joined: bool) -> Iterator[None]:
    """Look after Ray for as long as this process is connected, from a thread of its own.

    Calls into a Ray that is lost may not return: after a minute Ray ends the process without a word.

    Args:
        on_lost: Called in that thread, at most once.
        joined: Whether Ray is a running cluster, and none of our own.
    """
    ended = threading.Event()

    def watch() -> None:
        answered = time.monotonic()
        while not ended.wait(WATCH_SECONDS):
            if _head_is_there():
                answered = time.monotonic()
            if not _raylet_is_there() or time.monotonic() - answered > LOST_SECONDS:
                on_lost(lost(joined))
                return

    threading.Thread(target=watch, name="watch-ray", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
