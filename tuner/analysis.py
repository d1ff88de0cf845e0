"""Data frames become tables that people read: what is best, and how far a study is."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tuner.folder import StudyResults, rank

STATES = ("COMPLETE", "PRUNED", "FAILED", "RUNNING")


def leaderboard(study: StudyResults, top: int = 5) -> pd.DataFrame:
    """The best completed trials, best first: number, value, accuracies, epochs, seconds and the searched parameters.

    A trial that was repeated with other seeds shows the mean and the standard deviation of its repeats' values too.
    """
    best = rank(study.spec, study.trials).head(top)
    searched = [f"param_{name}" for name, parameter in study.spec.space.root.items() if f"param_{name}" in best]
    columns = ["number", "value", "val_accuracy", "test_accuracy", "epochs_run", "train_seconds", *searched]
    table = best[columns].rename(columns={name: name.removeprefix("param_") for name in searched})
    table = table.rename(columns={"value": study.spec.objective[0].metric, "epochs_run": "epochs"})
    table = table.loc[:, ~table.columns.duplicated()]
    repeats = study.trials[(study.trials["purpose"] == "repeat") & (study.trials["state"] == "COMPLETE")]
    if len(repeats):
        values = repeats.groupby("repeat_of")["value"]
        table["repeats"] = table["number"].map(values.size())
        table["repeats_mean"] = table["number"].map(values.mean())
        table["repeats_std"] = table["number"].map(values.std())
    return table


def counts_by_state(trials: pd.DataFrame) -> dict[str, int]:
    """How many trials are in each state; every state is named."""
    counts: Mapping[Any, int] = trials["state"].value_counts().to_dict()
    return {state: int(counts.get(state, 0)) for state in STATES}
