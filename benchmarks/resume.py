"""What it costs the driver to take up a study of many ended trials, in seconds of processor time.

Under ASHA, with `tpe`, and most trials stopped at the first rung, as in a real search.

    python benchmarks/resume.py [TRIALS …]
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from tuner.config.study import StudyConfig, parse_spec
from tuner.results.folder import StudyFolder
from tuner.results.tables import Tables
from tuner.search.schedulers import make_scheduler
from tuner.search.searcher import OptunaSearcher
from tuner.study.budget import BudgetMeter, Spent
from tuner.study.observer import NullObserver
from tuner.study.recorder import Recorder
from tuner.study.restore import read_past, restore_scheduler
from tuner.study.retries import Retries

EPOCHS = {1: 0.66, 3: 0.22, 9: 0.08, 27: 0.04}
"""The share of trials that end after so many epochs."""


def make_spec(trials: int) -> StudyConfig:
    """Return the study file of a search with three parameters."""
    return parse_spec({
        "study": "many",
        "training": {"architecture": "vazquez_base", "epochs": max(EPOCHS)},
        "space": {
            "learning_rate": {"float": [1e-4, 1e-1], "log": True},
            "weight_decay": {"float": [1e-6, 1e-1], "log": True},
            "batch_size": {"choice": [32, 64, 128]},
        },
        "search": {"sampler": "tpe", "trials": trials + 100},
        "stopping": {"asha": {"grace_period": 1, "reduction_factor": 3}},
    })  # fmt: skip


def fill(tables: Tables, trials: int) -> None:
    """Write what a search of so many trials leaves."""
    rng, start = np.random.default_rng(0), datetime(2026, 1, 1, tzinfo=UTC)
    rungs = [rung for rung in EPOCHS if rung < max(EPOCHS)]
    for number, epochs in enumerate(rng.choice([*EPOCHS], trials, p=[*EPOCHS.values()]).tolist()):
        key = {"study": "many", "number": number, "attempt": 1}
        at = start + timedelta(seconds=number)
        state = "COMPLETE" if epochs == max(EPOCHS) else "PRUNED"
        values = (rng.random() + 1 - 0.9 ** np.arange(1, epochs + 1)).tolist()
        ended = {"state": state, "value": values[-1], "values": values[-1:], "epochs_run": epochs}
        drawn = {"learning_rate": 10 ** rng.uniform(-4, -1), "weight_decay": 10 ** rng.uniform(-6, -1)}
        row = {**key, "purpose": "search", "origin": "tpe", "sampler_attrs": "{}", "seed": number}
        row |= {f"param_{name}": value for name, value in drawn.items()}
        row |= {"param_batch_size": int(rng.choice([32, 64, 128])), "started_at": at}
        tables.append("trials", row | {"state": "RUNNING", "updated_at": at})
        tables.append("trials", row | ended | {"updated_at": at + timedelta(seconds=30)})
        for epoch, value in enumerate(values, start=1):
            report = {"epoch": epoch, "val_accuracy": value, "seconds": 1.0, "at": at}
            tables.append("epochs", key | report)
            if epoch in rungs:
                verdict = {"bracket": 0, "rung": float(epoch), "epoch": epoch, "value": value, "at": at}
                verdict |= {"verdict": "stop" if epoch == epochs else "go"}
                tables.append("decisions", key | verdict)
    tables.flush()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print what a step costs."""
    began = time.process_time()
    yield
    print(f"  {what}: {time.process_time() - began:.2f} s")


def resume(spec: StudyConfig, folder: StudyFolder) -> None:
    """Do what a run does before its first proposal, step by step."""
    tables = folder.tables(spec)
    with timed("all"):
        with timed("compact"):
            tables.compact()
        with timed("read the tables"):
            past = read_past(tables)
        retries = Retries(0, past.failures)
        with timed("recorder"):
            recorder = Recorder(
                spec, folder, tables, past, NullObserver(),
                retries=retries, meter=BudgetMeter(spec, Spent()), stopping=lambda: False, lost=lambda: False,
            )  # fmt: skip
        with timed("rungs"):
            restore_scheduler(spec, past, make_scheduler(spec, recorder.decide))
        with timed("Optuna's study"):
            recorder.searcher = OptunaSearcher(
                spec, past.trials, past.epochs, slots=lambda: 1, on_propose=lambda _: None, latest=tables.trials
            )  # fmt: skip
        with timed("first proposal"):
            recorder.searcher.suggest("first")


def main() -> None:
    """Resume a study of each size."""
    for trials in map(int, sys.argv[1:] or ["10000", "100000"]):
        with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as scratch:
            spec, folder = make_spec(trials), StudyFolder(Path(scratch) / "many")
            fill(folder.tables(spec), trials)
            print(f"{trials} ended trials are taken up:")
            resume(spec, folder)


if __name__ == "__main__":
    main()
