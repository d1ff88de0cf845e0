"""Measurements in a results directory for the lines of `tuner.reproduction.reported`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.schema import is_search

SHAPES = "shapes.parquet"
"""File beside the studies with one row per layer of some networks.

Columns: `architecture, image_size, layer, kind, output, parameters`.
"""


class Runs:
    """The studies of a results directory, each read once.

    A study that was not run is no error.

    Args:
        results: The results directory.
    """

    def __init__(self, results: str | Path) -> None:
        self._results = Path(results)
        self._studies: dict[str, StudyResults | None] = {}
        self._trials: dict[tuple[str, str], pd.DataFrame] = {}

    def study(self, name: str) -> StudyResults | None:
        """Return the study of this name, or None if it is missing."""
        if name not in self._studies:
            folder = StudyFolder(self._results / name)
            self._studies[name] = StudyResults(folder, folder.spec()) if folder.holds_a_study else None
        return self._studies[name]

    def trials(self, name: str, trial: str) -> pd.DataFrame:
        """Return the trial of one configuration and its repeats with other seeds.

        Args:
            name: The study.
            trial: Parameters of the configuration, `learning_rate=0.01 epochs=5`. Empty: all.
        """
        if (name, trial) not in self._trials:  # because a report has many numbers of each
            self._trials[name, trial] = self._chosen(name, trial)
        return self._trials[name, trial]

    def _chosen(self, name: str, trial: str) -> pd.DataFrame:
        """Return one configuration's trial and repeats, read from the tables."""
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
        """Return the measurements of a reported number by trial number.

        They are in the report's unit. The index has a trial several times if the line asks for all
        logged lines of an epoch. Values at the end of a trial count for completed trials only.
        Values of an epoch count when the epoch is over.
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
        """Return True if training the configuration failed with every seed."""
        trials = self.trials(line["study"], line["trial"])
        return not trials.empty and bool((trials["state"] == "FAILED").all())

    def shape(self, line: Mapping[Any, Any]) -> str | None:
        """Return an output shape as slides write it, None if missing."""
        path = self._results / SHAPES
        if not path.exists():
            return None
        rows = pd.read_parquet(path)
        for column, value in choice(line["trial"]).items():
            rows = rows[rows[column] == value]
        return None if rows.empty else str(rows["output"].iloc[0])


def choice(trial: str) -> dict[str, Any]:
    """Return the parameters of a line by name.

    Numbers and booleans are converted. Other values stay text.
    """
    pairs = (pair.partition("=") for pair in trial.split())
    return {name: _value(text) for name, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
