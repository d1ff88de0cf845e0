"""Provenance of results: the sources, the versions and the machine that produced them."""

import json
import os
import platform
import socket
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner import __version__
from tuner.storage.redaction import redact_command

PACKAGES = ("ray", "torch", "torchvision", "timm", "optuna", "cmaes", "numpy", "pandas", "pyarrow", "scikit-learn")

SOURCE = "TUNER_SOURCE"
"""Environment variable of a copied package with its checkout's `source`."""

COMMAND = "TUNER_COMMAND"
"""Environment variable of a job with the command that submitted it."""


def describe_run(dataset: dict[str, Any], seed: int) -> dict[str, Any]:
    """Describe one run: source, versions, hardware, data and command line.

    The caller adds the times.
    """
    return {
        "source": source(Path(__file__)),
        "python": platform.python_version(),
        "versions": package_versions(),
        "hardware": _hardware(),
        "dataset": dataset,
        "seed": seed,
        "command": redact_command(sys.orig_argv),
        "directory": str(Path.cwd()),
    }


def package_versions() -> dict[str, str | None]:
    """Return the version of this package and of those that decide numbers."""
    return {"tuner": __version__, **{name: installed_version(name) for name in PACKAGES}}


def source(file: Path) -> dict[str, Any]:
    """Find the commit of the checkout that tracks `file`.

    Also find if the file's folder differs from the commit. Both are None outside a checkout.
    """
    if SOURCE in os.environ:
        copied_from: dict[str, Any] = json.loads(os.environ[SOURCE])
        return copied_from
    # The file itself must be tracked, because a package may be installed below another checkout.
    if _output("git", "-C", str(file.parent), "ls-files", "--error-unmatch", file.name) is None:
        return {"commit": None, "dirty": None}
    commit = _output("git", "-C", str(file.parent), "rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(file.parent), "status", "--porcelain", "--", "."))}


def _output(*command: str) -> str | None:
    """Return the output of a program.

    Return None if the program is missing or fails.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def installed_version(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _hardware() -> dict[str, Any]:
    """Describe this machine: processor, cores, bytes of memory, and NVIDIA GPUs."""
    gpus = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": gpus.splitlines() if gpus else [],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
