"""What a claim of a report is checked against: the compared numbers, the runs behind them, and when means differ."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tuner.reproduction.runs import Runs
from tuner.reproduction.verdicts import POINTS, UNREPEATED, borrowed, pooled

HOLDS, FAILS = "holds", "does not hold"
NOT_RUN = "cannot be told (not run)"
TOO_CLOSE = "cannot be told (closer than the spread)"


class Claim(NamedTuple):
    """A claim in a sentence, whether it is borne out here, and the numbers that this rests on."""

    claim: str
    verdict: str
    numbers: str


@dataclass(frozen=True)
class Number:
    """A row of `tuner.reproduction.table`, as claims use it."""

    row: str
    reported: float
    measured: float
    """What was reproduced; 0 where training failed with every seed, NaN where it was not run."""
    spread: float
    seeds: int
    unit: str
    verdict: str
    line: dict[Any, Any]
    """The whole row: what `Runs.values` asks for."""


@dataclass(frozen=True)
class Evidence:
    """A report's compared numbers, as `tuner.reproduction.table` gives them, and the runs behind them."""

    compared: pd.DataFrame
    runs: Runs
    protocol: str

    def numbers(self, quantity: str, table: str = "") -> dict[str, Number]:
        """The numbers of one quantity by row; of tables whose name begins with `table`."""
        chosen = (self.compared["quantity"] == quantity) & self.compared["table"].str.startswith(table)
        return {line["row"]: _number(line) for line in self.compared[chosen].to_dict("records")}

    def measured(self, number: Number, metric: str) -> float:
        """Another metric of the trials behind a number, in its unit: the mean over the seeds; NaN: not run."""
        return float(self.runs.values(number.line | {"metric": metric}).mean())

    def by_epoch(self, number: Number) -> "pd.Series[float]":
        """Mean validation accuracy of a number's configuration over its seeds, 0 to 1, after each epoch."""
        study, trials = self._behind(number)
        if study is None:
            return pd.Series(dtype=float)
        mine = study.epochs[study.epochs["number"].isin(trials)]
        means: pd.Series[float] = mine.groupby("epoch")["val_accuracy"].mean()
        return means

    def recalls(self, number: Number) -> "pd.Series[float]":
        """Share of the validation images of each class that a number's configuration recognizes, over its seeds."""
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
    measured = 0.0 if line["verdict"] == "failed" else float(line["reproduced"])
    spread, seeds = float(line["spread"]), int(line["seeds"])
    return Number(line["row"], line["reported"], measured, spread, seeds, line["unit"], line["verdict"], line)


def highest(numbers: Iterable[Number]) -> Number:
    """The highest measured number; while one of them was not run, that one: nothing is the highest yet."""
    return max(numbers, key=lambda number: math.inf if math.isnan(number.measured) else number.measured)


def margin(*compared: Number, table: Iterable[Number]) -> float:
    """By how much the means of two numbers must differ to be told apart, or the mean of one from a fixed number.

    Args:
        compared: One or two numbers of one unit.
        table: Those of their table and quantity, whose deviation counts where none of `compared` was repeated.
    """
    deviation = pooled(map(_repeated, compared)) or borrowed(map(_repeated, table))
    if deviation is None:
        return UNREPEATED / POINTS[compared[0].unit]
    return deviation.margin(*(max(1, number.seeds) for number in compared))


def _repeated(number: Number) -> tuple[float, int]:
    return number.spread, number.seeds


def told_by(difference: float, least: float) -> str:
    """Whether 'this is more than that' holds, by how much more it is and how much it must be to be told apart."""
    if math.isnan(difference):
        return NOT_RUN
    if abs(difference) <= least:
        return TOO_CLOSE
    return HOLDS if difference > 0 else FAILS


def told(holds: bool) -> str:
    """The words for a claim that was decided."""
    return HOLDS if holds else FAILS


def said(number: float, digits: int = 2, sign: str = "", unit: str = "") -> str:
    """A number in a sentence; 'not run' where it was not measured."""
    return "not run" if math.isnan(number) else f"{number:{sign}.{digits}f}{unit}"
