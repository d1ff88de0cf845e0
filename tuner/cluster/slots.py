"""Slots of a study: the trials that run in parallel, on clusters that may grow and shrink."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import ray

from tuner.cluster import connection
from tuner.cluster.nodes import addable, living_resources
from tuner.config.study import StudyConfig
from tuner.errors import SpecError
from tuner.search.ray_internals import autoscaler_node_types

REPORT_SECONDS = 15.0
"""Seconds to wait for an autoscaler's first report, which comes after its head node."""
COUNT_SECONDS = 5.0
"""Seconds between two counts of a study's slots."""


@dataclass(frozen=True)
class TrialResources:
    """Cores and GPUs of one trial."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        cores = f"{self.cpu:g} core{'s' if self.cpu > 1 else ''}"
        return f"{cores} and {self.gpu:g} GPU" if self.gpu else cores

    @property
    def for_ray(self) -> dict[str, float]:
        """The resources by Ray's names."""
        return {"CPU": self.cpu, "GPU": self.gpu}

    @property
    def asked(self) -> dict[str, float]:
        """The needed resources by Ray's names."""
        return {kind: amount for kind, amount in self.for_ray.items() if amount}


class Slots:
    """The number of parallel trials, counted again as nodes come and go.

    Args:
        spec: The study.
        trial: Resources of each trial.
        on_change: Called with each new number.
    """

    def __init__(self, spec: StudyConfig, trial: TrialResources, on_change: Callable[[int], None]) -> None:
        self._spec = spec
        self._trial = trial
        self._on_change = on_change
        self._count = 0
        self._counted_at = -COUNT_SECONDS

    def __call__(self) -> int:
        """Return the number.

        It is at least one, so that a trial waits where nodes are lost.
        """
        if time.monotonic() - self._counted_at >= COUNT_SECONDS:
            count = max(1, _slots(self._spec, self._trial))
            if count != self._count:
                self._on_change(count)
            self._count = count
            self._counted_at = time.monotonic()
        return self._count


def count_slots(spec: StudyConfig, trial: TrialResources) -> int:
    """Count the trials that run in parallel on the connected cluster.

    Raises:
        SpecError: Not even one trial fits, on the nodes or on those that may be added.
    """
    if slots := _slots(spec, trial):
        return slots
    raise SpecError(_no_room([*living_resources(), *(addable() or [])], trial))


def _slots(spec: StudyConfig, trial: TrialResources) -> int:
    """Count the slots, with those of nodes that an autoscaler may add.

    Where nobody knows how many that are, as many trials wait as run. Their waiting asks for nodes.
    """
    more, limit = addable(), spec.resources.concurrent
    fitting = capacity([*living_resources(), *(more or [])], trial)
    if more is None:
        return max(1, 2 * fitting) if limit == "auto" else limit
    return fitting if limit == "auto" else min(fitting, limit)


def capacity(cluster: Iterable[Mapping[str, float]], trial: TrialResources) -> int:
    """Count the trials that fit into a cluster.

    Each has all its resources on one node.

    >>> capacity([{"CPU": 4, "GPU": 1}, {"CPU": 1}], TrialResources(cpu=1, gpu=0.5))
    2
    """
    tolerance = 1e-9  # because three shares of a third are less than one
    return sum(
        min(int(node.get(kind, 0) / amount + tolerance) for kind, amount in trial.asked.items()) for node in cluster
    )


def _no_room(cluster: Sequence[Mapping[str, float]], trial: TrialResources) -> str:
    for kind, amount in trial.asked.items():
        most = max(node.get(kind, 0) for node in cluster)
        if amount > most:
            where = f" on the largest of {len(cluster)} nodes" if len(cluster) > 1 else ""
            return f"resources.{kind.lower()}: a trial asks for {amount:g}, there are {most:g}{where}"
    both = " and ".join(f"{amount:g} {kind}" for kind, amount in trial.asked.items())
    return f"resources: a trial asks for {both}, and none of {len(cluster)} nodes has both"


def await_node(trial: TrialResources, is_stopping: Callable[[], bool]) -> None:
    """Wait for a node that a trial fits, if one may come.

    A waiting placement group asks the autoscaler for it.

    Args:
        trial: Resources of the trial.
        is_stopping: Returns True if the study is being stopped, which ends the wait.
    """
    if capacity(living_resources(), trial) or not _may_come(trial):
        return
    message = f"no node has {trial} for a trial yet; waiting until the cluster's autoscaler adds one"
    warnings.warn(message, stacklevel=2)
    group = ray.util.placement_group([trial.asked])  # because Ray forgets it with this process
    try:
        while not (group.wait(1) or is_stopping()):
            pass
    finally:
        ray.util.remove_placement_group(group)


def _may_come(trial: TrialResources) -> bool:
    """Return True if an autoscaler may add a fitting node."""
    until = time.monotonic() + REPORT_SECONDS
    while connection.joined() and autoscaler_node_types() is None and time.monotonic() < until:
        time.sleep(0.5)
    more = addable()
    return more is None or capacity(more, trial) > 0
