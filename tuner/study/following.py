"""The progress of a study that another process runs, from its tables alone."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from tuner.analysis.formatting import format_duration, is_missing, whole_number
from tuner.errors import StudyError, first_line
from tuner.results.folder import StudyFolder
from tuner.results.runs import read_runs
from tuner.results.schema import Table
from tuner.results.tables import latest_rows
from tuner.storage.lock import Holder, read_holder
from tuner.study.budget import Spent
from tuner.study.observer import Row
from tuner.study.progress import Progress

State = Literal["running", "finished", "interrupted"]
TIMES: dict[Table, str] = {"epochs": "at", "decisions": "at", "trials": "updated_at"}
"""The tables that are followed, each with its column of times. Rows of one time count in this order."""
QUIET_SECONDS = 120.0
"""Seconds without a row after which the age of the last row is told."""


class StudyFollower:
    """A reader that turns new rows into progress, and writes nothing.

    Parts are read once. All rows are read again after a merge of parts, and where a run begins
    or ends.

    Args:
        folder: The study's folder.

    Attributes:
        progress: The progress of the last run.
        state: State of the study.
    """

    progress: Progress

    def __init__(self, folder: StudyFolder) -> None:
        self._folder = folder
        self._seen: dict[Table, set[str]] = {}
        self._provenance: Mapping[str, Any] | None = None
        self._holder: Holder | None = None
        self._trouble: str | None = None
        self.state: State = "running"
        self._read_again(folder.provenance())
        self._update_state()

    def poll(self) -> bool:
        """Read new rows, and return True if there are any."""
        try:
            has_changed = self._read_new()
            self._update_state()
        except (StudyError, OSError) as error:
            self._trouble = first_line(error)
            return False
        self._trouble = None
        return has_changed

    @property
    def note(self) -> str | None:
        """Line to show beside the progress, or None."""
        if self._trouble is not None:
            return f"{self._trouble}; tried again"
        if self.state == "interrupted":
            in_flight = len(self.progress.running) + len(self.progress.waiting)
            return f"{self._ending}, {in_flight} trials in flight; `tuner run` with the study's file goes on"
        quiet = time.time() - self._last
        if self.state == "running" and quiet > QUIET_SECONDS:
            by = f"; the driver is {self._holder.name}" if self._holder else ""
            return f"no new row for {format_duration(quiet)}{by}"
        return None

    def _clock(self) -> float:
        """Return the current time, or the time of the last row.

        The last row's time counts during a replay, and while no driver runs the study.
        """
        return self._last if self._is_replaying or self.state != "running" else max(self._last, time.time())

    def _read_new(self) -> bool:
        """Read the parts that were not read before."""
        tables, provenance = self._folder.tables(self.progress.spec), self._folder.provenance()
        names: dict[Table, set[str]] = {table: {*tables.part_names(table)} for table in TIMES}
        if names == self._seen and provenance == self._provenance:
            return False
        if provenance == self._provenance and all(self._seen[table] <= names[table] for table in TIMES):
            try:
                rows = {table: tables.rows_of(table, sorted(names[table] - self._seen[table])) for table in TIMES}
            except FileNotFoundError:  # because a merge has replaced it
                pass
            else:
                self._seen = names
                self._replay(rows)
                return True
        self._read_again(provenance)
        return True

    def _read_again(self, provenance: Mapping[str, Any]) -> None:
        """Read all rows, and replay those of the last run."""
        spec = self._folder.spec()
        tables = self._folder.tables(spec)
        names: dict[Table, set[str]] = {table: {*tables.part_names(table)} for table in TIMES}
        rows = {table: tables.history(table) for table in TIMES}
        runs = read_runs(provenance, tables)
        start = runs[-1].start if runs else datetime.fromtimestamp(0, UTC)
        new = {table: frame[frame[TIMES[table]] >= start] for table, frame in rows.items()}
        old = {table: frame[frame[TIMES[table]] < start] for table, frame in rows.items()}
        self._last = start.timestamp() if runs else _earliest(new)
        self._is_replaying = True
        self._rows: dict[int, Row] = {}
        spent = Spent(sum(run.seconds for run in runs[:-1]), epochs=int((old["epochs"]["epoch"] > 0).sum()))
        self.progress = Progress(
            spec, latest_rows(old["trials"]).to_dict("records"), spent, _records(old["decisions"]), self._clock
        )
        self.progress.slots = runs[-1].slots[-1][1] if runs and runs[-1].slots else None
        self._seen, self._provenance = names, provenance
        self._replay(new)

    def _replay(self, rows: Mapping[Table, pd.DataFrame]) -> None:
        """Pass new rows on in the order of their times."""
        attempts = rows["trials"].groupby("number")["attempt"].max()
        events = [(row[at].timestamp(), table, row) for table, at in TIMES.items() for row in _records(rows[table])]
        self._is_replaying = True
        for at, table, row in sorted(events, key=lambda event: event[0]):
            self._last = max(self._last, at)
            match table:
                case "epochs":
                    self._report(row)
                case "decisions":
                    self.progress.rungs.judged(row)
                case "trials" if row["state"] != "FAILED" or row["attempt"] == attempts[row["number"]]:
                    self._change(row)
        self._is_replaying = False

    def _report(self, report: Row) -> None:
        """Bring a running trial up to an epoch.

        Repeated epochs add no seconds.
        """
        row = self._rows.get(report["number"])
        if row is None or not report["epoch"] or report["number"] not in self.progress.running:
            return
        furthest = max(row.get("furthest", 0), whole_number(row.get("epochs_run")))
        if report["epoch"] > furthest:
            row["seconds"] = row.get("seconds", 0.0) + report.get("seconds", 0.0)
        row |= {"epochs_run": report["epoch"], "furthest": max(furthest, report["epoch"])}
        row["value"] = report.get(self.progress.spec.objective[0].metric, row.get("value"))
        self.progress.reported(row, report)

    def _change(self, cells: Row) -> None:
        """Bring a trial to another state."""
        row = self._rows.setdefault(cells["number"], {})
        row |= cells
        match cells["state"]:
            case "RUNNING":
                self.progress.started(row)
                self.progress.taken_up(row)
            case "PAUSED":
                self.progress.paused(row)
            case _:
                self.progress.ended(row)
                del self._rows[cells["number"]]

    def _update_state(self) -> None:
        """Read whether the study runs, and how its last run ended."""
        self._holder = read_holder(self._folder.storage)
        run = ((self._provenance or {}).get("runs") or [{}])[-1]
        halted, in_flight = run.get("halted"), self.progress.running or self.progress.waiting
        self._ending = f"ended by {halted}" if str(halted).startswith("budget.") else "interrupted"
        if self._holder is not None and self._holder.is_alive is not False:
            self.state = "running"
        elif run.get("stopped_at") and halted is None and not in_flight:
            self.state = "finished"
        else:
            self.state = "interrupted"
        self.progress.interrupted = self.state == "interrupted"


def _earliest(rows: Mapping[Table, pd.DataFrame]) -> float:
    """Return the time of the earliest row, or now without any."""
    times = [frame[TIMES[table]].min().timestamp() for table, frame in rows.items() if len(frame)]
    return min(times, default=time.time())


def _records(frame: pd.DataFrame) -> Iterator[Row]:
    """Return the rows of a table without their empty cells."""
    for record in frame.to_dict("records"):
        yield {str(name): cell for name, cell in record.items() if not is_missing(cell)}
