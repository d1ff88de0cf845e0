"""Kinds of failure of a trial, told from the error that ended it."""

import socket
import time
from dataclasses import dataclass
from typing import Literal

import ray
from ray.exceptions import RayError, RayTaskError

from tuner.cluster.health import node_is_alive
from tuner.errors import (
    DataError,
    DeviceError,
    NotFiniteError,
    OutOfMemoryError,
    StudyError,
    TrialError,
    UserError,
    type_and_line,
)
from tuner.search.ray_internals import node_of

ErrorKind = Literal["diverged", "memory", "configuration", "crash", "environment"]

NODE_SECONDS = 1.0
"""Seconds after the loss of a worker in which its node may turn out to be lost."""
LOST_NODE = "the node was lost"
LOST_IDLE = "the worker was lost before the trial began"
LOST_WORKER = "the worker was lost"


@dataclass(frozen=True)
class Failure:
    """A failed attempt at a trial."""

    number: int
    kind: ErrorKind
    cause: str
    """What failures in a row have in common: the name of an error, or one of the losses above."""
    text: str
    """The reason in one line."""
    node: str | None = None
    """Ray's identifier of the node that the attempt ran on."""

    @property
    def is_local(self) -> bool:
        """Return True if trials on other nodes are safe from it."""
        return self.cause in (LOST_NODE, LOST_IDLE)


def kind_of_error(error: BaseException) -> ErrorKind:
    """Tell the kind of a failure from the error of a trial."""
    match error:
        case NotFiniteError():
            return "diverged"
        case OutOfMemoryError() | MemoryError() | ray.exceptions.OutOfMemoryError():
            return "memory"
        case DataError() | DeviceError() | StudyError() | OSError():  # a StoreError is a StudyError
            return "environment"
        case TrialError() | UserError():
            return "configuration"
    return "crash"


def describe_failure(number: int, error: Exception | None, worker: str | None, host: str | None, log: str) -> Failure:
    """Tell what ended an attempt at a trial.

    Args:
        number: The trial's number.
        error: What Tune kept of the error.
        worker: Ray's identifier of the worker. None if it never began the trial.
        host: Name of the machine, as far as the trial has reported it.
        log: Name of the file with the whole traceback.
    """
    node = None if worker is None else node_of(worker)
    raised = error.cause if isinstance(error, RayTaskError) else error
    kind, cause = _kind_and_cause(raised, worker, node)
    reason = cause if raised is None else type_and_line(raised)
    if cause in (LOST_NODE, LOST_IDLE):
        reason = cause
    text = f"{reason} (node {host or socket.gethostname()}, log {log})"
    return Failure(number, kind, cause, text, node)


def _kind_and_cause(raised: BaseException | None, worker: str | None, node: str | None) -> tuple[ErrorKind, str]:
    if worker is None:
        return "environment", LOST_IDLE
    is_lost = raised is None or isinstance(raised, RayError)
    if is_lost and node and (getattr(raised, "preempted", False) or _goes_down(node)):
        return "environment", LOST_NODE
    if raised is None:
        return "crash", LOST_WORKER
    return kind_of_error(raised), type(raised).__name__


def _goes_down(node: str) -> bool:
    """Return True if a node is lost or will be soon.

    The node is asked several times because its processes end in any order.
    """
    until = time.monotonic() + NODE_SECONDS
    while node_is_alive(node):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
