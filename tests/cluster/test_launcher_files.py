"""The files for Ray's cluster launcher and for KubeRay, read by Ray."""

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from tuner.cluster.nodes import autoscaler_capacity

ROOT = Path(__file__).parents[2]
LAUNCHER = ["cluster.yaml", "clusters/local.yaml"]
MANIFEST = "clusters/kuberay.yaml"
SCALED = [("cluster.yaml", "gpu_spot", "gpu_on_demand"), (MANIFEST, "gpu-spot", "gpu-on-demand")]
Config = dict[str, Any]


def read(file: str) -> Config:
    config: Config = yaml.safe_load((ROOT / file).read_text())  # as Ray reads it
    return config


def prepared(file: str) -> Config:
    """Return a launcher's file with Ray's defaults, or a manifest as its autoscaler reads it."""
    config = read(file)
    return _derive_autoscaling_config_from_ray_cr(config) if file == MANIFEST else prepare_config(config)


def launched(file: str, trials: int, not_to_be_had: str = "") -> Counter[str]:
    """Count the workers by type that Ray's autoscaler starts for trials of one GPU."""
    config = AutoscalingConfig(prepared(file), skip_content_hash=True)
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_worker_nodes(),  # the head is not in the request
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make({"CPU": 1, "GPU": 1})] * trials),
        recoverable_resource_availabilities={not_to_be_had: 0.0},
    )
    return Counter(
        {launch.instance_type: launch.count for launch in ResourceDemandScheduler().schedule(request).to_launch}
    )


@pytest.mark.parametrize("file", [*LAUNCHER, MANIFEST])
def test_cluster_file_passes_rays_schema(file: str) -> None:
    validate_config(prepared(file))


@pytest.mark.parametrize("file", LAUNCHER)
def test_rays_schema_refuses_unknown_key(file: str) -> None:
    with pytest.raises(ValidationError, match="idle_minutes"):
        validate_config(prepare_config(read(file) | {"idle_minutes": 5}))


@pytest.mark.parametrize(("file", "spot", "on_demand"), SCALED)
def test_autoscaler_prefers_spot_over_on_demand(file: str, spot: str, on_demand: str) -> None:
    assert launched(file, 3) == {spot: 3}
    assert launched(file, 3, not_to_be_had=spot) == {on_demand: 3}
    assert launched(file, 0) == {}


@pytest.mark.parametrize(("file", "most"), [("cluster.yaml", 8), (MANIFEST, 12)])
def test_autoscaler_stays_below_max_workers(file: str, most: int) -> None:
    assert launched(file, 100).total() == prepared(file)["max_workers"] == most


def test_launcher_file_states_max_workers() -> None:
    for file in LAUNCHER:
        assert read(file)["max_workers"] == prepared(file)["max_workers"]


def test_local_cluster_uses_all_machines() -> None:
    (machines,) = prepared("clusters/local.yaml")["available_node_types"].values()
    assert (
        machines["min_workers"] == machines["max_workers"] == len(read("clusters/local.yaml")["provider"]["worker_ips"])
    )


@pytest.mark.parametrize("file", ["cluster.yaml", MANIFEST])
def test_scaling_head_node_has_no_cores(file: str) -> None:
    config = prepared(file)
    assert config["available_node_types"][config["head_node_type"]]["resources"]["CPU"] == 0


@pytest.mark.parametrize("file", LAUNCHER)
def test_launcher_mounts_hold_what_installation_needs(file: str) -> None:
    mounts = read(file)["file_mounts"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        "pyproject.toml",
        "constraints.txt",
        project["project"]["readme"],
        *wheel["packages"],
        *wheel["force-include"],
    ]
    assert {Path(name).parts[0] for name in needed} <= {*mounts.values()}
    for remote, local in mounts.items():
        assert (ROOT / local).exists()
        assert remote.endswith(f"/tuner/{local}")
    assert any("--constraint ~/tuner/constraints.txt" in command for command in read(file)["setup_commands"])


def test_cluster_files_name_tested_versions() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    for file in LAUNCHER:
        assert f"uv venv --python {wanted} " in " ".join(read(file)["setup_commands"])
    assert f"ray=={read(MANIFEST)['spec']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize("file", [*LAUNCHER, MANIFEST])
def test_cluster_files_shorten_health_checks(file: str) -> None:
    said = re.findall(r'RAY_([a-z_]+)(?:=|, value: ")(\d+)', (ROOT / file).read_text())
    assert {name for name, _ in said} == {"health_check_timeout_ms", "health_check_failure_threshold"}
    for name, value in said:
        assert int(value) < getattr(ray._config, name)()


def test_autoscaler_capacity_lists_spot_workers_first(tmp_path: Path) -> None:
    config = prepared("cluster.yaml")
    config["available_node_types"]["gpu_spot"]["resources"] = {"CPU": 4, "GPU": 1}  # to tell them apart
    config["available_node_types"]["gpu_spot"]["max_workers"] = 5
    left = tmp_path / "ray_bootstrap_config.yaml"
    left.write_text(yaml.safe_dump(config))
    assert [worker["CPU"] for worker in autoscaler_capacity(left, 0)] == [4, 4, 4, 4, 4, 8, 8, 8]
    assert [worker["CPU"] for worker in autoscaler_capacity(left, 4)] == [4, 8, 8, 8]
    assert autoscaler_capacity(left, 8) == autoscaler_capacity(left, 9) == []
