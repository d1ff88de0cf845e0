"""Pareto front of a study with several objectives, and the hypervolume below it by epochs."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuner.analysis.leaderboard import completed_by_epochs
from tuner.results.folder import StudyResults
from tuner.results.pareto import not_dominated
from tuner.results.ranking import rank

MARGIN = 0.1
"""Share of its range by which the reference point is worse than the worst value of an objective."""
Points = NDArray[np.float64]


def front(study: StudyResults) -> pd.DataFrame:
    """Return the objectives of the search's completed trials.

    Trials outside of a constraint are left out.

    Returns:
        Columns: `number`, the objectives by name, and `is_front`: no other trial is as good in every
        objective and better in one.
    """
    ranked = rank(study.spec, study.trials).sort_values("number", ignore_index=True)
    names = [objective.metric for objective in study.spec.objective]
    values = np.array(ranked["values"].tolist(), dtype=float).reshape(len(ranked), len(names))
    is_front = not_dominated(values * [objective.sign for objective in study.spec.objective])
    columns = {name: values[:, index] for index, name in enumerate(names)}
    return pd.DataFrame({"number": ranked["number"], **columns, "is_front": is_front})


def hypervolume_by_epochs(study: StudyResults) -> pd.DataFrame:
    """Trace the hypervolume of the front by the epochs trained.

    Each objective is scaled to its range over all completed trials, from a reference point that is
    `MARGIN` of the range worse than the worst value. One trial that is best in everything has 1.

    Returns:
        One row per completed trial, in the order of time: `number`, `epochs` (trained by all trials
        of the search until then), `hypervolume` (of the trials until then, 0 to 1).
    """
    values = front(study).set_index("number").drop(columns="is_front")
    signs = [objective.sign for objective in study.spec.objective]
    scaled = pd.DataFrame(_scale(values.to_numpy() * signs), index=values.index)
    reached = completed_by_epochs(study)
    best = np.empty((0, len(signs)))
    volumes = []
    for point in scaled.loc[reached["number"]].to_numpy():
        best = np.vstack([best, point])
        best = best[not_dominated(best)]
        volumes.append(hypervolume(best))
    return reached[["number", "epochs"]].assign(hypervolume=np.array(volumes, dtype=float))


def _scale(points: Points) -> Points:
    """Scale each objective between its reference (0) and its best value (1)."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    reference = low - MARGIN * (high - low)
    extent = np.where(high > low, high - reference, 1.0)
    return np.where(high > low, (points - reference) / extent, 1.0)


def hypervolume(points: Points) -> float:
    """Return the volume between the origin and points (N, objectives).

    More of each objective is better. The volume is cut into slices along the last objective.
    """
    points = points[(points > 0).all(axis=1)]
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = points[np.argsort(-points[:, -1], kind="stable")]
    depths: Any = points[:, -1] - np.append(points[1:, -1], 0.0)
    slices = (depth * hypervolume(points[: index + 1, :-1]) for index, depth in enumerate(depths) if depth > 0)
    return float(sum(slices))
