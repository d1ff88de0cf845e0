"""The state of the caller's process, kept while a study runs in it."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("ray", "ray.tune", "ray.data", "optuna", "mlflow", "alembic")
"""Loggers whose levels Ray, Optuna, MLflow or this package change."""


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the settings of this process at the end.

    They are the environment, filters of warnings, log levels, import path and the handler of
    SIGTERM. Ray and Tune are set through them, and a notebook goes on with them after its study.
    """
    environment, path = dict(os.environ), list(sys.path)
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        sys.path[:] = path
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)
