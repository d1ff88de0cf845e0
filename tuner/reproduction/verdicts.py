"""The rules by which a reproduced number gets its verdict.

A verdict compares means: what the report's experiment and the one here give on average. The report
has one run, so the difference has the standard error s * sqrt(1 + 1/n), with s the spread over the
n seeds here. Its 90 % interval is set against a margin that is fixed for each kind of number
(`margin`). Inside the margin the number is reproduced, which is the test of equivalence by two
one-sided tests at 5 %. Beyond the margin it differs, with the same error.

The spread of a few seeds is itself uncertain. So each is pooled with an assumed spread of a quarter
of the margin that counts like one more pair of seeds. `docs/reproducing-reports.md` has the error
rates of these rules, measured by simulation.
"""

import math
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from scipy.special import stdtrit  # not scipy.stats, because that takes most of a second

REPRODUCED, DIFFERS, TOO_NOISY = "reproduced", "differs", "too noisy to tell"
CLOSE, FAR = "close", "far"
EXACT = "exact"
FAILED, NOT_RUN, NOT_REPORTED = "failed", "not run", "not reported"

TAIL = 0.05
"""Error of each one-sided test: the share outside the interval on each side."""
POINTS = {"%": 1.0, "share": 100.0}
"""Units of accuracy, and the percentage points in one of each."""
COUNTED = ("parameters", "shape")
"""Units that are exact or differ."""
ACCURACY_MARGIN = 2.0
"""Percentage points of accuracy that do not matter."""
HIGH_ACCURACY, HIGH_ACCURACY_MARGIN = 95.0, 0.5
"""Accuracy in percent from which a smaller margin holds, and that margin in percentage points."""
LOSS_MARGIN = 0.1
"""Share of a reported loss that does not matter."""
ASSUMED_SPREAD, ASSUMED_SEEDS = 0.25, 2
"""Spread in margins that is assumed of every number, and the seeds that it counts for."""

MARGINS = (
    f"margin: {ACCURACY_MARGIN:g} points of accuracy ({HIGH_ACCURACY_MARGIN:g} from "
    f"{HIGH_ACCURACY:g} % on), {100 * LOSS_MARGIN:g} % of a loss; times have no verdict"
)
RULES = {
    REPRODUCED: "the 90 % interval of the difference lies within the margin",
    DIFFERS: "the interval lies wholly beyond the margin; a count or shape is not the same",
    TOO_NOISY: "the interval crosses the margin: more seeds are needed",
    CLOSE: "one seed, the difference is within the margin: one run cannot tell more",
    FAR: "one seed, the difference is beyond the margin: one run cannot tell more",
    EXACT: "a count or shape is the same",
    FAILED: "training failed with every seed: there is no value, which is not an accuracy of 0",
    NOT_RUN: "nothing was measured yet",
    NOT_REPORTED: "the report has no value",
}
"""Meaning of each verdict."""
LINES_RULE = (
    "a line of epoch 2 stands without its step: reproduced is the median of all logged lines, "
    f"spread their range; {CLOSE} inside that range, {FAR} outside"
)


class Judgement(NamedTuple):
    """A verdict and the ends of its interval, NaN for one seed."""

    verdict: str
    low: float
    high: float


class Deviation(NamedTuple):
    """A sample deviation and its degrees of freedom."""

    value: float
    degrees: int

    def half_width(self, *counts: int, tail: float = TAIL) -> float:
        """Return half of the interval of a difference between means.

        Args:
            counts: Runs behind each mean; one count: the mean is compared with a fixed number.
            tail: Share of the distribution to leave out on each side.
        """
        return _quantile(self.degrees, tail) * self.value * math.sqrt(sum(1 / n for n in counts))


@cache
def _quantile(degrees: int, tail: float) -> float:
    return float(stdtrit(degrees, 1 - tail))


def margin(reported: float, unit: str) -> float:
    """Return the largest difference that does not matter, NaN for none."""
    if unit in POINTS and not math.isnan(reported):
        high = reported * POINTS[unit] >= HIGH_ACCURACY
        return (HIGH_ACCURACY_MARGIN if high else ACCURACY_MARGIN) / POINTS[unit]
    return LOSS_MARGIN * abs(reported) if unit == "nats" else math.nan


def pooled(rows: Iterable[tuple[float, int]], width: float) -> Deviation:
    """Pool the spreads of rows with the assumed spread.

    Args:
        rows: Sample deviation and number of seeds of each row; rows with one seed do not count.
        width: The margin of these numbers.
    """
    repeated = [(spread, seeds - 1) for spread, seeds in rows if seeds > 1]
    repeated.append((ASSUMED_SPREAD * width, ASSUMED_SEEDS - 1))
    degrees = sum(freedom for _, freedom in repeated)
    variance = sum(freedom * spread**2 for spread, freedom in repeated) / degrees
    return Deviation(math.sqrt(variance), degrees)


def judge(difference: float, spread: float, seeds: int, width: float, rounding: float) -> Judgement:
    """Judge the difference between the mean here and one reported run.

    Args:
        difference: Mean here minus the reported value.
        spread: Sample deviation over the seeds. Not used for one seed.
        seeds: Number of seeds.
        width: The margin.
        rounding: Half of the last printed digit, which widens the interval.
    """
    if seeds == 1:
        return Judgement(CLOSE if abs(difference) - rounding <= width else FAR, math.nan, math.nan)
    half = pooled([(spread, seeds)], width).half_width(seeds, 1) + rounding
    low, high = difference - half, difference + half
    if -width <= low and high <= width:
        return Judgement(REPRODUCED, low, high)
    return Judgement(DIFFERS if low > width or high < -width else TOO_NOISY, low, high)
