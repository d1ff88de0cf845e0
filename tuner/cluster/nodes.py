"""The nodes of the connected cluster, and those that its autoscaler would add."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ruamel.yaml import YAML

from tuner.cluster import connection
from tuner.search.ray_internals import autoscaler_node_types
from tuner.storage.scratch import home_folder

HEAD = "node:__internal_head__"
"""Ray's name for a resource that only the head node has."""


@dataclass(frozen=True)
class Node:
    """A machine of the connected cluster.

    Attributes:
        id: Ray's identifier of the node.
        host: Its host name.
        address: Its IP address.
        resources: `{'CPU': 8.0, 'GPU': 1.0}`.
    """

    id: str
    host: str
    address: str
    resources: dict[str, float]

    def __str__(self) -> str:
        return f"{self.host} ({self.address})"


def alive() -> list[Node]:
    """List the living nodes of the connected cluster."""
    return [
        Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            {kind: node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU") if node["Resources"].get(kind)},
        )
        for node in _living()
    ]


def living_resources() -> list[dict[str, float]]:
    """List the resources of each living node: `[{'CPU': 2.0, 'GPU': 1.0}]`."""
    return [node.resources for node in alive()]


def addable() -> list[dict[str, float]] | None:
    """List the resources of each node that an autoscaler may still add.

    The types of nodes are known only on a head node that Ray's launcher started. None: there is an
    autoscaler, and nobody knows what it may add.
    """
    if not connection.joined():
        return []
    living = _living()
    config = home_folder() / "ray_bootstrap_config.yaml"
    if _is_head(living) and config.exists():
        return autoscaler_capacity(config, len(living) - 1)
    return None if autoscaler_node_types() else []


def _living() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _is_head(living: list[dict[str, Any]]) -> bool:
    address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return any(HEAD in node["Resources"] and node["NodeManagerAddress"] == address for node in living)


def autoscaler_capacity(config: Path, running: int) -> list[dict[str, float]]:
    """List the resources of worker nodes that an autoscaler may add.

    Args:
        config: The file that Ray's launcher leaves on a head node.
        running: Number of running worker nodes.
    """
    cluster: dict[str, Any] = YAML(typ="safe").load(config)
    head = cluster["head_node_type"]
    types = [details for name, details in cluster["available_node_types"].items() if name != head]
    types.sort(key=lambda details: details.get("priority", 0), reverse=True)  # the running ones first
    workers = [details["resources"] for details in types for _ in range(details["max_workers"])]
    return workers[running : cluster["max_workers"]]


def ask_nodes(
    asked: Iterable[Node], task: Any, arguments: Callable[[Node], tuple[Any, ...]], timeout: float
) -> list[tuple[Node, Any]]:
    """Run a task on each of some nodes at the same time.

    Args:
        asked: The nodes.
        task: A Ray task.
        arguments: The task's arguments on a node.
        timeout: Seconds to wait for a node. A task that takes longer is cancelled.

    Returns:
        Each node with the task's result, or with the error that it raised. The error is a
        TimeoutError where the node did not answer in time.
    """
    running = []
    for node in asked:
        pinned = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False))
        running.append((node, pinned.remote(*arguments(node))))
    return [(node, _result(reference, timeout)) for node, reference in running]


def _result(reference: "ray.ObjectRef[Any]", timeout: float) -> Any:
    try:
        return ray.get(reference, timeout=timeout)
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference, force=True)
        return TimeoutError()
    except ray.exceptions.RayError as error:
        return getattr(error, "cause", None) or error
