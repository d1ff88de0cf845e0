"""Before a study starts on a cluster: a look at every node, so that nothing starts where it would fail."""

import platform
import uuid
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import tuner
from tuner.cluster.nodes import Node, alive
from tuner.config.dataset import DatasetConfig
from tuner.config.study import StudyConfig
from tuner.data.cache import ensure_cached
from tuner.errors import ClusterError, UserError
from tuner.storage import open_storage

LOOK_SECONDS = 900.0
"""A node has so long to answer; most of it is for a data set that has to be fetched and decoded there."""


@dataclass(frozen=True)
class NodeReport:
    """A node that is fit for a study.

    Attributes:
        node: Its host and address.
        resources: `{'CPU': 8.0, 'GPU': 1.0}`.
        versions: Of Python, Ray, torch and this package, as trials meet them there.
    """

    node: str
    resources: dict[str, float]
    versions: dict[str, str]


def check_nodes(spec: StudyConfig, results: str, dataset: Path, data: Path | None) -> list[NodeReport]:
    """Ask each node of the cluster that is connected whether this study can run there.

    Versions agree with those of this process; what a node writes into the results directory is read here, and the other
    way round; the data set is at hand, fetched and decoded where it was not.

    Args:
        spec: The study.
        results: Where its tables and checkpoints will be: a folder or `s3://…`, which exists.
        dataset: The data set as the cache of this machine holds it.
        data: Where data sets are looked for first on other machines.

    Raises:
        ClusterError: A line for each thing that is wrong, with the node and the remedy.
    """
    storage, token = open_storage(results), f".preflight-{uuid.uuid4().hex[:12]}"
    there = alive()
    storage.write(token, b"")
    try:
        looks = [_look_at(node, results, token, spec.dataset, dataset, data) for node in there]
        answered = [(node, _answer(look)) for node, look in zip(there, looks, strict=True)]
        living = {node.id for node in alive()}
        answers = [(node, answer) for node, answer in answered if node.id in living]  # others died meanwhile
        problems: list[str] = []
        for node, answer in answers:
            found = [*_differing(answer["versions"]), *answer["problems"]]
            if answer["wrote"] and not storage.exists(answer["wrote"]):
                found.append(_not_shared(storage))
            problems += [f"node {node}: {problem}" for problem in found]
    finally:
        for name in (token, *(f"{token}-{node.id}" for node in there)):
            with suppress(OSError):
                storage.remove(name)
    if problems:
        raise ClusterError("\n".join(problems))
    return [NodeReport(str(node), node.resources, answer["versions"]) for node, answer in answers]


def _look_at(
    node: Node, results: str, token: str, config: DatasetConfig, dataset: Path, data: Path | None
) -> "ray.ObjectRef[Any]":
    pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return _look.options(scheduling_strategy=pinned).remote(results, token, node.id, config, dataset, data)


def _answer(look: "ray.ObjectRef[Any]") -> dict[str, Any]:
    """What a node found; where it could not look, that is the problem."""
    nothing: dict[str, Any] = {"versions": {}, "wrote": None}
    try:
        answer: dict[str, Any] = ray.get(look, timeout=LOOK_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return {**nothing, "problems": [f"no answer within {LOOK_SECONDS:.0f} s; is it overloaded?"]}
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error
        reason = next((line for line in reversed(str(cause).splitlines()) if line.strip()), type(cause).__name__)
        return {**nothing, "problems": [f"cannot run this package: {reason.strip()}"]}
    return answer


@ray.remote(num_cpus=0, max_retries=0)
def _look(
    results: str, token: str, node: str, config: DatasetConfig, dataset: Path, data: Path | None
) -> dict[str, Any]:
    """On a node: versions, what is wrong, and the name of the file that it wrote for the driver to find."""
    storage, wrote, problems = open_storage(results), f"{token}-{node}", []
    try:
        if storage.exists(token):
            storage.write(wrote, b"")
        else:
            problems.append(_not_shared(storage))
    except (OSError, UserError) as error:
        problems.append(f"{results} cannot be written: {error}")
    try:
        ensure_cached(dataset, config, data)
    except UserError as error:
        problems.append(str(error))
    return {"versions": versions(), "problems": problems, "wrote": None if problems else wrote}


def versions() -> dict[str, str]:
    """What must agree on all nodes, as this process has it."""
    found = {"Python": platform.python_version(), "tuner": tuner.__version__}
    for package in ("ray", "torch"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def _differing(theirs: dict[str, str]) -> list[str]:
    here = versions()
    return [
        f"has {package} {theirs[package]}, but {here[package]} is here; nodes must have the same (constraints.txt)"
        for package in theirs
        if theirs[package] != here[package]
    ]


def _not_shared(storage: Any) -> str:
    return f"does not share {storage} with this machine; --results: a folder that all nodes see, or s3://BUCKET/PREFIX"
