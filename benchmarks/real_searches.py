"""Compare searches on digits by real studies: best value by epochs of all trials together.

    python benchmarks/real_searches.py [--seeds 10] [--out results/real_searches]

Each search runs one study per seed, the searches in turn. Studies that an earlier call left in the
output folder are resumed. The value is validation accuracy of any trial at its last epoch so far.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

import tuner
from tuner.cluster import connection
from tuner.config.study import StudyConfig, parse_spec
from tuner.results.folder import StudyResults

EPOCHS, TRIALS = 27, 75
POINTS = (50, 100, 200, 300)
"""Epochs of all trials together at which the best value is printed."""
RESAMPLES = 10_000
"""Resamples of the seeds from which an interval is read."""
AS_RAY = {"type": "stop", "min_trials": 1}
SEARCHES: dict[str, tuple[str, dict[str, object]]] = {
    "mixed + promote": ("mixed", {"type": "promote"}),
    "tpe + promote": ("tpe", {"type": "promote"}),
    "curves + promote": ("curves", {"type": "promote"}),
    "tpe + stop at once": ("tpe", AS_RAY),
    "random + stop at once": ("random", AS_RAY),
}


def study(name: str, seed: int) -> StudyConfig:
    """Return the study of one search and seed. It trains on 500 images, which is not enough."""
    sampler, rule = SEARCHES[name]
    return parse_spec(
        {
            "study": f"{name.replace(' + ', '-').replace(' ', '-')}-{seed}",
            "dataset": {"name": "digits", "train": 500, "validation": 900},
            "training": {"architecture": "vazquez_base", "epochs": EPOCHS},
            "space": {
                "learning_rate": {"float": [1e-4, 5e-2], "log": True},
                "batch_size": {"choice": [16, 32, 64, 128, 256]},
                "dense": {"int": [16, 256], "log": True},
                "filters": {"choice": [8, 16, 32]},
                "dropout": {"float": [0, 0.6]},
            },
            "search": {"sampler": sampler, "trials": TRIALS, "seed": seed},
            "stopping": {"asha": {"grace_period": 1, "reduction_factor": 3, **rule}},
            "resources": {"cpu": 1},
        }
    )


def best_by_epochs(found: StudyResults) -> list[float]:
    """Return the highest last value of any trial after so many epochs of all together."""
    epochs = found.epochs[found.epochs["epoch"] > 0].sort_values("at", kind="stable")
    best = []
    for point in POINTS:
        latest = epochs.head(point).drop_duplicates("number", keep="last")
        best.append(float(latest["val_accuracy"].max()))
    return best


def cell(values: "pd.Series[float]") -> str:
    """Return the mean over seeds, with a 95 % interval from resampled seeds."""
    draws = np.random.default_rng(0).choice(values.to_numpy(), (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return f"{values.mean():.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    """Run the studies that are missing, and print one row per search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("results/real_searches"))
    given = parser.parse_args()
    connection.start(None)
    rows = []
    for seed in range(given.seeds):
        for name in SEARCHES:
            found = tuner.run_study(study(name, seed), given.out)
            rows.append([name, *best_by_epochs(found)])
            print(f"seed {seed}, {name}: {rows[-1][1:]}", file=sys.stderr)
    table = pd.DataFrame(rows, columns=["search", *POINTS]).groupby("search", sort=False)
    print("| search | " + " | ".join(map(str, POINTS)) + " |", "|---" * (len(POINTS) + 1) + "|", sep="\n")
    for name, some in table:
        print(f"| {name} | " + " | ".join(cell(some[point]) for point in POINTS) + " |")


if __name__ == "__main__":
    main()
