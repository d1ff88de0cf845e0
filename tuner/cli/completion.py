"""Completion of names in a shell: studies of a results directory, and study files."""

from collections.abc import Iterator
from pathlib import Path

import typer

from tuner.storage import is_url


def complete_study(ctx: typer.Context, incomplete: str) -> list[str]:
    """List the studies whose names begin with `incomplete`.

    The results directory is that of `--results`, its environment variable or its default. An object
    store is not asked, because a shell waits for the answer.
    """
    results = str(ctx.params.get("results") or "results")
    if is_url(results):
        return []
    found = (file.parent.name for file in Path(results).glob("*/study.yaml"))
    return sorted(name for name in found if name.startswith(incomplete) and not name.startswith("."))


def complete_study_file(incomplete: str) -> list[str]:
    """List the YAML files and folders whose paths begin with `incomplete`.

    The contents of a folder follow where it is the only match, because a shell would add a space.
    """
    found = sorted(_matches(incomplete))
    while len(found) == 1 and found[0].endswith("/") and (inside := sorted(_matches(found[0]))):
        found = inside
    return found


def _matches(incomplete: str) -> Iterator[str]:
    start, slash, name = incomplete.rpartition("/")
    try:
        entries = list(Path(f"{start}{slash}").expanduser().iterdir())
    except (OSError, RuntimeError):  # no such folder or user
        return
    for entry in entries:
        is_hidden = entry.name.startswith(".") and not name.startswith(".")
        if not entry.name.startswith(name) or is_hidden:
            continue
        if entry.suffix in (".yaml", ".yml"):
            yield f"{start}{slash}{entry.name}"
        elif entry.is_dir():
            yield f"{start}{slash}{entry.name}/"
