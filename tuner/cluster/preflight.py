"""The check of every node before a study starts, so that nothing starts where it would fail."""

import platform
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

import tuner
from tuner.cluster.nodes import alive, ask_nodes
from tuner.config.registry import architecture
from tuner.config.study import StudyConfig
from tuner.config.user_models import library_of
from tuner.data.cache import ensure_cached
from tuner.data.weights import hash_all, search_below
from tuner.errors import ClusterError, UserError
from tuner.results.provenance import installed_version
from tuner.storage import open_storage

CHECK_SECONDS = 900.0
"""Seconds to wait for a node, which may have to fetch and decode a data set."""


@dataclass(frozen=True)
class NodeReport:
    """A node that is fit for a study.

    Attributes:
        node: Its host and address.
        resources: `{'CPU': 8.0, 'GPU': 1.0}`.
        versions: Of Python, Ray, torch, this package and the libraries of the study's networks, as
            trials meet them on the node.
    """

    node: str
    resources: dict[str, float]
    versions: dict[str, str]


@dataclass(frozen=True)
class NodeAnswer:
    """The answer of a node.

    Attributes:
        versions: As in `NodeReport`.
        problems: Reasons why the study cannot run on the node.
        written: Name of the file that the node wrote for the driver to find, or None.
    """

    versions: dict[str, str]
    problems: list[str]
    written: str | None


def check_nodes(spec: StudyConfig, results: str, dataset: Path, data: Path | None) -> list[NodeReport]:
    """Ask each node of the cluster if it can run this study.

    Its versions must be those of this process. Each must read what the other writes into the
    results directory. A data set that a node lacks is fetched and decoded on it.

    Args:
        spec: The study.
        results: Where its tables and checkpoints will be: a folder or `s3://…`, which exists.
        dataset: The data set in the cache of this machine.
        data: Where other machines look for data sets first.

    Raises:
        ClusterError: A line for each problem, with the node and the remedy.
    """
    storage, token = open_storage(results), f".preflight-{uuid.uuid4().hex[:12]}"
    asked = alive()
    weights = hash_all(spec.weights, data)
    storage.write(token, b"")
    try:
        results_of = ask_nodes(
            asked,
            _check_here,
            lambda node: (results, token, node.id, spec, dataset, data, weights, Path.cwd()),
            CHECK_SECONDS,
        )
        still_alive = {node.id for node in alive()}
        answers = [(node, _answer(found)) for node, found in results_of if node.id in still_alive]
        required = versions(spec)
        problems = [
            f"node {node}: {problem}" for node, answer in answers for problem in _problems(answer, storage, required)
        ]
    finally:
        for name in (token, *(f"{token}-{node.id}" for node in asked)):
            with suppress(OSError):
                storage.remove(name)
    if problems:
        raise ClusterError("\n".join(problems))
    return [NodeReport(str(node), node.resources, answer.versions) for node, answer in answers]


def _answer(found: Any) -> NodeAnswer:
    """Return a node's answer.

    A node that could not answer has that as its problem.
    """
    if isinstance(found, TimeoutError):
        return NodeAnswer({}, [f"no answer within {CHECK_SECONDS:.0f} s; is it overloaded?"], None)
    if isinstance(found, Exception):
        lines = [line.strip() for line in str(found).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(found).__name__
        return NodeAnswer({}, [f"cannot run this package: {reason}"], None)
    answer: NodeAnswer = found
    return answer


def _problems(answer: NodeAnswer, storage: Any, required: Mapping[str, str]) -> list[str]:
    problems = [*other_versions(answer.versions, required), *answer.problems]
    if answer.written and not storage.exists(answer.written):
        problems.append(_not_shared(storage))
    return problems


@ray.remote(num_cpus=0, max_retries=0)
def _check_here(
    results: str,
    token: str,
    node: str,
    spec: StudyConfig,
    dataset: Path,
    data: Path | None,
    weights: Mapping[str, str],
    directory: Path,
) -> NodeAnswer:
    """Check the node that this task runs on."""
    storage, written, problems = open_storage(results), f"{token}-{node}", []
    try:
        if storage.exists(token):
            storage.write(written, b"")
        else:
            problems.append(_not_shared(storage))
    except (OSError, UserError) as error:
        problems.append(f"{results} cannot be written: {error}")
    try:
        ensure_cached(dataset, spec.dataset, data)
        search_below(directory)
        for name in filter(library_of, spec.architectures):
            architecture(name)
        found = hash_all(spec.weights, data)
        problems += [f"{name}: the file is not the study's" for name in weights if found[name] != weights[name]]
    except UserError as error:
        problems.append(str(error))
    return NodeAnswer(versions(spec), problems, None if problems else written)


def versions(spec: StudyConfig) -> dict[str, str]:
    """Return this process's versions that must agree on all nodes of a study."""
    found = {"Python": platform.python_version(), "tuner": tuner.__version__}
    libraries = sorted({*filter(None, map(library_of, spec.architectures))})
    return found | {package: installed_version(package) or "none" for package in ("ray", "torch", *libraries)}


def other_versions(of_node: Mapping[str, str], required: Mapping[str, str]) -> list[str]:
    """Describe each version of a node that is not the driver's."""
    return [
        f"has {package} {found}, but the driver has {required[package]}; nodes must have the same (constraints.txt)"
        for package, found in of_node.items()
        if found != required[package]
    ]


def _not_shared(storage: Any) -> str:
    return f"does not share {storage} with this machine; --results: a folder that all nodes see, or s3://BUCKET/PREFIX"
