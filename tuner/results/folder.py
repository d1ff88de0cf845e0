"""A study's folder, with all its paths, and the way to read it."""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tuner.config.study import StudyConfig, parse_spec
from tuner.config.yaml import parse_yaml
from tuner.errors import SpecError, StudyError, first_line
from tuner.results.ranking import count_searched, rank, rank_confirmed
from tuner.results.schema import FINISHED, ORDER
from tuner.results.tables import Tables
from tuner.storage import StoreError, open_storage
from tuner.storage.lock import hold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FILES = ("study.yaml", "identity.json", "provenance.json", "learned.json")
_FOLDERS = (*ORDER, "checkpoints", "logs", "tensorboard")


class StudyFolder:
    """Everything below `RESULTS/<study>/`, which is a folder or `s3://BUCKET/PREFIX`."""

    def __init__(self, root: str | Path) -> None:
        self.storage = open_storage(root)
        self._is_locked = False

    def __str__(self) -> str:
        return str(self.storage)

    @property
    def name(self) -> str:
        """Name of the folder, usually that of its study."""
        return str(self).rpartition("/")[2]

    @property
    def holds_a_study(self) -> bool:
        """Return True if a study was started here."""
        return self.storage.exists("study.yaml")

    def spec(self) -> StudyConfig:
        """Read the resolved study. Raise StudyError if there is none."""
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
        """Write the resolved study."""
        self.storage.write("study.yaml", spec.to_yaml().encode())

    def provenance(self) -> dict[str, Any]:
        """Read the provenance, which has one entry per run.

        It is empty if none is recorded.
        """
        try:
            record = json.loads(self.storage.read("provenance.json"))
            return _check_provenance(record)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            path = self.storage.path("provenance.json")
            said = f"{path} is damaged and is passed over: {first_line(error)}"
            warnings.warn(said, stacklevel=1)  # at this line, so that several readers warn once
            return {}

    def write_provenance(self, record: dict[str, Any]) -> None:
        """Write the provenance, and rename a damaged one to `.broken` first."""
        with suppress(FileNotFoundError):
            try:
                _check_provenance(json.loads(self.storage.read("provenance.json")))
            except ValueError:
                self.storage.rename("provenance.json", "provenance.json.broken")
        self.storage.write("provenance.json", json.dumps(record, indent=2).encode())

    def identity(self) -> dict[str, Any] | None:
        """Read what decided the numbers of the study.

        The result is None if an earlier version wrote the study.

        Raises:
            ValueError: The file is damaged.
        """
        try:
            identity = json.loads(self.storage.read("identity.json"))
        except FileNotFoundError:
            return None
        if not isinstance(identity, dict):
            raise ValueError("it is no mapping")
        return identity

    def write_identity(self, identity: Mapping[str, Any]) -> None:
        """Write what decides the numbers of the study, see `tuner.results.identity`."""
        self.storage.write("identity.json", json.dumps(identity, indent=2).encode())

    def tables(self, spec: StudyConfig) -> Tables:
        """Return the tables of the study."""
        return Tables(self.storage, spec.space, spec.study)

    def checkpoint(self, number: int) -> str:
        """Name the checkpoint from which a trial resumes."""
        return f"checkpoints/{number:05d}/latest.pt"

    def weights(self, number: int) -> str:
        """Name the file with the weights of a completed trial."""
        return f"checkpoints/{number:05d}/weights.pt"

    def log(self, number: int, attempt: int) -> str:
        """Name the file with the traceback of a failed attempt."""
        return f"logs/trial-{number:05d}-attempt-{attempt}.txt"

    def move_aside(self, at: datetime) -> Path | str:
        """Rename the whole folder to make room for a new study.

        Return its new path.
        """
        base = f".until-{at:%Y%m%dT%H%M%S}"
        endings = (base, *(f"{base}-{count}" for count in range(2, 100)))
        free = (ending for ending in endings if not open_storage(f"{self}{ending}").entries())
        return self.storage.move_aside(next(free))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make and lock the folder for the process that runs the study.

        A lock that this object holds is shared, so that a caller can lock before it starts Ray.

        Raises:
            StudyError: The folder holds other files, cannot be written, or is locked by the process
                that the message names.
        """
        if self._is_locked:
            yield
            return
        self._check_entries()
        with hold(self.storage):
            self._is_locked = True
            try:
                yield
            finally:
                self._is_locked = False

    def _check_entries(self) -> None:
        """Raise StudyError unless the folder is free or holds a study."""
        entries = self.storage.entries()
        if entries and not self._is_study(entries):
            raise StudyError(f"{self}: holds other files ('{entries[0]:.80}') and no study; use another --name")
        for name in _FILES:
            self.storage.check_kind(name, is_folder=False)
        for name in _FOLDERS:
            self.storage.check_kind(name, is_folder=True)

    def _is_study(self, entries: list[str]) -> bool:
        """Return True if the entries are those of a started study.

        A study that was just started has only its file, which a user may also have put there.
        """
        if "study.yaml" not in entries:
            return False
        if any(name in entries for name in ("provenance.json", *ORDER)):
            return True
        return self.storage.read("study.yaml") == self.spec().to_yaml().encode()


def _check_provenance(record: Any) -> dict[str, Any]:
    """Return a provenance record. Raise ValueError if it has another form."""
    if not isinstance(record, dict) or not isinstance(record.get("runs"), list):
        raise ValueError("it has no list of runs")
    if not all(isinstance(run, dict) for run in record["runs"]):
        raise ValueError("a run is no mapping")
    return record


def check_comparable(folder: StudyFolder, spec: StudyConfig) -> StudyConfig:
    """Refuse to add rows to a study with other settings.

    Returns:
        The study with what its file leaves open as in the folder.

    Raises:
        StudyError: The study differs in space, data set, training, objective or search.
    """
    begun = folder.spec() if folder.holds_a_study else spec
    continued = spec.continuing(begun)
    if changed := continued.differences(begun):
        raise StudyError(
            f"{folder}: holds a study with other settings ({'; '.join(changed)}); "
            "run it under another --name, or start over with --fresh"
        )
    return continued


@dataclass(frozen=True)
class StudyResults:
    """A study that was read from its folder.

    >>> study = load_study("results/digits")  # doctest: +SKIP
    >>> study.trials.sort_values("value").tail()  # doctest: +SKIP
    """

    folder: StudyFolder
    spec: StudyConfig

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial: its latest state, metrics and parameters (`param_*`)."""
        return self.folder.tables(self.spec).trials()

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row per trial and epoch.

        Each row is of the latest attempt that reached the epoch. Epoch 0 is the untrained network.
        """
        return self.folder.tables(self.spec).epochs()

    @cached_property
    def folds(self) -> pd.DataFrame:
        """One row per trial, epoch and fold (`dataset.validation.folds`)."""
        return self.folder.tables(self.spec).folds()

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per trial and line of its step log (`log_every`)."""
        return self.folder.tables(self.spec).steps()

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row per verdict of the scheduler, in the order of time."""
        return self.folder.tables(self.spec).history("decisions")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per completed trial and image (`predictions`)."""
        return self.folder.tables(self.spec).predictions()

    @cached_property
    def classes(self) -> pd.DataFrame:
        """One row per completed trial, split and class (`classes`)."""
        return self.folder.tables(self.spec).classes()

    def trial(self, number: int) -> dict[str, Any]:
        """Return the row of a trial.

        Raises:
            StudyError: The study has no such trial. The nearest number is named.
        """
        found = self.trials[self.trials["number"] == number].to_dict("records")
        if found:
            return {str(key): value for key, value in found[0].items()}
        if self.trials.empty:
            raise StudyError(f"{self.folder}: no trial has begun")
        numbers = self.trials["number"]
        nearest = min(numbers, key=lambda other: (abs(int(other) - number), other))
        raise StudyError(
            f"{self.folder}: no trial {number}; did you mean {nearest}? allowed: {numbers.min()} to {numbers.max()}"
        )

    @property
    def best(self) -> pd.Series:
        """The completed trial that `rank_confirmed` puts first.

        It has the best mean of its repeats, in `confirmed`, or the best first objective if none was
        repeated. The other values are those of the search.

        Raises:
            StudyError: No trial is complete, or none of them inside the constraints.
        """
        ranked = rank_confirmed(self.spec, self.trials)
        if ranked.empty:
            inside = " inside the constraints" if (self.trials["state"] == "COMPLETE").any() else ""
            raise StudyError(f"{self.folder}: no trial{inside} is complete yet")
        return ranked.iloc[0]

    def plot(self, importance: pd.DataFrame | None = None) -> "dict[str, Axes]":
        """Draw the overview of the study, see `tuner.plots.overview`."""
        import tuner  # because plots are a later room, which only the package as a whole knows

        return tuner.plots.overview(self, importance)

    def _repr_html_(self) -> str:
        """Show the study in a notebook."""
        import tuner

        card: str = tuner.study_card(self)
        return card


def is_finished(spec: StudyConfig, trials: pd.DataFrame) -> bool:
    """Return True if all trials and repeats of a study have ended."""
    if count_searched(spec, trials) < (spec.search.trials or 1) or not trials["state"].isin(FINISHED).all():
        return False
    if spec.repeats is None:
        return True
    ranked, repeats = rank(spec, trials), trials["repeat_of"].value_counts()
    best = ranked if spec.repeats.top == "all" else ranked.head(spec.repeats.top)
    return all(repeats.get(number, 0) >= spec.repeats.seeds for number in best["number"])


def load_study(path: str | Path) -> StudyResults:
    """Read a study, such as `results/digits` or `s3://BUCKET/results/digits`.

    A table is read at its first use.

    Raises:
        StudyError: The study does not exist, or the object store does not answer.
    """
    folder = StudyFolder(path)
    return StudyResults(folder, folder.spec())


def find_studies(results: str | Path) -> list[StudyFolder]:
    """List the studies of a results directory, by name."""
    storage = open_storage(results)
    names = [name for name in storage.folders() if not name.startswith(".")]

    def holds_a_study(name: str) -> bool:
        try:
            return storage.exists(f"{name}/study.yaml")
        except StoreError as error:
            warnings.warn(f"{error}; passed over", stacklevel=2)
            return False

    exist = storage.each(holds_a_study, names)
    return [StudyFolder(f"{storage}/{name}") for name, exists in zip(names, exist, strict=True) if exists]
