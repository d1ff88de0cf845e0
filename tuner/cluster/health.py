"""The health of Ray: its head node, and its process on this machine."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import ray

from tuner.errors import RayLostError

CONNECT_SECONDS = 5.0
"""Seconds to wait for the head node before treating it as down."""
WATCH_SECONDS = 3.0
"""Seconds between two checks of a running study's Ray."""
LOST_SECONDS = 30.0
"""Seconds for a head node to come back before Ray is lost."""
START_SECONDS = 0.2
"""Seconds between two checks of a local Ray that starts."""
STARTED = {"gcs_server", "raylet"}
"""Processes without which a local Ray cannot start."""


@dataclass(frozen=True)
class Endpoints:
    """The sockets of the Ray that this process is connected to.

    Attributes:
        raylet: Path of the socket of Ray's process on this machine. No later Ray has the same.
        head: `HOST:PORT` of the head node.
    """

    raylet: str
    head: str


_endpoints: Endpoints | None = None


def remember_endpoints() -> None:
    """Remember where the Ray of this process listens.

    It must be remembered because a lost Ray cannot be asked.
    """
    global _endpoints
    context = ray.get_runtime_context()
    node_id = context.get_node_id()
    (raylet,) = [
        node["RayletSocketName"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["NodeID"] == node_id
    ]
    _endpoints = Endpoints(raylet, context.gcs_address)


def is_alive() -> bool:
    """Return True if Ray answers here and on the head node."""
    return _endpoints is not None and _raylet_answers(_endpoints) and _head_answers(_endpoints)


def _raylet_answers(endpoints: Endpoints) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as raylet:
            raylet.connect(endpoints.raylet)
    except OSError:
        return False
    return True


def _head_answers(endpoints: Endpoints) -> bool:
    host, _, port = endpoints.head.rpartition(":")
    return answers(host, int(port))


def answers(host: str, port: int) -> bool:
    """Return True if somebody listens at a port."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def node_is_alive(node_id: str) -> bool:
    """Return True if Ray's process on a node answers.

    Ray's own list may name a dead node for half a minute.
    """
    return any(
        node["NodeID"] == node_id and node["Alive"] and answers(node["NodeManagerAddress"], node["NodeManagerPort"])
        for node in ray.nodes()  # type: ignore[no-untyped-call]
    )


def lost(joined: bool) -> RayLostError:
    """Make the error for a lost Ray.

    `joined` tells a running cluster from a local Ray.
    """
    return RayLostError(
        "Ray was lost: its processes were killed, or its head does not answer; what was finished "
        "is kept, and the same command goes on once Ray is back"
        if joined
        else "Ray was lost: its processes were killed; what was finished is kept, and the same command goes on"
    )


@contextmanager
def watched_start(on_lost: Callable[[RayLostError], None]) -> Iterator[None]:
    """Watch the processes of a local Ray while it starts.

    Ray itself waits for a minute, and then ends the process with a page of its log.

    Args:
        on_lost: Called in another thread if one ends. The children of this process were killed.
    """
    ended = threading.Event()

    def watch() -> None:
        running: set[str] = set()
        while not ended.wait(START_SECONDS):
            living, ended_names = _children()
            names = STARTED & set(living.values())
            if gone := (STARTED & ended_names) | (running - names):
                for process in living:
                    with suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
                on_lost(start_failed(f"its process {min(gone)} ended"))
                return
            running |= names

    threading.Thread(target=watch, name="watch-start", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def start_failed(reason: str) -> RayLostError:
    """Make the error for a local Ray that did not start."""
    return RayLostError(f"Ray did not start: {reason}; the study is as it was, and the same command goes on")


def _children() -> tuple[dict[int, str], set[str]]:
    """Return this process's living children, and the dead ones' names.

    It works on Linux only.
    """
    living: dict[int, str] = {}
    dead: set[str] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            state, parent = rest.split()[:2]
            if int(parent) == os.getpid() and state == "Z":
                dead.add(name)
            elif int(parent) == os.getpid():
                living[int(stat.parent.name)] = name
    return living, dead


@contextmanager
def watched(on_lost: Callable[[RayLostError], None], *, joined: bool) -> Iterator[None]:
    """Watch Ray from a thread while this process is connected.

    Calls into a lost Ray may not return. After a minute Ray ends the process without a word.

    Args:
        on_lost: Called in that thread, at most once.
        joined: Whether Ray is a running cluster, not a local Ray.
    """
    endpoints = _endpoints
    patience = LOST_SECONDS if joined else CONNECT_SECONDS  # because no local head comes back
    ended = threading.Event()

    def watch() -> None:
        assert endpoints is not None
        answered = time.monotonic()
        while not ended.wait(WATCH_SECONDS):
            if _head_answers(endpoints):
                answered = time.monotonic()
            if not _raylet_answers(endpoints) or time.monotonic() - answered > patience:
                on_lost(lost(joined))
                return

    threading.Thread(target=watch, name="watch-ray", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
