"""What the sections of one study share: its drawn trials, its parameters and the page's data sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from tuner.analysis.parameters import searched_parameters
from tuner.analysis.sampling import sample_trials, spread
from tuner.config.parameters import Parameter
from tuner.errors import printable
from tuner.report.blocks import Columns, Kind, columns, fate, metric_kind
from tuner.report.extras import Extras
from tuner.results.folder import StudyResults
from tuner.results.schema import is_search

MOST_POINTS, MOST_CURVES = 2_000, 200
"""Trials of the search that are drawn at most as points, and as lines."""


@dataclass(frozen=True)
class Context:
    """One study of a page.

    Attributes:
        study: The study.
        key: Beginning of the ids of its blocks and of the names of its data sets.
        extras: What the page shows beside its tables.
        data: Data sets of the whole page, which sections add to.
    """

    study: StudyResults
    key: str
    extras: Extras
    data: dict[str, Columns]

    def id(self, name: str) -> str:
        """Return the id of a block or of a data set."""
        return f"{self.key}_{name}"

    def add(self, name: str, rows: pd.DataFrame) -> str:
        """Add a data set to the page. Return its name there."""
        self.data[self.id(name)] = columns(rows)
        return self.id(name)

    @property
    def metric(self) -> str:
        """Metric of the first objective."""
        return self.study.spec.objective[0].metric

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The searched parameters."""
        return searched_parameters(self.study.spec.space)

    @cached_property
    def searched(self) -> pd.DataFrame:
        """Trials of the search."""
        return self.study.trials[is_search(self.study.trials)].sort_values("number")

    @cached_property
    def points(self) -> pd.DataFrame:
        """Trials of the search that are drawn as points."""
        return sample_trials(self.study.spec, self.study.trials, MOST_POINTS)

    @cached_property
    def lines(self) -> pd.DataFrame:
        """Trials of the search that are drawn as lines."""
        return sample_trials(self.study.spec, self.study.trials, MOST_CURVES)

    def parameters_by_importance(self, most: int) -> list[str]:
        """Return names of parameters, the most important first."""
        shares = self.extras.importance
        known = [] if shares is None else [str(name) for name in shares.index if name in self.parameters]
        return [*known, *(name for name in self.parameters if name not in known)][:most]

    def field(self, parameter: str) -> str:
        """Return the column of a parameter in the page's trials.

        The column's name contains no text from the study.
        """
        return f"p{list(self.parameters).index(parameter)}"

    def add_trials(self) -> None:
        """Add the trials that are drawn as points.

        Completed trials come last, so that they lie on top.
        """
        drawn = self.points.sort_values("state", key=lambda states: states == "COMPLETE", kind="stable")
        known: dict[str, Any] = {
            "trial": drawn["number"],
            "fate": drawn["state"].map(fate),
            "value": drawn["value"],
            "epochs": drawn["epochs_run"],
            "planned": drawn["epochs_planned"],
            "aside": spread(drawn["number"]),
        }
        self.add("trials", pd.DataFrame(known | {self.field(name): drawn[f"param_{name}"] for name in self.parameters}))

    def names(self) -> dict[str, tuple[str, Kind]]:
        """Return the title and kind of each column in a tooltip."""
        kinds: dict[str, tuple[str, Kind]] = {
            "fate": ("fate", "text"),
            "value": (self.metric, metric_kind(self.metric)),
            "epochs": ("epochs trained", "whole"),
            "planned": ("epochs planned", "whole"),
        }
        return kinds | {
            self.field(name): (printable(name), parameter_kind(each)) for name, each in self.parameters.items()
        }


def parameter_kind(parameter: Parameter) -> Kind:
    """Return how the values of a parameter are written."""
    kinds: dict[str, Kind] = {"int": "whole", "float": "number"}
    return kinds.get(parameter.kind, "text")


def drawn_sentence(drawn: int, total: int, noun: str) -> str:
    """Describe how many trials are drawn, and how they were chosen."""
    if drawn >= total:
        return f"All {total:,} {noun} are drawn."
    return f"{drawn:,} of {total:,} {noun} are drawn: the best, and a fair sample of each fate."
