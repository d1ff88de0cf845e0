"""Division of the training images into folds, stratified by class, in whole groups if named."""

import numpy as np
from numpy.typing import NDArray

from tuner.data.groups import MISSING, MOST_SWEEPS, deal_groups

Ints = NDArray[np.int64]


def stratified_folds(labels: Ints, classes: int, folds: int, seed: int) -> Ints:
    """Deal the shuffled images of each class to the folds in turn.

    Neither folds nor their shares of a class differ by more than one image.

    Returns:
        (N,) the fold of each image, from 0.
    """
    shuffle = np.random.RandomState(seed % 2**32).permutation  # because only RandomState is guaranteed never to change
    order = np.concatenate([shuffle(np.flatnonzero(labels == label)) for label in range(classes)])
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def grouped_folds(labels: Ints, classes: int, groups: Ints, folds: int, seed: int) -> Ints:
    """Deal whole groups to the folds, near equal shares of each class.

    From several random orders, groups are moved while that brings the shares nearer. A fold may lack
    a class where no better division was found.

    Returns:
        (N,) the fold of each image, from 0.
    """
    return deal_groups(groups, seed, lambda numbered, order: _dealt(labels, classes, numbered, folds, order))


def _dealt(labels: Ints, classes: int, groups: Ints, folds: int, order: Ints) -> tuple[float, Ints]:
    """Deal groups to folds and move them while the cost falls.

    Large groups are dealt first.

    Returns:
        The cost, and the fold of each group.
    """
    sizes = np.bincount(labels, minlength=classes)
    cells, counts = np.unique(groups * classes + labels, return_counts=True)
    label, ends = cells % classes, np.searchsorted(cells, np.arange(len(order) + 1) * classes)
    order = order[np.argsort(-np.bincount(groups)[order], kind="stable")]
    taken, fold = np.zeros((folds, classes), np.int64), np.full(len(order), -1)

    def costs(amount: Ints, of: Ints) -> NDArray[np.float64]:
        """Return the cost of each fold, (folds,)."""
        summed: NDArray[np.float64] = (np.square(amount / sizes[of] - 1 / folds) + MISSING * (amount == 0)).sum(axis=1)
        return summed

    for _ in range(MOST_SWEEPS):
        before = fold.copy()
        for group in order:
            cell = slice(ends[group], ends[group + 1])
            of, images, own = label[cell], counts[cell], fold[group]
            if own >= 0:
                taken[own, of] -= images
            added = costs(taken[:, of] + images, of) - costs(taken[:, of], of)
            best = int(added.argmin())
            fold[group] = own if own >= 0 and added[own] <= added[best] + 1e-9 else best
            taken[fold[group], of] += images
        if np.array_equal(before, fold):
            break
    present = np.flatnonzero(sizes)
    return float(costs(taken[:, present], present).sum()), fold
