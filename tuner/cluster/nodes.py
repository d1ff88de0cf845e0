"""The nodes of the cluster that is connected, and those that its autoscaler would add."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ruamel.yaml import YAML

from tuner.cluster import connection

HEAD = "node:__internal_head__"
"""Ray's name for what only the head has."""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster that is connected.

    Attributes:
        id: Ray's name for it.
        host: Its own name.
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
    """The nodes of the cluster that is connected."""
    there = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [
        Node(
            node["NodeID"],
            node["NodeManagerHostname"],
            node["NodeManagerAddress"],
            {kind: node["Resources"].get(kind, 0.0) for kind in ("CPU", "GPU") if node["Resources"].get(kind)},
        )
        for node in there
    ]


def nodes() -> list[dict[str, float]]:
    """Resources of each node of the cluster that is connected: `[{'CPU': 2.0, 'GPU': 1.0}]`.

    On the head of a cluster of Ray's launcher, also of each worker that its autoscaler would add if trials waited.
    """
    there = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    resources: list[dict[str, float]] = [node["Resources"] for node in there]
    here = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    if connection.joined() and any(HEAD in node["Resources"] and node["NodeManagerAddress"] == here for node in there):
        resources += autoscaler_capacity(Path("~/ray_bootstrap_config.yaml").expanduser(), len(there) - 1)
    return resources


def autoscaler_capacity(config: Path, running: int) -> list[dict[str, float]]:
    """Resources of each worker that an autoscaler may add to those that are running, as far as that is known.

    Args:
        config: What Ray's launcher leaves on a head for the autoscaler; none where the cluster was started otherwise.
        running: Workers that there are.
    """
    if not config.exists():
        return []
    cluster: dict[str, Any] = YAML(typ="safe").load(config)
    types = [of for name, of in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    types.sort(key=lambda of: of.get("priority", 0), reverse=True)  # as the autoscaler, so the first are running
    workers = [of["resources"] for of in types for _ in range(of["max_workers"])]
    return workers[running : cluster["max_workers"]]
