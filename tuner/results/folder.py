"""A study's folder: the one owner of every path below it, and the way to read a study back."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tuner.config.study import StudyConfig, parse_spec
from tuner.config.yaml import parse_yaml
from tuner.errors import SpecError, StudyError
from tuner.results.tables import Tables
from tuner.storage import StoreError, open_storage
from tuner.storage.lock import hold


class StudyFolder:
    """Everything below `RESULTS/<study>/`, by what it is; a folder, or `s3://BUCKET/PREFIX`."""

    def __init__(self, root: str | Path) -> None:
        self.storage = open_storage(root)

    def __str__(self) -> str:
        return str(self.storage)

    @property
    def name(self) -> str:
        """The name of the folder itself, as a rule that of its study."""
        return str(self).rpartition("/")[2]

    @property
    def holds_a_study(self) -> bool:
        """Whether a study was begun here."""
        return self.storage.exists("study.yaml")

    def spec(self) -> StudyConfig:
        """The study as resolved when it was begun; a StudyError where there is none."""
        try:
            text = self.storage.read("study.yaml").decode()
        except StoreError:
            raise
        except OSError:
            raise StudyError(f"{self}: no study here (no study.yaml); `tuner ls` shows the studies there are") from None
        except UnicodeDecodeError:
            raise StudyError(f"{self}/study.yaml: not a text file") from None
        try:
            return parse_spec(parse_yaml(text, str(self.storage.path("study.yaml"))), f"{self}/study.yaml", stored=True)
        except SpecError as error:
            raise StudyError(str(error)) from None

    def write_spec(self, spec: StudyConfig) -> None:
        """Keep the resolved study."""
        self.storage.write("study.yaml", spec.to_yaml().encode())

    def provenance(self) -> dict[str, Any]:
        """Where the results come from: one entry for each run of the study; empty where none is recorded."""
        try:
            record: dict[str, Any] = json.loads(self.storage.read("provenance.json"))
        except (OSError, ValueError):
            return {}
        return record

    def write_provenance(self, record: dict[str, Any]) -> None:
        """Keep where the results come from."""
        self.storage.write("provenance.json", json.dumps(record, indent=2).encode())

    def tables(self, spec: StudyConfig) -> Tables:
        """The tables of the study."""
        return Tables(self.storage, spec.space)

    def checkpoint(self, number: int) -> str:
        """Name of what a trial needs to go on."""
        return f"checkpoints/{number:05d}/latest.pt"

    def weights(self, number: int) -> str:
        """Name of the weights of a completed trial."""
        return f"checkpoints/{number:05d}/weights.pt"

    def log(self, number: int, attempt: int) -> str:
        """Name of the traceback of an attempt that failed."""
        return f"logs/trial-{number:05d}-attempt-{attempt}.txt"

    def move_aside(self, at: datetime) -> Path | str:
        """Give the whole folder another name, so that a study of the same name can begin anew; returns where it is."""
        return self.storage.move_aside(f".until-{at:%Y%m%dT%H%M%S}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and hold it for the one process that runs the study.

        Raises:
            StudyError: The folder cannot be written, or another process holds it; the message names that one.
        """
        with hold(self.storage):
            try:
                yield
            finally:
                with suppress(StoreError):
                    if not self.holds_a_study:  # refused before it began: nothing is left behind
                        self.storage.remove_all()


def check_comparable(folder: StudyFolder, spec: StudyConfig) -> None:
    """Refuse to add rows to a study whose rows mean something else.

    Raises:
        StudyError: The folder holds a study with another space, data set, recipe, objective or search.
    """
    if folder.holds_a_study and (changed := spec.differences(folder.spec())):
        raise StudyError(
            f"{folder}: holds a study with other settings ({'; '.join(changed)}); "
            "run it under another --name, or start over with --fresh"
        )


@dataclass(frozen=True)
class StudyResults:
    """A study as its tables tell it.

    >>> study = load_study("results/digits")  # doctest: +SKIP
    >>> study.trials.sort_values("value").tail()  # doctest: +SKIP
    """

    folder: StudyFolder
    spec: StudyConfig

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial: its latest state, metrics and parameters (`param_*`)."""
        return self.folder.tables(self.spec).trials()

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row for each trial and epoch, of the latest attempt that reached it; epoch 0 is the untrained network."""
        return self.folder.tables(self.spec).epochs()

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row for each trial and line of its step log, where the study keeps one (`log_every`)."""
        return self.folder.tables(self.spec).steps()

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row for each verdict of the scheduler, in the order of time."""
        return self.folder.tables(self.spec).history("decisions")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row for each completed trial and image, where the study asks for them (`predictions`)."""
        return self.folder.tables(self.spec).history("predictions")

    @property
    def best(self) -> pd.Series:
        """The completed trial with the best value of the first objective, the earliest of equals.

        Raises:
            StudyError: No trial is complete.
        """
        ranked = rank(self.spec, self.trials)
        if ranked.empty:
            raise StudyError(f"{self.folder}: no trial is complete yet")
        return ranked.iloc[0]


def rank(spec: StudyConfig, trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials of the search, best first by the first objective, the earliest of equals first."""
    complete = trials[(trials["state"] == "COMPLETE") & (trials["purpose"] == "search")]
    ascending = spec.objective[0].direction == "minimize"
    return complete.sort_values("value", ascending=ascending, kind="stable", ignore_index=True)


def is_finished(spec: StudyConfig, trials: pd.DataFrame) -> bool:
    """Whether every trial and every repeat that a study asks for has ended."""
    searched = trials[trials["purpose"] == "search"]
    if len(searched) < (spec.search.trials or 1) or (trials["state"] == "RUNNING").any():
        return False
    if spec.repeats is None:
        return True
    ranked, begun = rank(spec, trials), trials["repeat_of"].value_counts()
    best = ranked if spec.repeats.top == "all" else ranked.head(spec.repeats.top)
    return all(begun.get(number, 0) >= spec.repeats.seeds for number in best["number"])


def load_study(path: str | Path) -> StudyResults:
    """Read a study, `results/digits` or `s3://BUCKET/results/digits`; a table is read when it is first asked for.

    Raises:
        StudyError: There is no study, or the object store does not answer.
    """
    folder = StudyFolder(path)
    return StudyResults(folder, folder.spec())


def find_studies(results: str | Path) -> list[StudyFolder]:
    """The studies of a results directory, by name."""
    storage = open_storage(results)
    names = [name for name in storage.folders() if not name.startswith(".")]
    found = storage.each(lambda name: storage.exists(f"{name}/study.yaml"), names)
    return [StudyFolder(f"{storage}/{name}") for name, there in zip(names, found, strict=True) if there]
