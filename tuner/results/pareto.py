"""Dominance among trials with several objectives."""

import numpy as np
from numpy.typing import NDArray


def not_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the rows of values on the Pareto front.

    Args:
        values: One row per trial and one column per objective, of which more is better.

    Returns:
        True for each row that no other row equals or exceeds everywhere and exceeds somewhere.
    """
    kept = np.ones(len(values), dtype=bool)
    for index, row in enumerate(values):
        if kept[index]:  # what a dominated row dominates, its dominator dominates too
            kept &= ~((row >= values).all(axis=1) & (row > values).any(axis=1))
    return kept
