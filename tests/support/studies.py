"""Studies that were never run, written as a run leaves them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tuner.config.study import parse_spec
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.schema import Table

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPACE = {
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "dropout": {"float": [0.0, 0.5]},
    "batch_size": {"choice": [16, 32, 64]},
    "dense": {"int": [8, 128], "log": True},
}
NETWORK = {"training": {"architecture": "vazquez_base"}}
HOSTILE = "<script>alert(1)</script><!-- \"'&amp; \u202eabc\u202c \u05d0\u05d1 😀 </style>{{ 7*7 }}"
OWN_NETWORK = {"training": {"architecture": "mine.nets:Net"}}
Row = dict[str, Any]


def write_study(folder: Path, settings: Mapping[str, Any], **tables: Iterable[Row]) -> StudyResults:
    """Write a study with some rows of its tables."""
    spec = parse_spec({"study": folder.name, "space": SPACE, **NETWORK, **settings}, stored=True)
    found = StudyFolder(folder)
    found.storage.create()
    found.write_spec(spec)
    written = found.tables(spec)
    names: list[Table] = ["trials", "epochs", "decisions", "predictions", "classes"]
    for name in names:
        for row in tables.get(name, ()):
            written.append(name, row)
    written.flush()
    return StudyResults(found, spec)


def trial_row(number: int, value: float | None = None, state: str = "COMPLETE", **cells: Any) -> Row:
    """Make the row of a trial, with parameters that depend on its number."""
    place = (number * 0.618 + 0.1) % 1
    epochs = {"epochs_run": 8 if state == "COMPLETE" else 2, "epochs_planned": 8}
    accuracy = {"val_accuracy": value, "test_accuracy": value if state == "COMPLETE" else None}
    parameters = {
        "param_learning_rate": 1e-4 * 1000**place,
        "param_dropout": 0.5 * ((number * 0.377) % 1),
        "param_batch_size": (16, 32, 64)[number % 3],
        "param_dense": int(8 * 16 ** ((number * 0.755) % 1)),
    }
    times = {"started_at": START, "updated_at": START + timedelta(seconds=10 * number + 9)}
    fixed = {"number": number, "attempt": 1, "purpose": "search", "origin": "tpe", "seconds": 4.0, "train_seconds": 3.0}
    values = {"state": state, "value": value, "values": None if value is None else [value]}
    return {**fixed, **times, **values, **epochs, **accuracy, **parameters, **cells}


def epoch_rows(number: int, values: Iterable[float]) -> list[Row]:
    """Make the rows of a trial's epochs, one second apart."""
    return [
        {
            "number": number,
            "attempt": 1,
            "epoch": epoch,
            "val_accuracy": value,
            "val_loss": 2 - value,
            "images_per_second": 100.0,
            "train_seconds": float(epoch),
            "seconds": 1.0,
            "at": START + timedelta(seconds=10 * number + epoch),
        }
        for epoch, value in enumerate(values, start=1)
    ]


def made_up_study(folder: Path, count: int, **settings: Any) -> StudyResults:
    """Write a study of which one trial in eight completes, and few fail."""
    draws = np.random.default_rng(0)
    trials, epochs, decisions = [], [], []
    for number in range(count):
        state = "COMPLETE" if number % 8 == 0 else "FAILED" if number % 101 == 7 else "PRUNED"
        length = {"COMPLETE": 8, "FAILED": 1, "PRUNED": 2}[state]
        curve = 1 - 0.9 * np.exp(-np.arange(1, length + 1) * draws.uniform(0.05, 0.6))
        error = {"error": "loss is not finite", "error_kind": "diverged"} if state == "FAILED" else {}
        row = trial_row(number, float(curve[-1]), state, epochs_run=length, **error)
        trials.append(row)
        epochs += epoch_rows(number, map(float, curve))
        verdict = {"number": number, "attempt": 1, "bracket": 0, "rung": 2.0, "epoch": 2, "of": number + 1}
        if length > 1:
            decisions.append({**verdict, "verdict": "go" if length > 2 else "stop", "at": START})
    return write_study(folder, settings, trials=trials, epochs=epochs, decisions=decisions)


def hostile_study(folder: Path) -> StudyResults:
    """Write a study all of whose texts would break a page that does not escape them."""
    space = {HOSTILE: {"float": [0, 1]}, "other": {"choice": [HOSTILE, "plain"]}}
    cells = {f"param_{HOSTILE}": 0.5, "param_other": HOSTILE}
    trials = [trial_row(number, 0.5 + number / 10, **cells) for number in range(3)]
    trials.append(trial_row(3, state="FAILED", error=HOSTILE, error_kind=HOSTILE, **cells))
    predictions = [
        {
            "number": 2,
            "attempt": 1,
            "split": "test",
            "index": index,
            "label": index % 2,
            "predicted": 0,
            "probability": 0.5,
        }
        for index in range(4)
    ]
    epochs = [row for number in range(3) for row in epoch_rows(number, [0.4, 0.5 + number / 10])]
    study = write_study(
        folder,
        {"study": "hostile", "space": space, **OWN_NETWORK},
        trials=trials,
        epochs=epochs,
        predictions=predictions,
    )
    run = {"source": {"commit": HOSTILE}, "command": [HOSTILE], "started_at": START.isoformat(), "hardware": HOSTILE}
    study.folder.write_provenance({"study": HOSTILE, "runs": [run]})
    return study
