"""Print what a proposal costs after many trials, in CPU time.

python benchmarks/proposals.py [--trials 100 1000 10000] [--samplers tpe random]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tuner.config.study import StudyConfig, parse_spec
from tuner.results.schema import parameters_to_row
from tuner.results.tables import Tables, now
from tuner.search.searcher import OptunaSearcher
from tuner.storage import Storage

EPOCHS = 27
PROPOSALS = 20


def study(sampler: str, rule: str) -> StudyConfig:
    """Return a study of five parameters that never ends."""
    space = {
        "learning_rate": {"float": [1e-4, 1e-1], "log": True},
        "batch_size": {"choice": [16, 32, 64, 128, 256]},
        "dense": {"int": [16, 256], "log": True},
        "filters": {"choice": [8, 16, 32]},
        "dropout": {"float": [0, 0.6]},
    }
    return parse_spec(
        {
            "study": "proposals",
            "training": {"architecture": "vazquez_base", "epochs": EPOCHS},
            "space": space,
            "search": {"sampler": sampler, "trials": 1_000_000},
            "stopping": rule,
        }
    )


def fill(spec: StudyConfig, folder: Path, trials: int) -> Tables:
    """Write trials of one, three, nine or all epochs, as a stopping rule leaves them."""
    draw = np.random.default_rng(0)
    tables = Tables(Storage(folder), spec.space)
    lengths = draw.choice([1, 3, 9, EPOCHS], size=trials, p=[0.66, 0.22, 0.08, 0.04]).tolist()
    for number, length in enumerate(lengths):
        parameters = {
            "learning_rate": 10 ** draw.uniform(-4, -1),
            "batch_size": int(draw.choice([16, 32, 64, 128, 256])),
            "dense": int(draw.integers(16, 257)),
            "filters": int(draw.choice([8, 16, 32])),
            "dropout": draw.uniform(0, 0.6),
        }
        row = {"number": number, "attempt": 1, "purpose": "search", "updated_at": now(), "seed": 0}
        row |= {"state": "COMPLETE" if length == EPOCHS else "PRUNED", "sampler_attrs": "{}"}
        values = np.sort(draw.uniform(size=length)).tolist()
        row |= {"value": values[-1], "values": [values[-1]]}
        tables.append("trials", row | parameters_to_row(spec.space, parameters))
        for epoch, value in enumerate(values, start=1):
            cells = {"number": number, "attempt": 1, "epoch": epoch, "val_accuracy": value, "at": now()}
            tables.append("epochs", cells)
    tables.flush()
    return tables


def measure(sampler: str, rule: str, trials: int) -> None:
    """Rebuild a search from its tables and let it propose."""
    spec = study(sampler, rule)
    with tempfile.TemporaryDirectory() as folder:
        tables = fill(spec, Path(folder), trials)
        searcher = OptunaSearcher(
            spec,
            tables.trials(),
            tables.epochs(),
            slots=lambda: 1000,
            on_propose=lambda _: None,
            latest=tables.trials,
        )
    spent = []
    for number in range(PROPOSALS):
        began = time.process_time()
        searcher.suggest(str(number))
        spent.append(1000 * (time.process_time() - began))
    first, *others = spent
    print(
        f"{sampler}, {rule}: {trials} trials, {np.median(others):.1f} ms of CPU a proposal "
        f"(highest {max(others):.1f}, the first {first:.1f})"
    )


def main() -> None:
    """Measure each sampler with each number of trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", nargs="+", type=int, default=[100, 1000, 10_000])
    parser.add_argument("--samplers", nargs="+", default=["tpe", "random"])
    parser.add_argument("--rule", default="asha")
    given = parser.parse_args()
    for sampler in given.samplers:
        for trials in given.trials:
            measure(sampler, given.rule, trials)


if __name__ == "__main__":
    main()
