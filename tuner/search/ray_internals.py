"""What this project uses of Ray although Ray does not call it public.

The tests of this module fail when an upgrade of Ray takes one of these parts away.
"""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # because Tune takes a second
    from ray.tune.experiment import Trial


def allow_one_more_idle_worker(controller: Any, trial: "Trial") -> None:
    """Let Tune keep one more idle worker for trials with the same resources.

    Tune counts the workers that it may keep, and offers no public setting for their number.
    By itself it keeps a worker only where the next trial happens to wait already. Without this
    call, workers start more often and nothing else changes.

    Args:
        controller: What Tune hands to schedulers. The controller within it is read, because
            Tune warns about attributes that are read through its wrapper.
        trial: A trial that the worker could run.
    """
    unwrapped = getattr(controller, "_tune_controller", controller)
    cache = getattr(unwrapped, "_actor_cache", None)
    if cache is not None:
        cache.increase_max(trial.placement_group_factory)


def silence_raylet() -> None:
    """Keep the raylet's messages about dead workers off the terminal.

    `ray.init(log_to_driver=False)` silences workers, but not these messages. The study's tables
    and logs hold what happened.
    """
    import ray

    ray._private.worker._worker_logs_enabled = False


def show_token() -> None:
    """Show the user's token to a cluster's job server, if the user has one.

    Ray looks for the token only when the environment asks for it before Ray is imported. Drivers
    must not call this, because they would demand the token of everybody else.
    """
    from ray._private.authentication import authentication_token_setup as tokens

    logging.disable(logging.WARNING)  # because Ray warns that tokens are now in use
    try:
        tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    finally:
        logging.disable(logging.NOTSET)
