"""What the runs of a results directory measured, for any line of `tuner.reproduction.reported`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.schema import is_search

SHAPES = "shapes.parquet"
"""Beside the studies: `architecture, image_size, layer, kind, output, parameters`, a row a layer of some networks."""


class Runs:
    """The studies of a results directory, each read once; a study that was not run is no error.

    Args:
        results: The results directory.
    """

    def __init__(self, results: str | Path) -> None:
        self._results = Path(results)
        self._studies: dict[str, StudyResults | None] = {}

    def study(self, name: str) -> StudyResults | None:
        """The study of this name, or None where there is none."""
        if name not in self._studies:
            folder = StudyFolder(self._results / name)
            self._studies[name] = StudyResults(folder, folder.spec()) if folder.holds_a_study else None
        return self._studies[name]

    def trials(self, name: str, trial: str) -> pd.DataFrame:
        """Rows of `trials` for one configuration: the search's trial and its repeats with other seeds.

        Args:
            name: The study.
            trial: Parameters that choose the configuration, `learning_rate=0.01 epochs=5`; empty: all.
        """
        study = self.study(name)
        if study is None:
            return pd.DataFrame()
        trials = study.trials
        chosen = is_search(trials)
        for parameter, value in choice(trial).items():
            column = trials.get(f"param_{parameter}", pd.Series(None, index=trials.index, dtype=object))
            chosen &= (column == value).fillna(False).astype(bool)
        numbers = trials["number"][chosen]
        return trials[chosen | trials["repeat_of"].isin(numbers)]

    def values(self, line: Mapping[Any, Any]) -> "pd.Series[Any]":
        """What each run measured of a reported number, in the report's unit, indexed by the number of the trial.

        The index has a trial several times where the line asks for all logged lines of an epoch. What is of the end of
        a trial counts for completed trials only; what is of an epoch counts when the epoch is over.
        """
        trials = self.trials(line["study"], line["trial"])
        study = self.study(line["study"])
        if study is None or trials.empty:
            return pd.Series(dtype=float)
        rows = trials[trials["state"] == "COMPLETE"]
        if not pd.isna(line["epoch"]):
            rows = study.steps if line["step"] else study.epochs
            rows = rows[rows["number"].isin(trials["number"]) & (rows["epoch"] == line["epoch"])]
        if line["step"] not in ("", "all"):
            rows = rows[rows["step"] == int(line["step"])]
        values: pd.Series[Any] = rows.set_index("number")[line["metric"]].astype(float).dropna()
        return values * float(line["scale"])

    def failed(self, line: Mapping[Any, Any]) -> bool:
        """Whether the configuration of a line was tried and could not be trained with any seed."""
        trials = self.trials(line["study"], line["trial"])
        return not trials.empty and bool((trials["state"] == "FAILED").all())

    def shape(self, line: Mapping[Any, Any]) -> str | None:
        """The output shape that a line asks for, as the slides write it (`28x28x6`); None where none is on record."""
        path = self._results / SHAPES
        if not path.exists():
            return None
        rows = pd.read_parquet(path)
        for column, value in choice(line["trial"]).items():
            rows = rows[rows[column] == value]
        return None if rows.empty else str(rows["output"].iloc[0])


def choice(trial: str) -> dict[str, Any]:
    """Parameters of a line of a report by name: numbers and booleans as such, anything else as text."""
    pairs = (pair.partition("=") for pair in trial.split())
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
