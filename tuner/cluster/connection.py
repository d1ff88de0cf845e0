"""The connection of this process to Ray."""

import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from tuner.cluster.code import stage
from tuner.cluster.health import CONNECT_SECONDS, is_alive, lost, remember_endpoints, start_failed, watched_start
from tuner.errors import ClusterError, RayLostError, first_line
from tuner.search.ray_internals import interruptible_start, silence_raylet
from tuner.storage import is_url
from tuner.storage.scratch import ScratchFolder, home_folder

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints failed trials' tracebacks at every verbosity
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files per trial, and our tables hold it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # trials that cannot train report no metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours stops the study and keeps the exit code
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",  # the searcher counts slots, and workers start together
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own snapshots are never read
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}

SYSTEM_CONFIG = {"prestart_worker_first_driver": False}
"""Ray prestarts no workers, because actors never take them and their start takes cores."""

MAX_FOLDER_BYTES = 24
"""Bytes of the longest folder for Ray's files, because a socket's path has at most 107."""

_scratch: ScratchFolder | None = None
"""Folder of the local Ray that `start` started."""
_connected = _joined = False
"""Set by `start`: this process was connected to Ray, and the Ray was a running cluster."""


def joined() -> bool:
    """Return True if this process has joined a cluster that was running."""
    return _joined


def start(
    address: str | None = None,
    architectures: Iterable[str] = (),
    on_lost: Callable[[RayLostError], None] | None = None,
) -> None:
    """Connect this process to Ray, unless it is connected already.

    Called before Tune is imported, Ray's processes start during that import.

    Args:
        address: A running cluster: `auto`, the one that this machine belongs to, or `HOST:PORT` of
            its head node. None: start a local Ray.
        architectures: Networks that the study names. With an address, every node gets the modules
            of the user's networks, and this package whatever version is installed there.
        on_lost: Called from another thread if a local Ray is lost while it starts. It should end
            the process, because Ray does not return soon. None: nothing.

    Raises:
        ClusterError: There is no cluster at the address, or no study can run on it.
    """
    for name, value in {"HOME": str(home_folder()), **ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
    # because the tables and logs hold what happens to trials
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    silence_raylet()
    global _connected, _joined
    if not ray.is_initialized():
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None:
            with watched_start(on_lost) if on_lost else nullcontext():
                _start_local(**quiet)
        else:
            _join(address, architectures, **quiet)
        _connected, _joined = True, address is not None
    remember_endpoints()


def _start_local(**settings: Any) -> None:
    """Start a local Ray.

    Its files are removed at its end or by the next driver.
    """
    global _scratch
    parent = _short_folder()
    try:
        _scratch = ScratchFolder(parent)
    except OSError as error:
        remedy = "set RAY_TMPDIR to another folder"
        raise start_failed(f"{parent} cannot be written ({error.strerror}); {remedy}") from error
    try:
        with interruptible_start():
            ray.init(
                address="local",
                include_dashboard=False,
                _temp_dir=str(_scratch.path),
                _system_config=SYSTEM_CONFIG,
                **settings,
            )
    except Exception as error:
        _remove_scratch()
        raise start_failed(first_line(error)) from error


def _short_folder() -> Path:
    """Return the folder for a local Ray's files.

    It is short enough for the names of its sockets.
    """
    if named := os.environ.get("RAY_TMPDIR"):
        return Path(named)
    temporary = Path(tempfile.gettempdir())
    return temporary if len(os.fsencode(temporary)) <= MAX_FOLDER_BYTES else Path("/tmp")


def _join(address: str, architectures: Iterable[str], **settings: Any) -> None:
    """Connect to a running cluster, or raise ClusterError with one line."""
    allowed = "allowed: auto or HOST:PORT of a running cluster"
    if is_url(address):  # because only `tuner.cluster.jobs` submits studies through a URL
        raise ClusterError(f"--address: '{address}'; {allowed}, on one of its machines")
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise ClusterError(f"--address: '{address}'; {allowed}")
    try:
        if address != "auto":  # because Ray would try for more than a minute
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"--address: no Ray cluster at '{address}' ({reason}); {allowed}") from None
    try:
        with tempfile.TemporaryDirectory(prefix="tuner-") as staged:
            modules = [str(path) for path in stage(Path(staged), architectures)]
            ray.init(address=address, runtime_env={"py_modules": modules}, **settings)
    except (ConnectionError, AuthenticationError) as error:
        hint = "" if address == "auto" else f"; if it asks for a token, set RAY_AUTH_MODE=token and {TOKEN_REMEDY}"
        raise ClusterError(f"--address: no Ray cluster at '{address}' ({first_line(error)}){hint}; {allowed}") from None


TOKEN_REMEDY = "put the cluster's token into ~/.ray/auth_token, or its path into RAY_AUTH_TOKEN_PATH"
"""Remedy for a cluster that refuses this client's token or asks for one."""


@contextmanager
def connected(address: str | None = None, architectures: Iterable[str] = ()) -> Iterator[None]:
    """Stay connected to Ray.

    Disconnect at the end if `start` had connected this process.

    Args and errors are those of `start`. Whatever fails because Ray is gone raises RayLostError.
    """
    global _connected, _joined
    start(address, architectures)
    try:
        yield
    except Exception as error:
        if is_alive():
            raise
        raise lost(_joined) from error
    finally:
        if _connected:
            _connected = _joined = False
            ray.shutdown()
            _remove_scratch()


def _remove_scratch() -> None:
    global _scratch
    if _scratch is not None:
        _scratch.remove()
        _scratch = None
