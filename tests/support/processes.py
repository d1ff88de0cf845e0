"""Processes of this machine, as /proc lists them."""

from contextlib import suppress
from pathlib import Path


def descendants(process: int) -> set[int]:
    """Return the processes that a process has started, and those that these have started."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, new = set[int](), [process]
    while new:
        children = parents.get(new.pop(), [])
        found |= {*children}
        new += children
    return found


def alive(process: int) -> bool:
    """Return True if a process runs."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
