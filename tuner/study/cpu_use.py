"""The processor time of workers on this machine, from Linux's `/proc`."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tuner.study.observer import Row

SAMPLE_SECONDS = 2.0
"""Seconds between two readings, because shorter ones measure whole clock ticks."""


class CpuUse:
    """The cores that each running trial's worker uses.

    Workers on other nodes, and systems without `/proc`, have no figure.
    """

    def __init__(self) -> None:
        self._host = socket.gethostname()
        self._read_at = 0.0
        self._seconds: dict[int, float] = {}
        self._cores: dict[int, float] = {}

    def cores(self, reports: Mapping[int, Row]) -> Mapping[int, float]:
        """Return the cores that trials used between the last two readings.

        Args:
            reports: The last report of each running trial, with `pid` and `hostname`.
        """
        now = time.monotonic()
        passed = now - self._read_at
        if passed < SAMPLE_SECONDS:
            return self._cores
        before, self._seconds = self._seconds, {}
        pids = {number: report.get("pid") for number, report in list(reports.items()) if self._is_here(report)}
        for number, pid in pids.items():
            seconds = None if pid is None else _worker_seconds(pid)
            if seconds is not None:
                self._seconds[number] = seconds
        self._read_at = now
        known = self._seconds.keys() & before.keys()
        self._cores = {number: max(0.0, self._seconds[number] - before[number]) / passed for number in known}
        return self._cores

    def _is_here(self, report: Row) -> bool:
        return bool(report.get("hostname") == self._host)


def _worker_seconds(pid: int) -> float | None:
    """Return the processor time of a Ray worker.

    None if the process has ended or is no Ray worker.
    """
    with suppress(OSError, ValueError, IndexError):
        name, _, fields = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        if name.startswith("ray::"):
            user, system = fields.split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return None
