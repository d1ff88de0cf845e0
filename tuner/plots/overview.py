"""The overview of a study: its most telling figures as one."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from tuner.analysis.front import front
from tuner.analysis.leaderboard import best_by_epochs
from tuner.analysis.ledger import ledger
from tuner.analysis.parameters import searched_parameters
from tuner.analysis.predictions import best_predictions, class_names
from tuner.analysis.sampling import sample_trials
from tuner.plots.fronts import pareto_front
from tuner.plots.importance import importance as draw_importance
from tuner.plots.importance import parallel_coordinates
from tuner.plots.learning_curves import learning_curves
from tuner.plots.predictions import confusion_matrix
from tuner.plots.progress import best_so_far, time_ledger
from tuner.plots.search import rungs
from tuner.plots.style import apply_style
from tuner.results.ranking import rank_confirmed

if TYPE_CHECKING:
    from tuner.results.folder import StudyResults

MOST_CURVES, MOST_LINES, MOST_PARAMETERS, MOST_CLASSES = 200, 100, 8, 20
"""Trials drawn as learning curves and across parameters, parameters, and classes of a matrix."""

Draw = Callable[[Axes], object]


def overview(study: "StudyResults", importance: pd.DataFrame | None = None) -> dict[str, Axes]:
    """Draw the overview of a study as one figure of several Axes.

    Args:
        study: The study.
        importance: `tuner.search.importance.importance(spec, trials, epochs)`. None: it is not drawn.

    Returns:
        The Axes by name: `best`, `curves`, `parallel`, and perhaps `front`, `importance`, `rungs`,
        `ledger` and `confusion`.
    """
    panels = {**_search_panels(study), **_other_panels(study, importance)}
    rows = _arrange(panels)
    axes: dict[str, Axes]
    figure, axes = plt.subplot_mosaic(rows, figsize=(9.5, 2.9 * len(rows)), layout="constrained")
    for name, draw in panels.items():
        draw(apply_style(axes[name]))
        axes[name].set_title(TITLES[name], loc="left", fontsize=10)
    figure.suptitle(study.spec.study, x=0.01, ha="left", parse_math=False)
    return axes


def _arrange(panels: Collection[str]) -> list[Any]:
    """Arrange panels in rows of two, with `parallel` beside two others."""
    others = [name for name in panels if name != "parallel"]
    rows = [others[:2]]
    rest = others[2:]
    if "parallel" in panels:
        beside = (rest[:2] * 2)[:2] or ["parallel", "parallel"]  # one other panel is as high
        rows += [["parallel", name] for name in beside]
        rest = rest[2:]
    return rows + [[*pair, pair[0]][:2] for pair in (rest[i : i + 2] for i in range(0, len(rest), 2))]


TITLES = {
    "best": "Best so far",
    "curves": "Learning curves",
    "parallel": "All parameters at once",
    "front": "Pareto front",
    "importance": "Importance of parameters",
    "rungs": "Rungs",
    "ledger": "Time of the slots",
    "confusion": "Confusion matrix of the best trial",
}


def _search_panels(study: "StudyResults") -> dict[str, Draw]:
    """Return the panels that every study has."""
    spec, metric = study.spec, study.spec.objective[0].metric
    curves = sample_trials(spec, study.trials, MOST_CURVES)
    best = next(iter(rank_confirmed(spec, study.trials)["number"]), -1)  # -1: no trial is the best
    panels: dict[str, Draw] = {
        "best": lambda ax: best_so_far(best_by_epochs(study), metric, ax=ax),
        "curves": lambda ax: learning_curves(study.epochs, metric, curves, study.decisions, best=best, ax=ax),
    }
    parameters = dict(list(searched_parameters(spec.space).items())[:MOST_PARAMETERS])
    if len(parameters) > 1:
        lines = sample_trials(spec, study.trials, MOST_LINES)
        panels["parallel"] = lambda ax: parallel_coordinates(lines, parameters, metric, ax=ax)
    return panels


def _other_panels(study: "StudyResults", importance: pd.DataFrame | None) -> dict[str, Draw]:
    """Return the panels for which the study has data."""
    panels: dict[str, Draw] = {}
    objectives = [objective.metric for objective in study.spec.objective]
    if len(objectives) > 1:
        panels["front"] = lambda ax: pareto_front(front(study), objectives, ax=ax)
    if importance is not None:
        panels["importance"] = lambda ax: draw_importance(importance, ax=ax)
    if not study.decisions.empty:
        panels["rungs"] = lambda ax: rungs(study.decisions, ax=ax)
    if spent := ledger(study):
        panels["ledger"] = lambda ax: time_ledger(spent, ax=ax)
    predictions = best_predictions(study)
    names = class_names(study, predictions)
    if 0 < len(names) <= MOST_CLASSES and not predictions.empty:
        panels["confusion"] = lambda ax: confusion_matrix(predictions, names, ax=ax)
    return panels
