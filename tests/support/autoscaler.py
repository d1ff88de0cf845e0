"""A cluster that grows: Ray's own fake autoscaler starts real nodes on this machine."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from tests.support.nodes import RayNode

HEAD_TYPE = "ray.head.default"
PORT = 6379
"""Port of the head node, which the fake provider expects."""
ENVIRONMENT = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
VERSIONS = {
    "v1": {},
    "v2": {
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    },
}
"""Environment of a head node with each version of Ray's autoscaler."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


def port_is_taken() -> bool:
    """Return True if another head node may be running on this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def write_config(file: Path, types: dict[str, int], idle_minutes: float = 0.05) -> None:
    """Write what an autoscaler may start: each type of worker node has some cores.

    An autoscaler reads the file again at each of its rounds.
    """
    workers = {
        name: {
            "resources": {"CPU": cores, "object_store_memory": 100 << 20},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 1,
        }
        for name, cores in types.items()
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    config = {
        "cluster_name": "fake",
        "max_workers": len(types),
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",  # because the defaults of `fake_multinode` are not in Ray's wheel
            "module": PROVIDER,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": FAKE_HEAD_NODE_ID,
        },
        "auth": {},
        "docker": {},
        "head_node_type": HEAD_TYPE,
        "available_node_types": {HEAD_TYPE: head, **workers},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{name}_commands": [] for name in commands},
    }
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(config))
    aside.replace(file)


@contextmanager
def growing_cluster(folder: Path, config: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a head node without cores whose autoscaler reads `config`, and yield its address.

    Args:
        folder: Parent of Ray's temp directory. Its path must be short.
        config: The file of `write_config`.
        environment: Environment of the head node, with one of `VERSIONS`.
    """
    arguments = ["--head", f"--port={PORT}", f"--temp-dir={folder}/ray", "--include-dashboard=false"]
    node = RayNode(
        *arguments,
        f"--autoscaling-config={config}",
        "--num-cpus=0",
        folder=folder,
        environment=environment | ENVIRONMENT,
    )
    try:
        node.wait_for_port("127.0.0.1", PORT)
        yield f"127.0.0.1:{PORT}"
    finally:
        node.kill()
