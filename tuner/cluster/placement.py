"""What a trial gets of the cluster that is connected, and how many trials run side by side."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tuner.cluster.nodes import Node, alive, nodes
from tuner.cluster.preflight import NodeReport, check_nodes
from tuner.config.study import StudyConfig
from tuner.errors import ClusterError, SpecError, first_line
from tuner.training.probe import MemoryNeed

MEMORY_SHARE = 0.95
"""Of a GPU's memory so much is shared out: pools fragment."""
MEASURE_SECONDS = 300.0
"""A GPU that is not free for a measurement within so long is in use by others."""


@dataclass(frozen=True)
class TrialResources:
    """What one trial gets, cores and GPUs."""

    cpu: float
    gpu: float

    def __str__(self) -> str:
        cores = f"{self.cpu:g} core{'s' if self.cpu > 1 else ''}"
        return f"{cores} and {self.gpu:g} GPU" if self.gpu else cores

    @property
    def resources(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpu, "GPU": self.gpu}


@dataclass(frozen=True)
class Placement:
    """Where the trials of a study run.

    Attributes:
        share: What each gets.
        slots: How many run side by side.
        nodes: Nodes that were looked at and found fit; none where this machine alone trains.
    """

    share: TrialResources
    slots: int
    nodes: tuple[NodeReport, ...] = ()


def place(spec: StudyConfig, dataset: Path, data: Path | None, *, results: str | None = None) -> Placement:
    """Decide what trials get on the cluster that is connected, after a look at all its nodes where that is asked for.

    Args:
        spec: The study.
        dataset: The data set as the cache of this machine holds it.
        data: Where data sets are looked for first on other machines.
        results: Where the results will be, for the look at the nodes; None: no node but this machine is used.

    Raises:
        SpecError: Not even one trial fits.
        ClusterError: A node is not fit for the study; a line for each reason.
    """
    count_slots(spec, _least_share(spec))  # says at once what no cluster of this size can do
    reports = () if results is None else tuple(check_nodes(spec, results, dataset, data))
    share = choose_share(spec, dataset, data)
    if results is not None and spec.resources.gpu not in (0, "auto"):
        _check_memory(share.gpu, measure_gpus(spec, dataset, data))
    return Placement(share, count_slots(spec, share), reports)


def _least_share(spec: StudyConfig) -> TrialResources:
    return TrialResources(float(spec.resources.cpu), 0.0 if spec.resources.gpu == "auto" else float(spec.resources.gpu))


def choose_share(spec: StudyConfig, dataset: Path, data: Path | None) -> TrialResources:
    """What a trial of this study gets here.

    `gpu: auto` is nothing where there is no GPU; where there are some, each is shared by as many of the largest trials
    as fit into its memory and have their cores beside it, measured by a training step on each node that has one. Nodes
    that an autoscaler has yet to add cannot be measured: there a trial gets a GPU of its own.

    Args:
        spec: The study.
        dataset: The data set as the cache of this machine holds it.
        data: Where data sets are looked for first on other machines.

    Raises:
        ClusterError: The largest trial does not fit into a GPU, torch sees none, or all are in use.
    """
    share = _least_share(spec)
    if spec.resources.gpu != "auto" or not any(node.get("GPU", 0) for node in nodes()):
        return share
    measured = measure_gpus(spec, dataset, data)
    fitting = [trials_on_a_gpu(node.resources, share.cpu, need) for node, need in measured]
    return TrialResources(share.cpu, share_of_a_gpu(min(fitting, default=1)))


def measure_gpus(spec: StudyConfig, dataset: Path, data: Path | None) -> list[tuple[Node, MemoryNeed]]:
    """What the largest trial of a study takes on a GPU of each node that has one.

    Raises:
        ClusterError: It does not fit into a whole GPU, torch sees none, or others use it; a line for each node.
    """
    having = [node for node in alive() if node.resources.get("GPU", 0)]
    pinned = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in having]
    tasks = [_gpu_need.options(scheduling_strategy=there).remote(spec, dataset, data) for there in pinned]
    measured: list[tuple[Node, MemoryNeed]] = []
    problems: list[str] = []
    for node, task in zip(having, tasks, strict=True):
        try:
            measured.append((node, ray.get(task, timeout=MEASURE_SECONDS)))
        except ray.exceptions.GetTimeoutError:
            ray.cancel(task, force=True)
            problems.append(f"node {node}: no GPU was free for {MEASURE_SECONDS:.0f} s; wait for those who use it")
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error
            problems.append(f"node {node}: {first_line(cause)}")
    problems += [
        f"node {node}: {need.what} does not fit into its GPU of {gigabytes(need.of)}; make it smaller"
        for node, need in measured
        if need.bytes is None
    ]
    if problems:
        raise ClusterError("\n".join(problems))
    return measured


@ray.remote(num_cpus=0, num_gpus=1, max_calls=1, max_retries=0)
def _gpu_need(spec: StudyConfig, dataset: Path, data: Path | None) -> MemoryNeed:
    from tuner.training.probe import gpu_need  # takes seconds: torch

    return gpu_need(spec, dataset, data)


def _check_memory(gpu: float, measured: list[tuple[Node, MemoryNeed]]) -> None:
    """Refuse a share of a GPU that the largest trial does not fit into."""
    problems = [
        f"node {node}: {need.what} takes {gigabytes(need.bytes or 0)}, and {gpu:g} of its GPU is "
        f"{gigabytes(gpu * need.of)}; make it smaller, or resources.gpu larger"
        for node, need in measured
        if gpu < 1 and (need.bytes or 0) > gpu * need.of
    ]
    if problems:
        raise ClusterError("\n".join(problems))


def gigabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB"


def trials_on_a_gpu(has: Mapping[str, float], cpu: float, need: MemoryNeed) -> int:
    """How many trials share each GPU of a node: those that fit into its memory and have their cores beside it."""
    by_memory = MEMORY_SHARE * need.of // need.bytes if need.bytes else math.inf
    return max(1, int(min(by_memory, has.get("CPU", 0) // (has["GPU"] * cpu))))


def share_of_a_gpu(trials: int) -> float:
    """What each of so many trials gets, in the ten-thousandths that Ray counts in."""
    return (10_000 // trials) / 10_000


def count_slots(spec: StudyConfig, share: TrialResources) -> int:
    """Trials that run side by side on the cluster that is connected; each has all it asks for on one node.

    Raises:
        SpecError: Not even one trial fits.
    """
    have = nodes()
    asked = {kind: wanted for kind, wanted in share.resources.items() if wanted}
    for kind, wanted in asked.items():
        most = max(node.get(kind, 0) for node in have)
        if wanted > most:
            where = f" on the largest of {len(have)} nodes" if len(have) > 1 else ""
            raise SpecError(f"resources.{kind.lower()}: a trial asks for {wanted:g}, there are {most:g}{where}")
    fitting = sum(min(int(node.get(kind, 0) / wanted + 1e-9) for kind, wanted in asked.items()) for node in have)
    if not fitting:
        both = " and ".join(f"{wanted:g} {kind}" for kind, wanted in asked.items())
        raise SpecError(f"resources: a trial asks for {both}, and none of {len(have)} nodes has both")
    wanted_slots = spec.resources.concurrent
    return fitting if wanted_slots == "auto" else min(fitting, wanted_slots)
