"""The place of a study on the connected cluster: its nodes and the share of each trial."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from tuner.cluster.nodes import Node, addable, alive, ask_nodes
from tuner.cluster.preflight import NodeReport, check_nodes
from tuner.cluster.slots import TrialResources, await_node, count_slots
from tuner.config.study import StudyConfig
from tuner.data.weights import search_below
from tuner.errors import ClusterError, first_line
from tuner.training.memory_need import MemoryNeed

MEMORY_SHARE = 0.95
"""Share of a GPU's memory that trials may use, because memory pools fragment."""
MEASURE_SECONDS = 300.0
"""Seconds to wait for a GPU before treating it as used by others."""


@dataclass(frozen=True)
class Placement:
    """A study's share of a cluster.

    Attributes:
        trial: Resources of each trial.
        slots: Number of trials that run in parallel at the start.
        nodes: Nodes that were checked and found fit. A study on this machine alone has none.
    """

    trial: TrialResources
    slots: int
    nodes: tuple[NodeReport, ...] = ()


def place(
    spec: StudyConfig,
    dataset: Path,
    data: Path | None,
    *,
    results: str | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Placement:
    """Decide on the resources of trials on the connected cluster.

    A cluster without a node for them may have to grow first.

    Args:
        spec: The study.
        dataset: The data set in the cache of this machine.
        data: Where other machines look for data sets first.
        results: Where the results will be. Every node is checked for it. None: only this machine
            trains, and no node is checked.
        is_stopping: Returns True if the study is being stopped, so that no node is waited for.

    Raises:
        SpecError: Not even one trial fits.
        ClusterError: A node is not fit for the study. Each reason has a line.
    """
    least = _least_resources(spec)
    await_node(least, is_stopping)
    count_slots(spec, least)  # refuses at once what no cluster of this size can do
    reports = () if results is None else tuple(check_nodes(spec, results, dataset, data))
    trial = choose_resources(spec, dataset, data)
    if results is not None and spec.resources.gpu not in (0, "auto"):
        _check_memory(trial.gpu, measure_gpus(spec, dataset, data))
    return Placement(trial, count_slots(spec, trial), reports)


def _least_resources(spec: StudyConfig) -> TrialResources:
    gpu = spec.resources.gpu
    return TrialResources(float(spec.resources.cpu), 0.0 if gpu == "auto" else float(gpu))


def choose_resources(spec: StudyConfig, dataset: Path, data: Path | None) -> TrialResources:
    """Choose what each trial of this study gets.

    `gpu: auto` is no GPU where the cluster has none. Otherwise as many of the largest trials share
    a GPU as fit into its memory and have their cores. A training step on each node with a GPU
    measures that. Nodes that an autoscaler has yet to add cannot be measured, and there a trial
    gets a whole GPU.

    Args:
        spec: The study.
        dataset: The data set in the cache of this machine.
        data: Where other machines look for data sets first.

    Raises:
        ClusterError: The largest trial does not fit into a GPU, torch sees none, or all are in use.
    """
    least = _least_resources(spec)
    if spec.resources.gpu != "auto" or not any(node.get("GPU", 0) for node in _all_nodes()):
        return least
    measured = measure_gpus(spec, dataset, data)
    fitting = [trials_on_a_gpu(node.resources, least.cpu, need) for node, need in measured]
    return TrialResources(least.cpu, share_of_a_gpu(min(fitting, default=1)))


def _all_nodes() -> list[Mapping[str, float]]:
    """List the resources of each living or addable node."""
    return [*(node.resources for node in alive()), *(addable() or [])]


def measure_gpus(spec: StudyConfig, dataset: Path, data: Path | None) -> list[tuple[Node, MemoryNeed]]:
    """Measure the largest trial of a study on a GPU per node.

    Raises:
        ClusterError: It does not fit into a whole GPU, torch sees none, or others use the GPU. Each
            node has a line.
    """
    with_gpu = [node for node in alive() if node.resources.get("GPU", 0)]
    found = ask_nodes(with_gpu, _gpu_need, lambda _: (spec, dataset, data, Path.cwd()), MEASURE_SECONDS)
    problems = [f"node {node}: {problem}" for node, need in found if (problem := _gpu_problem(need))]
    if problems:
        raise ClusterError("\n".join(problems))
    return found


def _gpu_problem(need: MemoryNeed | Exception) -> str | None:
    match need:
        case TimeoutError():
            return f"no GPU was free for {MEASURE_SECONDS:.0f} s; wait for those who use it"
        case Exception():
            return first_line(need)
        case MemoryNeed(bytes=None):
            return f"{need.what} does not fit into its GPU of {gigabytes(need.of)}; make it smaller"
    return None


@ray.remote(num_cpus=0, num_gpus=1, max_calls=1, max_retries=0)
def _gpu_need(spec: StudyConfig, dataset: Path, data: Path | None, directory: Path) -> MemoryNeed:
    from tuner.training.probe import gpu_need  # because torch takes seconds

    search_below(directory)
    return gpu_need(spec, dataset, data)


def _check_memory(gpu: float, measured: list[tuple[Node, MemoryNeed]]) -> None:
    """Refuse a share of a GPU that the largest trial exceeds."""
    problems = [
        f"node {node}: {need.what} takes {gigabytes(need.bytes or 0)}, and {gpu:g} of its GPU is "
        f"{gigabytes(gpu * need.of)}; make it smaller, or resources.gpu larger"
        for node, need in measured
        if gpu < 1 and (need.bytes or 0) > gpu * need.of
    ]
    if problems:
        raise ClusterError("\n".join(problems))


def gigabytes(count: float) -> str:
    """Format a number of bytes for people."""
    return f"{count / 2**30:.1f} GiB"


def trials_on_a_gpu(has: Mapping[str, float], cpu: float, need: MemoryNeed) -> int:
    """Count the trials that share each GPU of a node.

    They fit into its memory and have their cores on the node.
    """
    by_memory = MEMORY_SHARE * need.of // need.bytes if need.bytes else math.inf
    return max(1, int(min(by_memory, has.get("CPU", 0) // (has["GPU"] * cpu))))


def share_of_a_gpu(trials: int) -> float:
    """Return each trial's share of a GPU.

    Ray counts in ten-thousandths.
    """
    return (10_000 // trials) / 10_000
