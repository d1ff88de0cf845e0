"""The time of a study's slots: what trials trained, and what else took it.

The time of an attempt begins where its trial is given to Ray. It is divided at the attempt's
reports. Before the first report, time that training, evaluation and checkpoints did not take is
start-up. Later it is idle, because the worker waits for the study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tuner.results.folder import StudyResults
from tuner.results.runs import Run, read_runs

ENTRIES = {
    "completed": "training of trials that completed",
    "stopped": "training of trials that were stopped",
    "waiting": "training of trials that wait or run",
    "failed": "training of trials that failed",
    "lost": "training that a retry or a resume repeats",
    "evaluation": "validation and test images",
    "checkpoints": "saving of checkpoints and weights",
    "start-up": "workers, images and networks until the first step",
    "idle": "slots without a trial, or whose trial waits for the study",
}
"""The entries of a ledger, with their meaning."""
_FATES = {"COMPLETE": "completed", "PRUNED": "stopped", "FAILED": "failed"}


@dataclass(frozen=True)
class Ledger:
    """The time of all slots of a study.

    Attributes:
        seconds: Seconds of each entry of `ENTRIES`.
        slot_seconds: Slots times time, over all runs. The entries add up to it.
        wall_seconds: Time of all runs.
    """

    seconds: dict[str, float]
    slot_seconds: float
    wall_seconds: float


def ledger(study: StudyResults) -> Ledger | None:
    """Account for the time of a study's slots.

    The result is None for a study of an earlier version, whose slots are not recorded.
    """
    tables = study.folder.tables(study.spec)
    runs = [run for run in read_runs(study.folder.provenance(), tables) if run.seconds]
    if not runs or not all(run.slots for run in runs):
        return None
    attempts = read_attempts(tables.history("trials"), runs)
    trained = _trained(_reports(tables.history("epochs"), attempts), attempts, study.trials)
    free = [_free_seconds(run, attempts[attempts["run"] == index]) for index, run in enumerate(runs)]
    seconds = {name: float(trained.get(name, 0.0)) for name in ENTRIES}
    seconds["start-up"] += sum(before for before, _ in free)
    seconds["idle"] += sum(idle for _, idle in free)
    return Ledger(seconds, sum(run.slot_seconds for run in runs), sum(run.seconds for run in runs))


def read_attempts(rows: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Return when each attempt held a slot.

    Args:
        rows: All rows of the table `trials`.
        runs: The study's runs, of which at least one has begun.

    Returns:
        Columns: `number`, `attempt`, `run` (index), `begin`, `end`, `has_failed`, `is_cut`. An attempt
        that is cut has no end of its own, and ends with its run.
    """
    keys = ["number", "attempt"]
    begin = rows[rows["state"] == "RUNNING"].groupby(keys)["updated_at"].max().rename("begin")
    others = rows[rows["state"] != "RUNNING"].sort_values("updated_at", kind="stable").drop_duplicates(keys)
    ends = others.set_index(keys)[["updated_at", "state"]].rename(columns={"updated_at": "end"})
    attempts = begin.to_frame().join(ends).reset_index()
    starts = pd.Series([run.start for run in runs]).to_numpy("datetime64[us]")
    begun = attempts["begin"].to_numpy("datetime64[us]")
    attempts["run"] = (np.searchsorted(starts, begun, side="right") - 1).clip(0)
    ran_until = pd.Series([run.end for run in runs]).loc[attempts["run"]].reset_index(drop=True)
    attempts["is_cut"], attempts["has_failed"] = attempts["end"].isna(), attempts["state"] == "FAILED"
    attempts["end"] = attempts["end"].fillna(ran_until).clip(upper=ran_until, lower=attempts["begin"])
    return attempts.drop(columns="state")


def _reports(epochs: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """Divide the time before each report.

    Returns:
        One row per report, with the seconds of `training`, `evaluation`, `checkpoints`, `start-up`
        and `idle`, `is_first` of the attempt, and `is_repeated` where a later attempt has trained
        the epoch again.
    """
    rows = epochs[epochs["epoch"] > 0].merge(attempts, on=["number", "attempt"])
    rows = rows.sort_values(["number", "attempt", "at"], kind="stable", ignore_index=True)
    before = rows.groupby(["number", "attempt"])["at"].shift()
    is_first = before.isna()
    left = (rows["at"] - before.fillna(rows["begin"])).dt.total_seconds().clip(lower=0.0)
    costs = _costs(rows)
    divided = {}
    for name in ("evaluation", "checkpoints", "training"):
        divided[name] = np.minimum(costs[name], left)
        left = left - divided[name]
    divided |= {"start-up": left.where(is_first, 0.0), "idle": left.where(~is_first, 0.0)}
    last = rows.groupby(["number", "epoch"])["attempt"].transform("max")
    return rows[["number", "attempt", "at"]].assign(**divided, is_first=is_first, is_repeated=rows["attempt"] < last)


def _costs(rows: pd.DataFrame) -> dict[str, "pd.Series[float]"]:
    """Return what a worker measured before each report.

    The training of an epoch follows from its speed, because `train_seconds` sums up all epochs.
    """
    first = rows[rows["epoch"] == 1]
    images = (first["train_seconds"] * first["images_per_second"]).median()
    training = (images / rows["images_per_second"].replace(0.0, np.nan)).fillna(0.0)
    evaluation = rows["evaluation_seconds"].fillna(rows["seconds"] - training).fillna(0.0).clip(lower=0.0)
    return {"training": training, "evaluation": evaluation, "checkpoints": rows["checkpoint_seconds"].fillna(0.0)}


def _trained(reports: pd.DataFrame, attempts: pd.DataFrame, trials: pd.DataFrame) -> "pd.Series[Any]":
    """Add up the time that trials held slots, by entry."""
    fates = trials.set_index("number")["state"].map(_FATES).fillna("waiting")
    entry = reports["number"].map(fates).mask(reports["is_repeated"], "lost")
    trained = reports["training"].groupby(entry).sum()
    others = reports[["evaluation", "checkpoints", "start-up", "idle"]].sum()
    last = reports.groupby(["number", "attempt"])["at"].max().rename("last")
    held = attempts.join(last, on=["number", "attempt"])
    tail = (held["end"] - held["last"].fillna(held["begin"])).dt.total_seconds().clip(lower=0.0)
    # because an attempt that was cut before its first report may have begun to train
    usual = reports.loc[reports["is_first"], "start-up"].median()
    starting = tail.where(held["is_cut"] & held["last"].isna(), 0.0).clip(upper=usual)
    after = (tail - starting).groupby(_tail_entries(held, held["number"].map(fates), trials)).sum()
    after["start-up"] = after.get("start-up", 0.0) + starting.sum()
    total: pd.Series[Any] = pd.concat([trained, others, after]).groupby(level=0).sum()
    return total


def _tail_entries(held: pd.DataFrame, fates: "pd.Series[str]", trials: pd.DataFrame) -> "pd.Series[str]":
    """Return the entry of the time after each attempt's last report.

    An attempt that ended by a report waits for the study there. Others were within an epoch.
    """
    latest = held["number"].map(trials.set_index("number")["attempt"])
    entries = pd.Series("idle", index=held.index).mask(held["is_cut"], fates)
    return entries.mask(held["has_failed"], fates.where(held["attempt"] == latest, "lost"))


def _free_seconds(run: Run, attempts: pd.DataFrame) -> tuple[float, float]:
    """Return the seconds of free slots before and after the first trial."""
    counts = [count for _, count in run.slots]
    changes = [(at, count - before) for (at, count), before in zip(run.slots, [0, *counts], strict=False)]
    changes += [(at.to_pydatetime(), -1) for at in attempts["begin"]]
    changes += [(at.to_pydatetime(), 1) for at in attempts["end"]]
    first = min((at.to_pydatetime() for at in attempts["begin"]), default=run.end)
    times = np.array([(at - run.start).total_seconds() for at, _ in changes])
    order = np.argsort(times, kind="stable")
    bounds = np.append(times[order], run.seconds).clip(0.0, run.seconds)
    free = np.cumsum([changes[index][1] for index in order]).clip(0)
    idle = free * np.diff(bounds)
    is_before = bounds[:-1] < (first - run.start).total_seconds()
    return float(idle[is_before].sum()), float(idle[~is_before].sum())
