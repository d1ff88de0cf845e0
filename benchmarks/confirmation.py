"""Error rates of the confirmation by repeats, measured by simulated studies.

A study tries configurations whose true values are drawn, repeats the best of the search, and judges
them by `tuner.analysis.confirmation`. The table is that of `docs/search-and-stopping.md`.

    python benchmarks/confirmation.py [--studies 10000] [--seed 0]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tuner.analysis.confirmation import ERROR, error_ahead, interval_factor, winner_interval  # noqa: E402

TRIED = 64
"""Configurations of a search."""
SPREADS = (0.0, 1.0)
"""Deviation of the true values, in deviations over seeds."""
TOP, SEEDS = (2, 3, 10), (3, 5, 10)


class Rates(NamedTuple):
    """Shares of simulated studies, and the bias of the search's value."""

    each: float
    """Intervals of the leaderboard that hold their true value."""
    covered: float
    """Intervals of the winner that hold its true value."""
    wrong: float
    """Verdicts 'ahead' on a configuration that is not the best of those repeated."""
    ahead: float
    """Verdicts 'ahead'."""
    bias: float
    """Mean distance from the search's best value to its true one, in deviations over seeds."""


def rates(spread: float, top: int, seeds: int, studies: int, seed: int, unequal: bool = False) -> Rates:
    """Simulate studies and judge each.

    Args:
        spread: Deviation of the true values, in mean deviations over seeds.
        top: Configurations that are repeated.
        seeds: Repeats of each.
        studies: Simulated studies.
        seed: Seed of the simulation.
        unequal: Deviations over seeds differ by up to four times.
    """
    draw = np.random.default_rng(seed)
    counted = [_one(draw, spread, top, seeds, unequal) for _ in range(studies)]
    return Rates(*(float(mean) for mean in np.mean(counted, axis=0)))


def _one(draw: np.random.Generator, spread: float, top: int, seeds: int, unequal: bool) -> Rates:
    """Return the outcome of one study."""
    true = draw.normal(0, spread, TRIED)
    noise = draw.uniform(0.4, 1.6, TRIED) if unequal else np.ones(TRIED)
    searched = draw.normal(true, noise)
    chosen = np.argsort(-searched)[:top]
    repeats = draw.normal(true[chosen], noise[chosen], (seeds, top)).T
    order = np.argsort(-repeats.mean(axis=1))
    values, means = [*repeats[order]], true[chosen][order]
    low, high = winner_interval(values)
    is_ahead = error_ahead(values) < ERROR
    is_best = means[0] > means[1:].max()
    bias = searched[chosen[0]] - true[chosen[0]]
    halves = interval_factor(seeds) * repeats[order].std(axis=1, ddof=1)
    each = float((np.abs(repeats[order].mean(axis=1) - means) <= halves).mean())
    return Rates(each, low <= means[0] <= high, is_ahead and not is_best, is_ahead, bias)


def rows(studies: int, seed: int) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    yield "| spread | repeated | seeds | ± covers | winner's covers | wrongly ahead | ahead | search too high by |"
    yield "|---|---|---|---|---|---|---|---|"
    cases = [(spread, top, seeds) for spread in SPREADS for top in TOP for seeds in SEEDS]
    for case in cases:
        found = rates(*case, studies=studies, seed=seed)
        shares = " | ".join(f"{100 * share:.1f} %" for share in found[:4])
        yield f"| {case[0]:g} | {case[1]} | {case[2]} | {shares} | {found.bias:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies per row")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    given = parser.parse_args()
    for row in rows(given.studies, given.seed):
        print(row)


if __name__ == "__main__":
    main()
