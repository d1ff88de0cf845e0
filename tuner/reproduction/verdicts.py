"""The rules by which a number counts as reproduced, and a claim as borne out.

Reported numbers are of one run. A number is **within the spread** when it lies in the 95 % prediction interval for one
more run here, m ± t * s * sqrt(1 + 1/n): m and s are mean and sample deviation over n seeds, t is Student's quantile
for n - 1 degrees of freedom. A row with one seed takes s, and its degrees of freedom, from the repeated rows of the
same table and quantity, pooled; where fewer than two were repeated the interval is m ± 2 percentage points. Half of the
last printed digit is added, because the report rounded. Outside of it the reproduction is **better** or **worse** when
it differs by at most 4 percentage points, and the number is **not reproduced** beyond that. Counts and shapes are
**equal** or **not equal**. Losses and times have no verdict: losses have no points to count, times are of other
hardware.

A line of which the report does not say the step is compared with all logged lines of its epoch: their median, their
range as the spread, and within it where it lies in that range.

Two measured means differ when the distance is outside the 95 % confidence interval of their difference, with the pooled
deviation of the rows compared, else of their table, else 2 percentage points.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from scipy import stats

WITHIN = "within the spread"
LEVEL = 0.95
UNREPEATED = 2.0  # percentage points
CLOSE = 4.0  # percentage points
POINTS = {"%": 1.0, "share": 100.0}
"""Units that have a verdict by distance, and how many percentage points one of them is."""
EXACT = ("parameters", "shape")
"""Units that are equal or not."""

RULES = (
    "within the spread: inside the 95 % prediction interval for one more run (one seed: with the deviation of the "
    f"table's repeated rows; fewer than two of them: ± {UNREPEATED:g} points); outside of it better or worse up to "
    f"{CLOSE:g} points, beyond that not reproduced; spread: sample deviation over the seeds"
)
LINES_RULE = "lines of epoch 2 stand without their step: against the median of all logged lines, spread is their range"


class Deviation(NamedTuple):
    """A sample deviation, in the unit of its numbers, and the degrees of freedom that it rests on."""

    value: float
    degrees: int

    def margin(self, *counts: int, more: int = 0) -> float:
        """Half of the 95 % interval: of a difference of means over `counts` seeds, or of `more` runs from a mean."""
        quantile = float(stats.t.ppf((1 + LEVEL) / 2, self.degrees))
        return quantile * self.value * math.sqrt(more + sum(1 / count for count in counts))


def pooled(rows: Iterable[tuple[float, int]]) -> Deviation | None:
    """One deviation from the sample deviations and numbers of seeds of several rows; None where none was repeated."""
    repeated = [(spread, seeds - 1) for spread, seeds in rows if seeds > 1]
    degrees = sum(freedom for _, freedom in repeated)
    if not degrees:
        return None
    return Deviation(math.sqrt(sum(freedom * spread**2 for spread, freedom in repeated) / degrees), degrees)


def borrowed(rows: Iterable[tuple[float, int]]) -> Deviation | None:
    """As `pooled`, for rows that were not repeated themselves: of two others or more, as one may be unlike the rest."""
    repeated = [row for row in rows if row[1] > 1]
    return pooled(repeated) if len(repeated) > 1 else None


def interval(mean: float, spread: float, seeds: int, unit: str, others: Deviation | None) -> tuple[float, float]:
    """Where one more run is expected: lowest and highest, in the unit of the numbers.

    Args:
        mean: Over the seeds.
        spread: Sample deviation over the seeds; NaN for one.
        seeds: How many.
        unit: One of `POINTS`.
        others: Deviation of the repeated rows of the same table.
    """
    own = Deviation(spread, seeds - 1) if seeds > 1 else others
    margin = own.margin(seeds, more=1) if own else UNREPEATED / POINTS[unit]
    return mean - margin, mean + margin


def verdict(reported: float, reproduced: float, low: float, high: float, unit: str, decimals: int) -> str:
    """What the rules say of a number that has a verdict by distance; `low` and `high` as `interval` gives them."""
    rounding = 0.5 * 10.0**-decimals
    if low - rounding <= reported <= high + rounding:
        return WITHIN
    if abs(reproduced - reported) * POINTS[unit] > CLOSE:
        return "not reproduced"
    return "better" if reproduced > reported else "worse"
