"""Hyperparameter search for PyTorch image classifiers, from YAML to Parquet.

>>> import tuner
>>> study = tuner.load_study("results/digits")  # doctest: +SKIP
>>> study.best.value  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner import data, models, plots, training
    from tuner.config.study import StudyConfig, load_spec
    from tuner.results.folder import StudyResults, load_study
    from tuner.study.run import run_study
    from tuner.training.exported import load_model

__version__ = "0.1.0"
__all__ = [
    "StudyConfig",
    "StudyResults",
    "data",
    "load_model",
    "load_spec",
    "load_study",
    "models",
    "plots",
    "run_study",
    "training",
]

_EARLIER_NAMES = {"StudySpec": "StudyConfig"}
_HOMES = {
    "StudyResults": "tuner.results.folder",
    "load_study": "tuner.results.folder",
    "StudyConfig": "tuner.config.study",
    "load_spec": "tuner.config.study",
    "run_study": "tuner.study.run",
    "load_model": "tuner.training.exported",
    "study_card": "tuner.analysis.card",
}
"""Modules of public names, and of one that a method of `StudyResults` calls."""


def __getattr__(name: str) -> Any:
    """Import a part when used, because torch and Ray take seconds."""
    name = _EARLIER_NAMES.get(name, name)
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"tuner.{name}")
    raise AttributeError(f"module 'tuner' has no attribute '{name}'")
