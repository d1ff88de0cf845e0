"""Leaderboards, counts by state, and the best value by epochs of a study."""

from collections.abc import Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tuner.analysis.confirmation import confirmed
from tuner.config.parameters import Constant
from tuner.config.study import StudyConfig
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.pareto import not_dominated
from tuner.results.ranking import rank, rank_confirmed
from tuner.results.runs import read_runs
from tuner.results.schema import is_search

STATES = ("COMPLETE", "PRUNED", "FAILED", "PAUSED", "RUNNING")


def load_or_empty(spec: StudyConfig, results: str | Path) -> StudyResults:
    """Load a study, with empty tables if it was not begun.

    Args:
        spec: The study of a study file. The study folder's own spec counts if there is a folder.
        results: The results directory.
    """
    folder = StudyFolder(Path(results) / spec.study)
    return StudyResults(folder, folder.spec() if folder.holds_a_study else spec)


def leaderboard(study: StudyResults, top: int | None = None) -> pd.DataFrame:
    """Rank the completed trials of the search as `rank_confirmed` does, best first.

    Of equal trials the earliest is first.

    Columns: `number`, the objectives by name, with folds `deviation` (of the first objective over the folds),
    `val_accuracy`, `test_accuracy`, `epochs`, `train_seconds`, the searched parameters by name.
    These values are those of the search. If trials were repeated with other seeds, columns of the
    repeats follow `number`: `repeats` (their number), `diverged` where any did, `repeats_mean` of
    the first objective with `repeats_half` (half of its 95 % interval) and `repeats_std` (the
    sample's deviation), and `test_mean` with `test_half`. Both are missing for a single repeat.
    With several objectives only trials of the Pareto front are ranked, by the first objective.

    Args:
        study: The study.
        top: Number of rows at most. None: all.
    """
    ranked = rank_confirmed(study.spec, study.trials)
    names = [objective.metric for objective in study.spec.objective]
    values = np.array(ranked["values"].tolist()).reshape(len(ranked), len(names))
    if len(names) > 1:
        best = not_dominated(values * [objective.sign for objective in study.spec.objective])
        ranked, values = ranked[best].reset_index(drop=True), values[best]
    columns = {"number": ranked["number"]} | {name: values[:, column] for column, name in enumerate(names)}
    if study.spec.dataset.folds > 1:
        columns["deviation"] = ranked["deviation"]
    kept = {"val_accuracy": "val_accuracy", "test_accuracy": "test_accuracy", "epochs_run": "epochs"}
    kept |= {"train_seconds": "train_seconds"} | {
        f"param_{name}": name
        for name, parameter in study.spec.space.root.items()
        if not isinstance(parameter, Constant)
    }
    for column, name in kept.items():
        columns.setdefault(name, ranked[column])
    return _with_repeats(study, pd.DataFrame(columns)).iloc[:top]


def _with_repeats(study: StudyResults, table: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of the repeats, if a trial was repeated.

    They follow the column `number`.
    """
    found = confirmed(study.spec, study.trials, ["value", "test_accuracy"]).set_index("number")
    if not found["seeds"].any():
        return table
    repeats = study.trials[study.trials["state"] == "COMPLETE"].groupby("repeat_of")
    columns = {"repeats": found["seeds"]}
    if found["diverged"].any():
        columns["diverged"] = found["diverged"]
    columns |= {"repeats_mean": found["value"], "repeats_half": found["value_half"]}
    columns |= {"repeats_std": repeats["value"].std()}
    columns |= {"test_mean": found["test_accuracy"], "test_half": found["test_accuracy_half"]}
    joined = table[["number"]].join(pd.DataFrame(columns, index=found.index), on="number")
    whole = [name for name in ("repeats", "diverged") if name in joined]
    joined[whole] = joined[whole].astype("Int64")
    return pd.concat([joined, table.drop(columns="number")], axis=1)


def counts_by_state(trials: pd.DataFrame) -> dict[str, int]:
    """Count the trials in each state. Every state is named."""
    counts: Mapping[Any, int] = trials["state"].value_counts().to_dict()
    return {state: int(counts.get(state, 0)) for state in STATES}


def overview(study: StudyResults) -> dict[str, Any]:
    """Summarize a study in one row.

    Keys: `study` (its folder's name), each state in lower case (its number of trials), `of`
    (planned trials), `metric`, `value` (of the best trial in the search), `repeats_mean` (of its
    repeats) and `updated_at` (time of the last change). What is missing is None.
    """
    trials, ranked = study.trials, rank_confirmed(study.spec, study.trials)
    best = None if ranked.empty else ranked.iloc[0]
    return {
        "study": study.folder.name,
        **{state.lower(): count for state, count in counts_by_state(trials).items()},
        "of": study.spec.search.trials,
        "metric": study.spec.objective[0].metric,
        "value": None if best is None else float(best["value"]),
        "repeats_mean": None if best is None or pd.isna(best["confirmed"]) else float(best["confirmed"]),
        "updated_at": None if trials.empty else trials["updated_at"].max(),
    }


def best_by_epochs(study: StudyResults) -> pd.DataFrame:
    """Trace the best value of the search by the epochs trained.

    One row per completed trial of the search, in the order of time. Columns: `number`, `epochs` (trained by all
    trials of the search until then, pruned and failed trials included), `value` (of the first objective), `best`
    (of the values until then). Trials outside of a constraint are left out.
    """
    reached = completed_by_epochs(study)
    return reached.assign(best=_best_so_far(study.spec, reached["value"]))


def _best_so_far(spec: StudyConfig, values: "pd.Series[float]") -> "pd.Series[float]":
    return values.cummax() if spec.objective[0].direction == "maximize" else values.cummin()


def completed_by_epochs(study: StudyResults) -> pd.DataFrame:
    """Count the epochs trained until each trial was complete.

    One row per completed trial of the search, in the order of time. Columns: `number`, `epochs`
    (trained by all trials of the search until then), `value`. Trials outside of a constraint are
    left out.
    """
    searched = study.trials.loc[is_search(study.trials), "number"]
    epochs = study.epochs[study.epochs["number"].isin(searched) & (study.epochs["epoch"] > 0)]
    trained = epochs.sort_values("at", kind="stable", ignore_index=True)
    ends = trained.assign(epochs=trained.index + 1).drop_duplicates("number", keep="last")[["number", "epochs"]]
    values = rank(study.spec, study.trials).set_index("number")["value"]
    return ends.join(values, on="number", how="inner").reset_index(drop=True)


def best_by_time(study: StudyResults) -> pd.DataFrame:
    """Trace the best value of the search by the study's running time.

    Time between runs does not count. A study without recorded runs begins with its first trial.

    Returns:
        One row per completed trial of the search, in the order of time: `number`, `value`, `seconds`
        (until then) and `best` (of the values until then).
    """
    reached = best_by_epochs(study)
    trials = study.trials.set_index("number")
    ended = trials["updated_at"].reindex(reached["number"])
    runs = read_runs(study.folder.provenance(), study.folder.tables(study.spec))
    spans = [(pd.Timestamp(run.start), pd.Timestamp(run.end)) for run in runs]
    seconds = pd.Series(0.0, index=ended.index)
    for start, end in spans or [(trials["started_at"].min(), ended.max())]:
        seconds += (ended.dt.tz_convert(UTC) - start).dt.total_seconds().clip(0, (end - start).total_seconds())
    timed = reached[["number", "value"]].assign(seconds=seconds.to_numpy()).dropna(subset="seconds")
    timed = timed.sort_values("seconds", kind="stable", ignore_index=True)
    return timed.assign(best=_best_so_far(study.spec, timed["value"]))


def read_pictures(path: str | Path) -> pd.DataFrame:
    """Read a few images of data sets from Parquet.

    They are shown beside predictions.

    Columns: `dataset`, `index` (among the test images, as in `predictions`), `label`, `image` ((C, H, W) uint8).
    In the file an image is `channels`, `height`, `width` and the bytes `pixels`.
    """
    frame = pd.read_parquet(path)
    shapes = zip(frame["pixels"], frame["channels"], frame["height"], frame["width"], strict=True)
    images = [np.frombuffer(pixels, np.uint8).reshape(shape) for pixels, *shape in shapes]
    return frame[["dataset", "index", "label"]].assign(image=pd.Series(images, index=frame.index, dtype=object))
