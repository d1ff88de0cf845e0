"""What the search uses of Ray although Ray does not call it public."""

from typing import Any

from ray.tune.experiment import Trial


def allow_one_more_idle_worker(tune_controller: Any, trial: Trial) -> None:
    """Let Tune keep one more idle worker for trials with the same resources.

    Tune counts the workers that it may keep, and offers no public setting for their number.
    By itself it keeps a worker only where the next trial happens to wait already. Without this
    call, workers start more often and nothing else changes.
    """
    cache = getattr(tune_controller, "_actor_cache", None)
    if cache is not None:
        cache.increase_max(trial.placement_group_factory)
