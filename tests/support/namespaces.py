"""Several machines on one: network namespaces that a bridge connects."""

import os
import shutil
import subprocess
import uuid
from types import TracebackType


def missing() -> str | None:
    """Return the reason why this machine allows no namespaces, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip"
    name = f"t{uuid.uuid4().hex[:6]}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode == 0:
        _ip("netns", "delete", name)
    return made.stderr.strip() or None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Network:
    """A bridge in a namespace, and the machines that it connects.

    Machine n has the address 10.77.0.n. The context manager removes everything at its end.
    """

    def __init__(self) -> None:
        self._name = f"t{uuid.uuid4().hex[:6]}"
        self._namespaces: list[str] = []

    def __enter__(self) -> "Network":
        self._add(self._switch)
        self._in(self._switch, "link", "add", "bridge", "type", "bridge")
        self._in(self._switch, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *raised: type[BaseException] | BaseException | TracebackType | None) -> None:
        for name in self._namespaces:
            _ip("netns", "delete", name)

    @property
    def _switch(self) -> str:
        return f"{self._name}s"

    def _add(self, name: str) -> None:
        _ip("netns", "add", name)
        self._namespaces.append(name)
        self._in(name, "link", "set", "lo", "up")

    def _in(self, name: str, *words: str) -> None:
        _ip("-n", name, *words)

    def join(self, number: int) -> None:
        """Add a machine."""
        name, port = f"{self._name}{number}", f"p{number}"
        self._add(name)
        self._in(self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        self._in(self._switch, "link", "set", port, "master", "bridge", "up")
        self._in(name, "address", "add", f"{address(number)}/24", "dev", "eth0")
        self._in(name, "link", "set", "eth0", "up")
        self._in(
            name, "route", "add", "default", "via", address(1)
        )  # because Ray looks for the address that leads outside

    def pull_the_cable(self, number: int) -> None:
        """Cut a machine off. Its processes live on."""
        self._in(self._switch, "link", "set", f"p{number}", "down")

    def inside(self, number: int) -> list[str]:
        """Return the words before a command that make it run on a machine."""
        return ["ip", "netns", "exec", f"{self._name}{number}"]


def address(number: int) -> str:
    """Return the address of a machine."""
    return f"10.77.0.{number}"
