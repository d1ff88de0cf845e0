"""Compute capability of a cluster's GPUs, which decides `precision: auto` once per study."""

import subprocess

import ray

from tuner.cluster.nodes import alive, ask_nodes

ANSWER_SECONDS = 60.0
"""Seconds to wait for a node's answer before leaving it out."""

Capability = tuple[int, int]


def lowest_capability() -> Capability | None:
    """Return the lowest compute capability of the connected cluster's GPUs.

    Return None if it is unknown.
    """
    with_gpu = [node for node in alive() if node.resources.get("GPU", 0)]
    answers = ask_nodes(with_gpu, _capabilities, lambda _: (), ANSWER_SECONDS)
    return min((each for _, answer in answers if isinstance(answer, list) for each in answer), default=None)


@ray.remote(num_cpus=0, max_calls=1, max_retries=0)
def _capabilities() -> list[Capability]:
    """Ask a node's driver, because torch would need a free GPU."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    return parse_capabilities(subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout)


def parse_capabilities(output: str) -> list[Capability]:
    """Parse one compute capability per line, such as `9.0`, ignoring other lines."""
    parts = [line.strip().partition(".") for line in output.splitlines()]
    return [(int(major), int(minor)) for major, _, minor in parts if major.isdigit() and minor.isdigit()]
