"""Evidence for the claims of a report, and the rules by which measured means differ.

Two means differ when their distance is beyond the 95 % interval of their difference. The spread is
that of the compared rows, else of the repeated rows of their table, pooled with the assumed spread
of `tuner.reproduction.verdicts`. Rows of one seed in a table without repeats cannot be told apart.

Where one row is set against the best of k others, each direction keeps an error of 2.5 % in all:
it is above the best when it is above each (no correction is needed), and below when one of the k
is above it at 2.5 % / k (Bonferroni). Rows that failed to train have no value and are no rivals.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tuner.reproduction.runs import Runs
from tuner.reproduction.verdicts import FAILED, margin, pooled

HOLDS, FAILS = "holds", "does not hold"
NOT_RUN = "cannot be told (not run)"
FAILED_RUN = "cannot be told (training failed)"
TOO_CLOSE = "cannot be told (closer than the spread)"
ONE_RUN = "cannot be told (one run each)"
TAIL = 0.025
"""Error of a claim's verdict in each direction."""


class Claim(NamedTuple):
    """A claim in a sentence, its verdict, and the numbers behind it."""

    claim: str
    verdict: str
    numbers: str


@dataclass(frozen=True)
class Number:
    """A number of `tuner.reproduction.table` with the fields that claims use."""

    row: str
    reported: float
    measured: float
    """Mean over the seeds. NaN if nothing was measured or training failed with every seed."""
    spread: float
    seeds: int
    unit: str
    verdict: str
    line: dict[Any, Any]
    """The whole row, for `Runs.values`."""

    @property
    def failed(self) -> bool:
        """Return True if training failed with every seed."""
        return self.verdict == FAILED


@dataclass(frozen=True)
class Evidence:
    """The comparison of a report, and the runs behind its numbers."""

    compared: pd.DataFrame
    runs: Runs
    protocol: str

    def numbers(self, quantity: str, table: str = "") -> dict[str, Number]:
        """Return the numbers of one quantity by row.

        Args:
            quantity: The quantity.
            table: Beginning of the tables' names.
        """
        chosen = (self.compared["quantity"] == quantity) & self.compared["table"].str.startswith(table)
        return {line["row"]: _number(line) for line in self.compared[chosen].to_dict("records")}

    def measured(self, number: Number, metric: str) -> float:
        """Return the mean of another metric over the seeds.

        It is NaN if nothing was run.
        """
        return float(self.runs.values(number.line | {"metric": metric}).mean())

    def by_epoch(self, number: Number) -> "pd.Series[float]":
        """Return the mean validation accuracy by epoch, 0 to 1.

        It is the mean over the seeds.
        """
        study, trials = self._behind(number)
        if study is None:
            return pd.Series(dtype=float)
        epochs = study.epochs[study.epochs["number"].isin(trials)]
        means: pd.Series[float] = epochs.groupby("epoch")["val_accuracy"].mean()
        return means

    def recalls(self, number: Number) -> "pd.Series[float]":
        """Return the share of recognized validation images by class, over the seeds."""
        study, trials = self._behind(number)
        if study is None:
            return pd.Series(dtype=float)
        seen = study.predictions
        seen = seen[(seen["split"] == "validation") & seen["number"].isin(trials)]
        right: pd.Series[float] = (seen["label"] == seen["predicted"]).astype(float).groupby(seen["label"]).mean()
        return right

    def _behind(self, number: Number) -> tuple[Any, "pd.Series[int]"]:
        trials = self.runs.trials(number.line["study"], number.line["trial"])
        found = None if trials.empty else self.runs.study(number.line["study"])
        return found, trials["number"] if found else pd.Series(dtype=int)


def _number(line: dict[Any, Any]) -> Number:
    return Number(
        row=line["row"],
        reported=line["reported"],
        measured=float(line["reproduced"]),
        spread=float(line["spread"]),
        seeds=int(line["seeds"]),
        unit=line["unit"],
        verdict=line["verdict"],
        line=line,
    )


def highest(numbers: Iterable[Number]) -> Number:
    """Return the highest number that did not fail.

    A number that was not run counts as the highest, because it may be.
    """

    def height(number: Number) -> float:
        unknown = -math.inf if number.failed else math.inf
        return unknown if math.isnan(number.measured) else number.measured

    return max(numbers, key=height)


def missing_verdict(numbers: Iterable[Number]) -> str | None:
    """Return a verdict if a number is missing, else None."""
    missing = [number.failed for number in numbers if math.isnan(number.measured)]
    if not missing:
        return None
    return FAILED_RUN if all(missing) else NOT_RUN


def compare_means(difference: float, *compared: Number, table: list[Number]) -> str:
    """Return the verdict on 'the first mean is above the second'.

    Args:
        difference: The first less the second, which may be a fixed number.
        compared: One or two numbers of one unit.
        table: Numbers of their table and quantity.
    """
    if missing := missing_verdict(compared):
        return missing
    if abs(difference) <= least_difference(*compared, table=table, tail=TAIL):
        return _undecided(table)
    return decided(difference > 0)


def compare_best(numbers: Iterable[Number], rivals: Iterable[Number], table: list[Number]) -> str:
    """Return the verdict on 'the best number is above every rival'.

    Args:
        numbers: Numbers that the claim calls better.
        rivals: Numbers to beat.
        table: Numbers of their table and quantity.
    """
    better, worse = [[n for n in group if not n.failed] for group in (numbers, rivals)]
    if missing := missing_verdict([*better, *worse]):
        return missing
    if not (better and worse):
        return FAILED_RUN
    if _one_above_all(better, worse, table):
        return HOLDS
    return FAILS if _one_above_all(worse, better, table) else _undecided(table)


def compare_pairs(pairs: list[tuple[Number, Number]], table: list[Number]) -> str:
    """Return the verdict on 'the first of every pair is higher'."""
    if missing := missing_verdict(number for pair in pairs for number in pair):
        return missing
    if all(_above(first, second, TAIL, table) for first, second in pairs):
        return HOLDS
    reverse = any(_above(second, first, TAIL / len(pairs), table) for first, second in pairs)
    return FAILS if reverse else _undecided(table)


def least_difference(*compared: Number, table: list[Number], tail: float) -> float:
    """Return the distance beyond which means differ, infinite without repeated rows."""
    rows = [_repeated(n) for n in compared if n.seeds > 1] or [_repeated(n) for n in table]
    if all(seeds < 2 for _, seeds in rows):
        return math.inf
    width = max(margin(number.measured, number.unit) for number in compared)
    counts = [max(1, number.seeds) for number in compared]
    return pooled(rows, width).half_width(*counts, tail=tail)


def _one_above_all(numbers: list[Number], rivals: list[Number], table: list[Number]) -> bool:
    """Return True if one of the numbers is above every rival."""
    tail = TAIL / len(numbers)
    return any(all(_above(one, rival, tail, table) for rival in rivals) for one in numbers)


def _above(first: Number, second: Number, tail: float, table: list[Number]) -> bool:
    least = least_difference(first, second, table=table, tail=tail)
    return first.measured - second.measured > least


def _undecided(table: list[Number]) -> str:
    """Return the reason why a claim cannot be told."""
    return TOO_CLOSE if any(number.seeds > 1 for number in table) else ONE_RUN


def _repeated(number: Number) -> tuple[float, int]:
    return number.spread, number.seeds


def decided(holds: bool) -> str:
    """Return the verdict on a claim that can be told."""
    return HOLDS if holds else FAILS


def format_number(number: float, digits: int = 2, sign: str = "", unit: str = "") -> str:
    """Format a number for a sentence, NaN as 'not measured'."""
    return "not measured" if math.isnan(number) else f"{number:{sign}.{digits}f}{unit}"
