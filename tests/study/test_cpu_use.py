"""The processor time of workers."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import wait_until
from tuner.study import cpu_use
from tuner.study.cpu_use import CpuUse

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
BUSY = """
import ctypes, time
ctypes.CDLL(None).prctl(15, b"ray::Trial (x)", 0, 0, 0)
print("named", flush=True)
while time.process_time() < 60: pass
"""


@pytest.fixture
def worker() -> Iterator[int]:
    """A process with a worker's name that is always busy."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_cores_of_busy_worker_are_measured(worker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_use, "SAMPLE_SECONDS", 0.2)
    use, reports = CpuUse(), {3: {"pid": worker, "hostname": socket.gethostname()}}
    assert use.cores(reports) == {}
    wait_until(lambda: use.cores(reports))
    assert 0 < use.cores(reports)[3] < 1.5


def test_other_processes_and_nodes_have_no_figure(worker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_use, "SAMPLE_SECONDS", 0.0)
    here = socket.gethostname()
    reports = {0: {"pid": os.getpid(), "hostname": here}, 1: {"pid": worker, "hostname": "elsewhere"}, 2: {}}
    use = CpuUse()
    assert [dict(use.cores(reports)) for _ in range(3)] == [{}, {}, {}]
