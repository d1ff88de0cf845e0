"""Connecting to Ray."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

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

_ours = False
"""Whether this process started the Ray that it is connected to."""


def start() -> None:
    """Start a Ray instance of our own on this machine, unless the process has one already.

    Called before Tune is imported, it lets Ray's processes start while this one imports.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what happens to trials stands in the tables and logs
    ray._private.worker._worker_logs_enabled = False  # the raylet's word on dead workers passes by `log_to_driver`
    global _ours
    if not ray.is_initialized():
        _ours = True
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config=SYSTEM_CONFIG,
        )


@contextmanager
def connected() -> Iterator[None]:
    """Ray for as long as it is needed; it is ended afterwards if it was started here or by `start`."""
    global _ours
    start()
    try:
        yield
    finally:
        if _ours:
            _ours = False
            ray.shutdown()


def machine() -> dict[str, float]:
    """Resources of the cluster that is connected: `{'CPU': 2.0, 'GPU': 1.0}`."""
    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]
