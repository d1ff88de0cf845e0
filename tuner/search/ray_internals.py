"""Parts of Ray that are used here although Ray does not call them public.

The tests of this module fail when an upgrade of Ray takes one of these parts away.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # because Tune takes a second
    from ray.tune import Callback
    from ray.tune.experiment import Trial

STEP_MILLISECONDS = 50
"""Milliseconds of a step in which no other thread runs."""


def allow_one_more_idle_worker(controller: Any, trial: "Trial") -> None:
    """Let Tune keep one more idle worker for similar trials.

    Similar trials have the same resources. Tune counts the workers that it may keep, and offers no
    public setting for their number. By itself it keeps a worker only where the next trial happens
    to wait already. Without this call, workers start more often and nothing else changes.

    Args:
        controller: What Tune hands to schedulers. The controller within it is read, because
            Tune warns about attributes that are read through its wrapper.
        trial: A trial that the worker could run.
    """
    unwrapped = getattr(controller, "_tune_controller", controller)
    cache = getattr(unwrapped, "_actor_cache", None)
    if cache is not None:
        cache.increase_max(trial.placement_group_factory)


def release_idle_workers(controller: Any) -> None:
    """End the workers that Tune keeps for later trials.

    They would go on holding their resources.

    Args:
        controller: What Tune hands to schedulers.
    """
    unwrapped = getattr(controller, "_tune_controller", controller)
    unwrapped._cleanup_cached_actors(force_all=True)


def has_idle_workers(controller: Any) -> bool:
    """Return True if Tune keeps workers while no trial waits.

    Args:
        controller: What Tune hands to schedulers.
    """
    unwrapped = getattr(controller, "_tune_controller", controller)
    return bool(unwrapped._actor_cache.num_cached_objects) and not unwrapped._pending_trials


def forget_ended_trials(controller: Any) -> None:
    """Drop all ended trials but the last from Tune's lists.

    Tune keeps every trial until the study ends, 45 kB each, and offers no public way to drop one.
    The last trial stays because Tune reads a snapshot from disk if it has none. Tune reads nothing
    of an ended trial while its scheduler chooses.

    Args:
        controller: What Tune hands to schedulers.
    """
    unwrapped = getattr(controller, "_tune_controller", controller)
    if len(unwrapped._stopped_trials) + len(unwrapped._failed_trials) < 2:
        return
    ended = [trial for trial in unwrapped._trials if trial.is_finished()]
    dropped = set(ended[:-1])
    unwrapped._trials[:] = [trial for trial in unwrapped._trials if trial not in dropped]
    for kept_by in ("_live_trials", "_stopped_trials", "_failed_trials", "_trials_to_cache"):
        getattr(unwrapped, kept_by).difference_update(dropped)


def silent_progress() -> "Callback":
    """Return a silent replacement for Tune's own callback.

    Tune's own callback keeps all trials.
    """
    from ray.tune.progress_reporter import TrialProgressCallback

    class SilentProgress(TrialProgressCallback):
        def log_result(self, *_: Any, **__: Any) -> None:
            """Print and keep nothing."""

        on_trial_complete = log_result

    return SilentProgress()


def skip_callback_counts() -> None:
    """Keep Tune from counting callbacks for Ray's usage statistics, which are off.

    Tune would import MLflow, Comet and W&B where they are installed, to compare classes. That takes
    a second of each study's start.
    """
    from ray.air._internal import usage

    usage.tag_callbacks = lambda callbacks: False  # noqa: ARG005


def worker_of(trial: "Trial") -> str:
    """Return Ray's identifier of the worker that has just begun a trial."""
    worker: Any = trial.temporary_state.ray_actor
    return str(worker._actor_id.hex())


def node_of(worker: str) -> str | None:
    """Return Ray's identifier of the node of a worker.

    The worker may be dead by now.
    """
    import ray

    address = ray._private.state.actors(worker).get("Address", {})
    return address.get("NodeID") or None


def error_of(trial: "Trial") -> Exception | None:
    """Return the error that ended a trial. None if Tune kept none.

    Tune hands no error to its callbacks. It writes the error to this process's scratch folder.
    """
    from ray import cloudpickle

    file = trial.pickled_error_file  # `get_pickled_error` reads a copy that is made later
    if file is None or not Path(file).exists():
        return None
    error: Exception = cloudpickle.loads(Path(file).read_bytes())
    return error


def autoscaler_node_types() -> set[str] | None:
    """Return the types of running nodes that an autoscaler names.

    A cluster without an autoscaler reports its nodes, too. It names no type of theirs. None: there
    is no report yet.
    """
    import ray
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler.v2.sdk import get_cluster_status
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2():
        status = get_cluster_status(ray.get_runtime_context().gcs_address)
        reported = int(status.stats.autoscaler_version or 0) > 0
        nodes = (*status.active_nodes, *status.idle_nodes)
        return {node.ray_node_type_name for node in nodes} - {""} if reported else None
    report = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}").get("autoscaler_report")
    unnamed = {f"node_{node['NodeID']}" for node in ray.nodes()}  # type: ignore[no-untyped-call]
    return None if report is None else set(report["active_nodes"]) - unnamed


def silence_raylet() -> None:
    """Keep the raylet's messages about dead workers off the terminal.

    `ray.init(log_to_driver=False)` silences workers, but not these messages. The study's tables
    and logs hold what happened.
    """
    import ray

    ray._private.worker._worker_logs_enabled = False


def show_token() -> None:
    """Show the user's token, if any, to a cluster's job server.

    Ray looks for the token only when the environment asks for it before Ray is imported. Drivers
    must not call this, because they would demand the token of everybody else.
    """
    from ray._private.authentication import authentication_token_setup as tokens

    logging.disable(logging.WARNING)  # because Ray warns that tokens are now in use
    try:
        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def interruptible_start() -> Iterator[None]:
    """Let other threads run while Ray waits for its gcs_server.

    Ray waits up to 30 seconds without releasing the interpreter's lock. No other thread can find
    out meanwhile that the gcs_server has ended. Here it waits in steps of `STEP_MILLISECONDS`.
    """
    node: Any = import_module("ray._private.node")
    wait = node.wait_for_persisted_port

    def wait_in_steps(*arguments: Any, timeout_ms: int, **options: Any) -> int:
        until = time.monotonic() + timeout_ms / 1000
        while True:
            try:
                return int(wait(*arguments, timeout_ms=min(timeout_ms, STEP_MILLISECONDS), **options))
            except RuntimeError:
                if time.monotonic() >= until:
                    raise
            time.sleep(STEP_MILLISECONDS / 1000)

    node.wait_for_persisted_port = wait_in_steps
    try:
        yield
    finally:
        node.wait_for_persisted_port = wait
