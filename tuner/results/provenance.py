"""Where results come from: what ran, on what, from which sources."""

import json
import os
import platform
import socket
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuner import __version__

PACKAGES = ("ray", "torch", "torchvision", "optuna", "cmaes", "numpy", "pandas", "pyarrow", "scikit-learn")

SOURCE = "TUNER_SOURCE"
"""Environment variable of a copy of this package that travelled: `source` of the checkout that it was copied from."""

COMMAND = "TUNER_COMMAND"
"""Environment variable of a job on a cluster: the command that handed it over, for what it says of going on."""


def describe_run(dataset: dict[str, Any], seed: int) -> dict[str, Any]:
    """One run of a study: source, versions, hardware, data and command line; times are added by the caller."""
    return {
        "source": source(Path(__file__)),
        "python": platform.python_version(),
        "versions": {"tuner": __version__, **{name: _version(name) for name in PACKAGES}},
        "hardware": _hardware(),
        "dataset": dataset,
        "seed": seed,
        "command": sys.orig_argv,
        "directory": str(Path.cwd()),
    }


def source(file: Path) -> dict[str, Any]:
    """Commit of the checkout that tracks `file`, and whether its folder differs from it; None without one."""
    if SOURCE in os.environ:
        travelled: dict[str, Any] = json.loads(os.environ[SOURCE])
        return travelled
    # A package installed below somebody else's checkout is not of that checkout: the file itself must be tracked.
    if _output("git", "-C", str(file.parent), "ls-files", "--error-unmatch", file.name) is None:
        return {"commit": None, "dirty": None}
    commit = _output("git", "-C", str(file.parent), "rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_output("git", "-C", str(file.parent), "status", "--porcelain", "--", "."))}


def _output(*command: str) -> str | None:
    """What a program prints; None where there is no such program or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _hardware() -> dict[str, Any]:
    """This machine: processor, cores, bytes of memory, and its NVIDIA GPUs as name, memory, driver."""
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
