"""Logs of trials beside the tables, which are filled from the tables' rows.

A log holds one run per trial: its parameters, a point per epoch and metric, and its fate. A thread of
the driver follows the rows that were written. Whenever a log may differ from the tables it is made
equal to them: at the start, after a failure, and at the end. So a resumed study neither loses nor
doubles points.
"""

import math
import os
import queue
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from tuner.config.log_to import AUTO, LogName
from tuner.config.study import StudyConfig
from tuner.errors import SpecError, type_and_line
from tuner.results.folder import StudyFolder
from tuner.results.schema import EPOCH_COLUMNS, FINISHED, Table
from tuner.results.tables import Tables
from tuner.storage import is_url

Row = Mapping[str, Any]
"""A row of the tables. A log gets rows without missing cells."""
Points = Mapping[int, Row]
"""Rows of a trial's epochs, by epoch."""

RETRY_SECONDS = 60.0
"""Seconds to wait before a log that failed is completed from the tables."""
CLOSE_SECONDS = 60.0
"""Seconds to wait at the end of a study until its logs are complete."""
MOST_WAITING = 10_000
"""Batches of rows that wait for a slow log before it is completed from the tables instead."""


class TrialLog(Protocol):
    """A log with one run per trial."""

    name: str
    """Name of the log in study files."""
    place: str
    """Its folder or URI."""

    def open(self) -> None:
        """Connect to the log, and learn which runs it holds."""

    def is_whole(self, row: Row) -> bool:
        """Return True if a finished trial's run is complete, including its fate."""

    def write(self, row: Row, epochs: Points) -> None:
        """Make the run of a trial equal to its rows.

        The run may be missing, incomplete or different before.
        """

    def append(self, row: Row, epochs: Points) -> None:
        """Add epochs to the run of a trial."""

    def end(self, row: Row) -> None:
        """Add the fate of a finished trial to its run."""


class Follower:
    """A thread that keeps a log equal to a running study's tables.

    Args:
        log: The log.
        spec: The study.
        folder: Its folder.
    """

    def __init__(self, log: TrialLog, spec: StudyConfig, folder: StudyFolder) -> None:
        self._log, self._spec, self._folder = log, spec, folder
        self._waiting: queue.SimpleQueue[tuple[Table, list[Row]] | None] = queue.SimpleQueue()
        self._open: dict[int, _OpenTrial] = {}
        self._ended: dict[int, int] = {}  # attempts of trials that have ended
        self._is_behind = True
        self._retry_at = 0.0
        self._has_warned = False
        self._thread = threading.Thread(target=self._follow, name=f"log-{log.name}", daemon=True)

    def start(self) -> None:
        """Start the thread, which first completes the log."""
        self._waiting.put(("trials", []))
        self._thread.start()

    def written(self, table: Table, rows: Sequence[Row]) -> None:
        """Hand on rows that are in the tables. It returns at once."""
        if table not in ("trials", "epochs"):
            return
        if self._waiting.qsize() > MOST_WAITING:
            self._is_behind = True
        else:
            self._waiting.put((table, list(rows)))

    def close(self) -> None:
        """Wait until the log is complete, for `CLOSE_SECONDS` at most."""
        self._waiting.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self._warn(TimeoutError(f"it took longer than {CLOSE_SECONDS:g} s"))

    def complete(self) -> None:
        """Make the log equal to the tables."""
        self._open, self._ended = {}, {}
        self._log.open()
        tables = self._folder.tables(self._spec)
        trials = tables.trials().drop(columns=["values", "sampler_attrs"])
        rows = {int(row["number"]): row for row in _rows(trials)}
        missing = {number for number, row in rows.items() if not self._is_whole(row)}
        epochs = tables.epochs()
        points: dict[int, dict[int, Row]] = defaultdict(dict)
        for point in _rows(epochs[epochs["number"].isin(missing)]):
            points[int(point["number"])][int(point["epoch"])] = point
        for number, row in rows.items():
            if number in missing:
                self._begin(row, points.pop(number, {}))
            else:
                self._ended[number] = int(row["attempt"])

    def _is_whole(self, row: Row) -> bool:
        return row["state"] in FINISHED and self._log.is_whole(row)

    def _begin(self, row: Row, epochs: dict[int, Row]) -> None:
        """Write a trial that the log lacks."""
        self._log.write(row, epochs)
        trial = self._open[int(row["number"])] = _OpenTrial(row, epochs)
        self._end_if_finished(trial)

    def _end_if_finished(self, trial: "_OpenTrial") -> None:
        number = int(trial.row["number"])
        if trial.row["state"] in FINISHED:
            self._log.end(trial.row)
            self._ended[number] = int(trial.row["attempt"])
            del self._open[number]

    def _follow(self) -> None:
        """Take rows from the queue until the study has ended."""
        is_ending = False
        while not is_ending:
            batches = [self._waiting.get()]
            while not self._waiting.empty():
                batches.append(self._waiting.get())
            is_ending = None in batches
            self._tolerate([batch for batch in batches if batch is not None], is_ending)

    def _tolerate(self, batches: list[tuple[Table, list[Row]]], is_ending: bool) -> None:
        """Log rows. Warn once if that fails, and complete the log later."""
        try:
            if not self._is_behind:
                self._add(batches)
            if self._is_behind and (is_ending or time.monotonic() >= self._retry_at):
                self._is_behind = False
                self.complete()
        except Exception as error:
            self._is_behind = True
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            warnings.warn(
                f"log_to.{self._log.name}: {type_and_line(error)}; the study goes on, and the log is completed"
                f" later, or by `tuner log {self._spec.study} --to {self._log.name}`",
                stacklevel=2,
            )
        self._has_warned = True

    def _add(self, batches: list[tuple[Table, list[Row]]]) -> None:
        """Log rows, those of one trial at once."""
        latest: dict[int, Row] = {}
        epochs: dict[int, dict[int, Row]] = defaultdict(dict)
        for table, rows in batches:
            for row in (_present(row) for row in rows if row["attempt"] > self._ended.get(row["number"], 0)):
                if table == "epochs":
                    epochs[row["number"]][row["epoch"]] = row
                elif row["attempt"] >= latest.get(row["number"], row)["attempt"]:
                    latest[row["number"]] = row
        for number in {**latest, **epochs}:
            self._add_to(number, latest.get(number), epochs.get(number, {}))

    def _add_to(self, number: int, row: Row | None, epochs: dict[int, Row]) -> None:
        """Add rows to the run of a trial.

        The run is written again where an attempt repeats epochs.
        """
        trial = self._open.get(number)
        if trial is not None:
            self._extend(trial, row or trial.row, epochs)
        elif row is None or number in self._ended:  # opened again, so that its earlier rows are needed
            self._is_behind = True
        else:
            self._begin(row, epochs)

    def _extend(self, trial: "_OpenTrial", row: Row, epochs: Points) -> None:
        earlier = trial.epochs
        new = {at: point for at, point in epochs.items() if point["attempt"] > _attempt(earlier.get(at))}
        is_repeated = bool(new.keys() & earlier.keys())
        earlier.update(new)
        if row["attempt"] >= trial.row["attempt"]:
            trial.row = row
        if is_repeated:
            self._log.write(trial.row, earlier)
        elif new:
            self._log.append(trial.row, new)
        self._end_if_finished(trial)


@dataclass
class _OpenTrial:
    """A trial that has not ended: its latest row, and its epochs."""

    row: Row
    epochs: dict[int, Row]


def _attempt(point: Row | None) -> int:
    return 0 if point is None else int(point["attempt"])


def _rows(frame: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of a table."""
    return (_present({str(name): cell for name, cell in row.items()}) for row in frame.to_dict("records"))


def _present(row: Row) -> Row:
    """Return a row without its missing cells."""
    return {name: cell for name, cell in row.items() if not _is_missing(cell)}


def _is_missing(cell: Any) -> bool:
    return cell is None or cell is pd.NA or bool(cell != cell)  # NaN and NaT differ from themselves


def metrics_of(point: Row) -> dict[str, float]:
    """Return the finite measurements of an epoch's row."""
    cells = {name: point.get(name) for name in EPOCH_COLUMNS if name != "epoch"}
    return {name: float(cell) for name, cell in cells.items() if cell is not None and math.isfinite(cell)}


def final_metrics(row: Row) -> dict[str, float]:
    """Return the finite test metrics of a finished trial's row."""
    cells = {name: row.get(name) for name in ("test_accuracy", "test_loss")}
    return {name: float(cell) for name, cell in cells.items() if cell is not None and math.isfinite(cell)}


def make_logs(spec: StudyConfig, folder: StudyFolder) -> list[TrialLog]:
    """Return the logs of a study's `log_to`.

    Raises:
        SpecError: A package is not installed, or an object store needs a named place.
    """
    return [_make_log(name, place, spec, folder) for name, place in spec.log_to.items()]


def _make_log(name: LogName, place: str, spec: StudyConfig, folder: StudyFolder) -> TrialLog:
    if find_spec(name) is None:
        raise SpecError(f"log_to: {name} is not installed; pip install 'tuner[{name}]'")
    root = str(folder)
    needs_place = place == AUTO and not (name == "mlflow" and os.environ.get("MLFLOW_TRACKING_URI"))
    if needs_place and is_url(root):
        example = "FOLDER" if name == "tensorboard" else "URI"
        raise SpecError(f"log_to: {name} cannot be in an object store; name its place: {{{name}: {example}}}")
    if name == "tensorboard":
        from tuner.study.tensorboard_log import TensorBoardLog

        return TensorBoardLog(Path(root) / "tensorboard" if place == AUTO else Path(place) / spec.study, spec, folder)
    from tuner.study.mlflow_log import MlflowLog

    default = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(root).absolute().parent / 'mlflow.db'}"
    return MlflowLog(default if place == AUTO else place, spec, folder)


@contextmanager
def following(spec: StudyConfig, folder: StudyFolder, tables: Tables) -> Iterator[None]:
    """Keep the logs of a study equal to its tables.

    This goes on until the end of the block.

    Args:
        spec: The study.
        folder: Its folder, whose provenance has the run already.
        tables: The tables that the driver writes.
    """
    followers = [Follower(log, spec, folder) for log in make_logs(spec, folder)]

    def hand_on(table: Table, rows: Sequence[Row]) -> None:
        for follower in followers:
            follower.written(table, rows)

    tables.on_written = hand_on if followers else None  # first, so that no row is missed
    for follower in followers:
        follower.start()
    try:
        yield
    finally:
        for follower in followers:
            follower.close()


def catch_up(spec: StudyConfig, folder: StudyFolder) -> None:
    """Make the logs of a study equal to its tables.

    The study must not be running. A log that fails causes a warning.
    """
    with following(spec, folder, folder.tables(spec)):
        pass
