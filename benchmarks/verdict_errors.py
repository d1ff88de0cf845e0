"""Error rates of the verdicts of `tuner reproduce`, measured by simulation.

Studies are drawn from normal distributions whose means differ by a known number of points, and get
their verdicts by the rules of `tuner.reproduction`. The tables are those of
`docs/reproducing-reports.md`.

    python benchmarks/verdict_errors.py [--studies 10000] [--seed 0]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tuner.reproduction.evidence import (  # noqa: E402
    FAILS,
    HOLDS,
    ONE_RUN,
    TOO_CLOSE,
    Number,
    compare_best,
)
from tuner.reproduction.verdicts import (  # noqa: E402
    CLOSE,
    DIFFERS,
    FAR,
    REPRODUCED,
    TOO_NOISY,
    judge,
    margin,
)

SPREADS = (0.5, 3.5)
"""Standard deviations over seeds in points of accuracy: a steady network and a restless one."""
SEEDS = (1, 3, 5)
DIFFERENCES = (0, 1, 3, 10)
"""Points between the means of two studies, or between a winner and its rivals."""
RIVALS = 26
"""Rivals of a winner, as in the grid of report 001."""
ACCURACY = 65.0
VERDICTS = (REPRODUCED, TOO_NOISY, DIFFERS, CLOSE, FAR)
ANSWERS = (HOLDS, TOO_CLOSE, FAILS, ONE_RUN)


def verdict_rates(difference: float, spread: float, seeds: int, studies: int, seed: int) -> dict[str, float]:
    """Return the share of each verdict on a report with another mean.

    Args:
        difference: Points from the report's mean to the mean here.
        spread: Standard deviation over the seeds, the same in both.
        seeds: Runs here; the report has one.
        studies: Simulated reproductions.
        seed: Seed of the simulation.
    """
    rng = np.random.default_rng(seed)
    reported = rng.normal(ACCURACY, spread, studies).round(2)
    runs = rng.normal(ACCURACY + difference, spread, (studies, seeds))
    differences = (runs.mean(axis=1) - reported).tolist()
    spreads = _deviations(runs)
    width = margin(ACCURACY, "%")
    return _shares(
        judge(found, deviation, seeds, width, rounding=0.005).verdict
        for found, deviation in zip(differences, spreads, strict=True)
    )


def claim_rates(lead: float, spread: float, seeds: int, studies: int, seed: int) -> tuple[dict[str, float], float]:
    """Return the share of each answer to 'this row is best'.

    The second value is the share of denials if each rival were tested as the only one.

    Args:
        lead: Points from the mean of the rivals to the mean of the row.
        spread: Standard deviation over the seeds, the same in all rows.
        seeds: Runs of each row.
        studies: Simulated grids.
        seed: Seed of the simulation.
    """
    rng = np.random.default_rng(seed)
    answers, uncorrected = [], 0
    for _ in range(studies):
        runs = rng.normal(ACCURACY, spread, (1 + RIVALS, seeds))
        runs[0] += lead
        best, *rivals = table = _numbers(runs)
        answers.append(compare_best([best], rivals, table))
        uncorrected += any(compare_best([best], [rival], table) == FAILS for rival in rivals)
    return _shares(answers), uncorrected / studies


def _numbers(runs: np.ndarray) -> list[Number]:
    """Return the runs of each row as a number of a table."""
    means, spreads, seeds = runs.mean(axis=1).tolist(), _deviations(runs), runs.shape[1]
    return [
        Number(str(row), ACCURACY, mean, spread, seeds, "%", "", {})
        for row, (mean, spread) in enumerate(zip(means, spreads, strict=True))
    ]


def _deviations(runs: np.ndarray) -> list[float]:
    """Return the sample deviation of each row, NaN for one seed."""
    if runs.shape[1] == 1:
        return [float("nan")] * len(runs)
    deviations: list[float] = runs.std(axis=1, ddof=1).tolist()
    return deviations


def _shares(words: Iterable[str]) -> dict[str, float]:
    counted = Counter(words)
    return {word: count / counted.total() for word, count in counted.items()}


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _print_table(heading: list[str], rows: Iterable[list[str]]) -> None:
    print(_row(heading), _row(["---:"] * len(heading)), *map(_row, rows), sep="\n")


def _percent(rates: dict[str, float], words: Iterable[str]) -> list[str]:
    return [f"{100 * rates[word]:.1f}" if word in rates else "" for word in words]


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies per row")
    parser.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    options = parser.parse_args()
    studies, seed = options.studies, options.seed
    cases = [(spread, seeds, gap) for spread in SPREADS for seeds in SEEDS for gap in DIFFERENCES]
    rows = []
    for spread, seeds, difference in cases:
        rates = verdict_rates(difference, spread, seeds, studies, seed)
        rows.append([f"{spread}", f"{seeds}", f"{difference}", *_percent(rates, VERDICTS)])
    _print_table(["spread", "seeds", "true difference", *VERDICTS], rows)
    rows = []
    for spread, seeds, lead in cases:
        rates, uncorrected = claim_rates(lead, spread, seeds, studies // 20, seed)
        shown = [*_percent(rates, ANSWERS), f"{100 * uncorrected:.1f}"]
        rows.append([f"{spread}", f"{seeds}", f"{lead}", *shown])
    print()
    _print_table(["spread", "seeds", "true lead", *ANSWERS, "does not hold, uncorrected"], rows)


if __name__ == "__main__":
    main()
