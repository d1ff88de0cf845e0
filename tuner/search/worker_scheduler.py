"""Workers that outlive their trials, and retries with a place of their own."""

import math
import time
from collections.abc import Callable
from typing import Any

from ray.tune.execution.placement_groups import PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from tuner.search.ray_internals import (
    allow_one_more_idle_worker,
    forget_ended_trials,
    has_idle_workers,
    release_idle_workers,
)
from tuner.search.waiting import NobodyWaits

CHECK_SECONDS = 5.0
"""Seconds between two checks whether another node is left for a waiting retry."""

IDLE_SECONDS = 30.0
"""Seconds after which idle workers end, because an autoscaler keeps their nodes."""


class WorkerReusingScheduler(NobodyWaits, FIFOScheduler):
    """A scheduler whose workers outlive their trials.

    A new trial takes an idle worker. By itself Tune may hand an idle worker to a trial whose own
    worker is about to be up, which it then throws away. A retry with a place of its own never takes
    an idle worker.

    Attributes:
        has_other_node: Returns True if a trial can run on another node than the given one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.has_other_node: Callable[[str], bool] = lambda _: False
        self._placed: Trial | None = None
        self._checked_at = 0.0
        self._busy_at = time.monotonic()

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Place a retry, or make room among the idle workers.

        The room is for the worker of the trial. The worker of a placed retry ends with it, because
        it would hold resources that other trials wait for and cannot take it over.
        """
        avoid, alone = trial.config.get("avoid"), trial.config.get("alone", False)
        avoid = avoid if avoid and self.has_other_node(avoid) else None
        if avoid or alone:
            trial.update_resources(place_retry(trial.placement_group_factory, avoid, alone))
            self._placed, self._checked_at = trial, time.monotonic()
        else:
            allow_one_more_idle_worker(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Make room for a retry, end idle workers and forget ended trials.

        Return None, because Tune starts trials in order.
        """
        forget_ended_trials(tune_controller)
        if self._placed is not None:
            self._make_room(tune_controller, self._placed)
        self._end_idle_workers(tune_controller)
        return None

    def _end_idle_workers(self, tune_controller: Any) -> None:
        if not has_idle_workers(tune_controller):
            self._busy_at = time.monotonic()
        elif time.monotonic() - self._busy_at > IDLE_SECONDS:
            release_idle_workers(tune_controller)

    def _make_room(self, tune_controller: Any, trial: Trial) -> None:
        """End idle workers for a retry.

        Withdraw the retry when no other node is left.
        """
        if trial.status != Trial.PENDING:
            self._placed = None
            return
        release_idle_workers(tune_controller)
        avoid = trial.config.get("avoid")
        if avoid and time.monotonic() - self._checked_at > CHECK_SECONDS:
            self._checked_at = time.monotonic()
            if not self.has_other_node(avoid):
                self._placed = None
                tune_controller.stop_trial(trial)


def place_retry(resources: Any, avoid: str | None, alone: bool) -> PlacementGroupFactory:
    """Return the resources of a retry, on any node but `avoid`.

    A retry that runs alone has whole GPUs.
    """
    bundle = dict(resources.bundles[0])
    if alone and bundle.get("GPU"):
        bundle["GPU"] = math.ceil(bundle["GPU"])
    selector = [{"ray.io/node-id": f"!{avoid}"}] if avoid else None
    return PlacementGroupFactory([bundle], bundle_label_selector=selector)
