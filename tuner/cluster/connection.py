"""Connecting to Ray."""

import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from tuner.cluster.code import sources
from tuner.cluster.health import CONNECT_SECONDS, is_alive, lost
from tuner.errors import ClusterError, first_line
from tuner.storage import is_url

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints every failed trial's traceback, whatever the verbosity
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # five files a trial; our tables hold it all
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that cannot be trained ends with a report without metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours stops the study and keeps the exit code
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # Tune's own snapshots are never read
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
}

SYSTEM_CONFIG = {"prestart_worker_first_driver": False}
"""Actors never take a prestarted worker: starting some would only take cores from those that are needed."""

_ours = _joined = False
"""Whether `start` connected this process to Ray, and whether to a cluster that was running."""


def joined() -> bool:
    """Return True if this process has joined a cluster that was running."""
    return _joined


def start(address: str | None = None, architectures: Iterable[str] = ()) -> None:
    """Connect this process to Ray, unless it is connected already: to one of our own, or to a running cluster.

    Called before Tune is imported, it lets Ray's processes start while this one imports.

    Args:
        address: A running cluster: `auto`, the one that this machine belongs to, or `HOST:PORT` of its head; None:
            start a Ray of our own on this machine.
        architectures: Networks that the study names; with an address every node gets the modules of those that are
            the user's own, and this package as it is here, whatever is installed there.

    Raises:
        ClusterError: There is no cluster at the address, or it is none that a study can run on.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what happens to trials stands in the tables and logs
    ray._private.worker._worker_logs_enabled = False  # the raylet's word on dead workers passes by `log_to_driver`
    global _ours, _joined
    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(address="local", include_dashboard=False, _system_config=SYSTEM_CONFIG, **quiet)
    else:
        _join(address, runtime_env={"py_modules": [str(path) for path in sources(architectures)]}, **quiet)
    _ours, _joined = True, address is not None


def _join(address: str, **settings: Any) -> None:
    """Connect to a running cluster, or say in one line why not."""
    allowed = "allowed: auto or HOST:PORT of a running cluster"
    if is_url(address):  # from there a study is handed over as a job, see `tuner.cluster.jobs`
        raise ClusterError(f"--address: '{address}'; {allowed}, on one of its machines")
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise ClusterError(f"--address: '{address}'; {allowed}")
    try:
        if address != "auto":  # Ray itself would try for more than a minute
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ClusterError(f"--address: no Ray cluster at '{address}' ({reason}); {allowed}") from None
    try:
        ray.init(address=address, **settings)
    except (ConnectionError, AuthenticationError) as error:
        asks = "" if address == "auto" else f"; if it asks for a token, set RAY_AUTH_MODE=token and {TOKEN_REMEDY}"
        raise ClusterError(f"--address: no Ray cluster at '{address}' ({first_line(error)}){asks}; {allowed}") from None


TOKEN_REMEDY = "put the cluster's token into ~/.ray/auth_token, or its path into RAY_AUTH_TOKEN_PATH"
"""What to do where a cluster asks for a token that this client has not, or has another."""


@contextmanager
def connected(address: str | None = None, architectures: Iterable[str] = ()) -> Iterator[None]:
    """Ray for as long as it is needed; it is ended or left afterwards if `start` was called here or before.

    Args and errors are those of `start`; a RayLostError stands for what goes wrong because Ray is gone.
    """
    global _ours, _joined
    start(address, architectures)
    try:
        yield
    except Exception as error:
        if is_alive():
            raise
        raise lost(_joined) from error
    finally:
        if _ours:
            _ours = _joined = False
            ray.shutdown()
