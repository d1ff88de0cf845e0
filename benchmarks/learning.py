"""Compare searches that learn from an earlier study with searches that do not, on recorded curves.

An earlier study searches one task, and the next study learns from its trials: of the same task, of
another one, or of a task where bad configurations are the good ones, which misleads most.

    python benchmarks/learning.py --recordings DIR [--seeds 10] [--pairs digits:digits cifar_cosine:digits]
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.quality.searches import MANY, PROMOTE, ProjectSearch, silence  # noqa: E402
from benchmarks.quality.simulation import Started, Workers, regret_at  # noqa: E402
from benchmarks.quality.tasks import Curve, Task, load_task  # noqa: E402
from tuner.analysis.confirmation import interval_factor  # noqa: E402
from tuner.config.study import StudyConfig  # noqa: E402
from tuner.search.defaults import nearest_value  # noqa: E402
from tuner.search.learned import Learned, LearnedStudy, LearnedTrial, fit_parameters  # noqa: E402

TURNED = "turned"
"""Earlier study of the next one's task with its values turned round."""
PAIRS = (
    *("digits:digits", "digits_cosine:digits_cosine", "digits_onecycle:digits_onecycle", "cifar_cosine:cifar_cosine"),
    *("cifar_cosine:digits", "cifar_cosine:digits_cosine", "digits_cosine:cifar_cosine", "digits:digits_onecycle"),
    *(f"{TURNED}:digits", f"{TURNED}:digits_cosine", f"{TURNED}:cifar_cosine"),
)
"""Earlier and next study."""
KINDS: dict[str, Callable[[str, str], bool]] = {
    "same task": lambda earlier, later: earlier == later,
    "another task": lambda earlier, later: earlier not in (TURNED, later),
    "misleading task": lambda earlier, _: earlier == TURNED,
}
"""Pairs whose mean is shown."""
WORKERS, EARLIER_EPOCHS = 4, 200
POINTS = (20, 50, 100)
"""Epochs of all trials together at which regret is compared."""


class Recorded(ProjectSearch):
    """A search that remembers the parameters of its trials."""

    def suggest(self) -> Started | None:
        """Return the searcher's next trial."""
        started = super().suggest()
        if started:
            self.drawn[started.number] = started.parameters
        return started

    drawn: dict[int, dict[str, Any]]


def search(task: Task, seed: int, epochs: int, learned: Learned | None = None) -> tuple[pd.DataFrame, dict[int, Any]]:
    """Search a task. Return one row per epoch, and the parameters of each trial."""
    spec = study_of(task, seed)
    recorded = Recorded(spec, WORKERS, learned=learned)
    recorded.drawn = {}
    return Workers(task, recorded, WORKERS, seed).run(epochs).table(), recorded.drawn


def study_of(task: Task, seed: int) -> StudyConfig:
    """Return the study that searches a task as a study file does by default."""
    return task.study({"sampler": "mixed", "trials": MANY, "seed": seed}, PROMOTE)


def turn(task: Task) -> Task:
    """Return a task whose good configurations are the bad ones of another."""
    curves = [[Curve(1 - curve.values, curve.seconds) for curve in seeds] for seeds in task.curves]
    return Task(TURNED, task.metric, task.configurations, curves)


def learn(earlier: Task, spec: StudyConfig, seed: int, *, is_same: bool) -> LearnedStudy:
    """Search a task, and return its trials as the next study reads them.

    A value that the next study's choices lack is replaced by the nearest one.
    """
    trace, drawn = search(earlier, 1000 + seed, EARLIER_EPOCHS)
    trials = []
    for number, rows in trace.groupby("number"):
        known = {name: nearest_value(spec.space[name], v) for name, v in drawn[int(str(number))].items()
                 if name in spec.space}  # fmt: skip
        fitting = fit_parameters(spec.space, known, _defaults(spec))
        assert isinstance(fitting, dict), fitting
        values = {int(e): float(v) for e, v in zip(rows["epoch"], rows["value"], strict=True)}
        trials.append(LearnedTrial(fitting, values, bool(rows["complete"].any())))
    return LearnedStudy(earlier.name, is_same, tuple(trials), len(trials))


def _defaults(spec: StudyConfig) -> dict[str, Any]:
    """Return a value of every parameter, for those that the earlier study does not have."""
    return {name: nearest_value(parameter, None) for name, parameter in spec.space.root.items()}


def compare(folder: Path, pair: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the regrets of one pair, with and without the earlier study."""
    name, _, target = pair.partition(":")
    task = load_task(folder, target)
    earlier = turn(task) if name == TURNED else task if name == target else load_task(folder, name)
    spec = study_of(task, seed)
    given = learn(earlier, spec, seed, is_same=name == target)
    ways = {"alone": None, "learned": Learned(spec, [given])}
    if name == target:
        ways["as another task"] = Learned(spec, [replace(given, is_same_task=False)])
    for way, learned in ways.items():
        trace, _ = search(task, seed, max(POINTS), learned)
        for epochs in POINTS:
            regret = regret_at(task, trace, epochs, "used", "reported")
            yield {"pair": pair, "seed": seed, "way": way, "epochs": epochs, "regret": regret}


def markdown(rows: pd.DataFrame) -> str:
    """Return mean regrets, and the mean difference to the search alone with its 95 % interval."""
    table = rows.pivot_table(index=["pair", "seed", "epochs"], columns="way", values="regret")
    lines = ["| earlier study : next study | way | " + " | ".join(f"{e} epochs" for e in POINTS) + " |"]
    lines.append("|---|---|" + "---|" * len(POINTS))
    for pair in dict.fromkeys(rows["pair"]):
        for way in [each for each in ("alone", "learned", "as another task") if each in set(_of(rows, pair)["way"])]:
            cells = [_cell(table.loc[pair].xs(epochs, level="epochs"), way) for epochs in POINTS]
            lines.append(f"| {pair} | {way} | {' | '.join(cells)} |")
    for kind, of in KINDS.items():
        pairs = [pair for pair in dict.fromkeys(rows["pair"]) if of(*pair.split(":"))]
        if pairs:
            pooled = table.loc[pairs].groupby(["seed", "epochs"])[["alone", "learned"]].mean()
            cells = [_cell(pooled.xs(epochs, level="epochs"), "learned") for epochs in POINTS]
            lines.append(f"| mean of {len(pairs)}: {kind} | learned | {' | '.join(cells)} |")
    return "\n".join(lines)


def _of(rows: pd.DataFrame, pair: str) -> pd.DataFrame:
    return rows[rows["pair"] == pair]


def _cell(table: pd.DataFrame, way: str) -> str:
    if way == "alone":
        return f"{table[way].mean():.3f}"
    difference = (table[way] - table["alone"]).dropna().to_numpy(dtype=float)
    half = interval_factor(len(difference)) * difference.std(ddof=1)
    return f"{table[way].mean():.3f} ({difference.mean():+.3f} ± {half:.3f})"


def main() -> None:
    """Compute the missing rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=os.environ.get("TUNER_RECORDINGS"))
    parser.add_argument("--out", type=Path, default=Path("results/learning.parquet"))
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS))
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    silence()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.read_parquet(given.out) if given.out.exists() else pd.DataFrame({"pair": [], "seed": []})
    for seed in range(given.seeds):
        for pair in given.pairs:
            if not ((rows["pair"] == pair) & (rows["seed"] == seed)).any():
                np.random.seed(seed)
                rows = pd.concat([rows, pd.DataFrame(compare(given.recordings, pair, seed))], ignore_index=True)
                rows.to_parquet(given.out)
                print(pair, seed, file=sys.stderr)
    print(markdown(rows[rows["pair"].isin(given.pairs)]))


if __name__ == "__main__":
    os.nice(10)
    main()
