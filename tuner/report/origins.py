"""Sections on what a study cost, and where its results come from."""

import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from tuner.analysis.formatting import format_duration
from tuner.analysis.ledger import ENTRIES, ledger
from tuner.errors import printable
from tuner.report import specs
from tuner.report.blocks import Block, Column, figure, table, text
from tuner.report.context import Context


def costs(context: Context) -> list[Block]:
    """Show what the time of the slots was spent on."""
    found = ledger(context.study)
    if found is None or not found.slot_seconds:
        return [text(context.id("no_ledger"), "The slots of this study are not recorded, so its time has no ledger.")]
    spent = {name: seconds for name, seconds in found.seconds.items() if seconds}
    frame = pd.DataFrame(
        {
            "entry": list(spent),
            "share": [seconds / found.slot_seconds for seconds in spent.values()],
            "time": [format_duration(seconds) for seconds in spent.values()],
        }
    )
    data = context.add("ledger", frame)
    cells = [
        Column("entry", "text", list(spent)),
        Column("time", "seconds", list(spent.values())),
        Column("share", "percent", frame["share"].tolist()),
        Column("meaning", "text", [ENTRIES[name] for name in spent]),
    ]
    took = f"{format_duration(found.slot_seconds)} of slots in {format_duration(found.wall_seconds)}."
    return [
        figure(context.id("ledger"), "Time of the slots", specs.bars(data, len(spent)), took, width="half"),
        table(context.id("ledger_table"), "Ledger", cells, noun="entries") | {"width": "half"},
    ]


def provenance(context: Context) -> list[Block]:
    """List the runs of a study, and its study file.

    Each run has its source, versions and machine.
    """
    runs = [run for run in context.study.folder.provenance().get("runs", ()) if isinstance(run, Mapping)]
    written = "\n".join(map(printable, context.study.spec.to_yaml().splitlines()))
    blocks: list[Block] = [{"kind": "code", "id": context.id("file"), "title": "Study file", "text": written}]
    if not runs:
        return [text(context.id("no_runs"), "No run is recorded."), *blocks]
    described = [_describe(run) for run in runs]
    times = ("started", "stopped")
    cells = [
        Column(name, "time" if name in times else "text", [each[name] for each in described]) for name in described[0]
    ]
    return [table(context.id("runs"), "Runs", cells, noun="runs"), *blocks]


def _describe(run: Mapping[str, Any]) -> dict[str, str]:
    """Describe a run in the cells of a table."""
    source, hardware, versions, dataset = (
        _mapping(run, name) for name in ("source", "hardware", "versions", "dataset")
    )
    commit = str(source.get("commit") or "unknown")[:12] + (", changed" if source.get("dirty") else "")
    gpus = ", ".join(map(str, hardware.get("gpus") or ()))
    cores = f"{hardware.get('cores', '?')} cores of {hardware.get('processor', 'unknown')}"
    packages = [f"{name} {versions[name]}" for name in ("tuner", "torch", "ray", "optuna") if versions.get(name)]
    command = run.get("command")
    return {
        "started": str(run.get("started_at") or "")[:19].replace("T", " "),
        "stopped": str(run.get("stopped_at") or "")[:19].replace("T", " "),
        "ended by": str(run.get("halted") or ("its end" if run.get("stopped_at") else "")),
        "machine": f"{hardware.get('host', 'unknown')}: {gpus or cores}",
        "source": commit,
        "versions": ", ".join(packages),
        "images": str(dataset.get("fingerprint") or "")[:12],
        "seed": str(run.get("seed", "")),
        "command": shlex.join(map(str, command)) if isinstance(command, list) else "",
    }


def _mapping(run: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = run.get(name)
    return found if isinstance(found, Mapping) else {}
