"""Waiting for an event, however slow the machine is."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600
"""Seconds to wait for what surely comes, unless the code is broken."""


def wait_until(true: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> None:
    """Wait until a condition is true. Fail when the process ends first."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert process is None or process.poll() is None, process and process.communicate()
        assert time.monotonic() < end, f"in vain for {PATIENCE} seconds"
        time.sleep(0.05)
