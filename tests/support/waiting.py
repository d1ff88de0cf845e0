"""Waiting for an event, however slow the machine is."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 600
"""Seconds to wait for what surely comes, unless the code is broken."""


def wait_until(true: Callable[[], Any]) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"in vain for {PATIENCE} seconds"
        time.sleep(0.05)
