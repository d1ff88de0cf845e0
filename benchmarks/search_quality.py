"""Compare searches on recorded learning curves, with simulated asynchronous workers.

Each recorded configuration is trained again as it was, epoch by epoch, by as many workers as are
asked for. The project's own searcher and scheduler run beside their peers. Regret is the distance
of the chosen configuration's last value from the best one, 1 for the median configuration.

    python benchmarks/search_quality.py --recordings DIR [--tasks digits digits:val_loss]

Rows that an earlier call left in the output folder are not computed again.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.quality.searches import SEARCHES, silence  # noqa: E402
from benchmarks.quality.simulation import Workers, epoch_seconds, regret_at  # noqa: E402
from benchmarks.quality.summary import draw, markdown, overview  # noqa: E402
from benchmarks.quality.tasks import Task, load_task  # noqa: E402

POINTS = (30, 50, 100, 200, 300, 500, 1000, 2000, 3000)
"""Epochs at which the figure shows regret, up to the largest budget."""
CHOSEN = ("reported", "complete")


def simulate(task: Task, name: str, workers: int, seed: int, budgets: list[int]) -> list[dict[str, Any]]:
    """Run one search on one task, and return one row per budget, unit and choice."""
    np.random.seed(seed)  # because Ray draws its brackets from numpy's own generator
    began = time.process_time()
    search = SEARCHES[name](task, workers, seed)
    trace = Workers(task, search, workers, seed).run(max(budgets)).table()
    shared = {
        "task": task.name,
        "workers": workers,
        "search": name,
        "seed": seed,
        "cpu_seconds": time.process_time() - began,
        "trials": trace["number"].nunique(),
        "completed": int(trace["complete"].sum()),
        "versions": versions(),
    }
    rows = []
    for budget in sorted({*budgets, *(p for p in POINTS if p < max(budgets))}):
        limits = {"used": budget, "seconds": epoch_seconds(task, budget, workers)}
        for unit, limit in limits.items():
            for chosen in CHOSEN:
                regret = regret_at(task, trace, limit, unit, chosen)
                rows.append({**shared, "budget": budget, "unit": unit, "chosen": chosen, "regret": regret})
    return rows


def versions() -> str:
    """Return the commit and the versions on which a row depends."""
    run = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(run, capture_output=True, text=True, check=False).stdout.strip()
    return f"commit {commit or 'unknown'}, Ray {version('ray')}, Optuna {version('optuna')}"


def missing(arguments: argparse.Namespace, done: pd.DataFrame) -> Iterator[tuple[Task, str, int, list[int]]]:
    """Yield task, search, workers and the seeds that have no rows yet."""
    for text in arguments.tasks or recorded(arguments.recordings):
        task = load_task(arguments.recordings, text)
        for workers in arguments.workers:
            for name in arguments.searches:
                yield task, name, workers, _missing_seeds(arguments, done, text, name, workers)


def _missing_seeds(arguments: argparse.Namespace, done: pd.DataFrame, task: str, name: str, workers: int) -> list[int]:
    same = (done["task"] == task) & (done["search"] == name) & (done["workers"] == workers)
    far_enough = done["budget"] >= max(arguments.budgets)
    known = set(done.loc[same & far_enough, "seed"])
    return [seed for seed in range(arguments.seeds) if seed not in known]


def recorded(folder: Path) -> list[str]:
    """Return the names of all recordings in a folder."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


def save(rows: pd.DataFrame, path: Path) -> None:
    """Write rows whole or not at all."""
    part = path.with_suffix(".part")
    rows.to_parquet(part, index=False)
    part.replace(path)


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows of earlier calls, none without a file."""
    names = ["task", "workers", "search", "seed", "budget", "unit", "chosen", "regret", "versions"]
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=names)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = os.environ.get("TUNER_RECORDINGS")
    parser.add_argument(
        "--recordings",
        type=Path,
        default=folder and Path(folder),
        required=not folder,
        help="folder of recorded curves (default: TUNER_RECORDINGS)",
    )
    parser.add_argument("--out", type=Path, default=Path("results/search_quality"))
    parser.add_argument("--tasks", nargs="+", help="FILE or FILE:METRIC (default: all, by accuracy)")
    parser.add_argument("--searches", nargs="+", default=list(SEARCHES), choices=list(SEARCHES))
    parser.add_argument("--workers", nargs="+", type=int, default=[4])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", nargs="+", type=int, default=[100, 300, 1000])
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Compute the missing rows, then write tables and figure."""
    given = parse(arguments)
    silence()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "rows.parquet"
    rows = read_rows(path)
    for task, name, workers, seeds in missing(given, rows):
        made = [row for s in seeds for row in simulate(task, name, workers, s, given.budgets)]
        if made:
            fresh = pd.DataFrame(made)
            rows = pd.concat([rows, fresh], ignore_index=True) if len(rows) else fresh
            save(rows, path)
            print(f"{task.name}, {name}, {workers} workers: {len(seeds)} seeds", file=sys.stderr)
    shown = rows[rows["search"].isin(given.searches)]
    overview(shown).to_csv(given.out / "overview.csv", index=False)
    text = markdown(shown, given.budgets)
    (given.out / "tables.md").write_text(text)
    draw(shown, given.out / "regret.png")
    print(text)


if __name__ == "__main__":
    os.nice(10)
    main()
