"""Plots of a study's data frames, drawn on matplotlib's Axes, which each function returns.

Without `ax` a function makes a new figure. Accuracies are shares in the frames and percent on the axes. If there
is nothing to draw, the Axes hold a text.

>>> from tuner import load_study, plots
>>> study = load_study("results/digits")  # doctest: +SKIP
>>> plots.learning_curves(study.epochs, trials=study.trials)  # doctest: +SKIP
"""

from tuner.plots.comparison import reported_against_reproduced
from tuner.plots.fronts import hypervolume, pareto_front
from tuner.plots.importance import importance, parallel_coordinates
from tuner.plots.learning_curves import curves, learning_curves, step_log
from tuner.plots.overview import overview
from tuner.plots.parameters import heat_map, slices
from tuner.plots.predictions import confusion_matrix, pictures
from tuner.plots.progress import best_so_far, time_ledger
from tuner.plots.search import optimization_history, rungs

__all__ = [
    "best_so_far",
    "confusion_matrix",
    "curves",
    "heat_map",
    "hypervolume",
    "importance",
    "learning_curves",
    "optimization_history",
    "overview",
    "parallel_coordinates",
    "pareto_front",
    "pictures",
    "reported_against_reproduced",
    "rungs",
    "slices",
    "step_log",
    "time_ledger",
]
