"""Commands that the permissions of files bind, whoever runs the tests."""

import os
import shutil

BYPASSES = "-dac_override,-dac_read_search"
"""Capabilities by which root reads and writes what it may not."""
MISSING = None if os.getuid() or shutil.which("setpriv") else "root needs setpriv to give up its capabilities"
"""Why no command can be bound, or None."""


def bound(command: list[str]) -> list[str]:
    """Return a command that may not read or write what permissions forbid."""
    if os.getuid():
        return command
    return ["setpriv", f"--bounding-set={BYPASSES}", f"--inh-caps={BYPASSES}", *command]
