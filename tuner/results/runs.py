"""Runs of a study: when each began and ended, with how many slots."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from tuner.results.tables import Tables


@dataclass(frozen=True)
class Run:
    """One run of a study.

    Attributes:
        start: Time of its start.
        end: Time of its end. A run that was killed ends with its last row, and a running one too.
        slots: Number of slots from each time on. Earlier versions recorded none.
        gpu: GPUs of a trial.
    """

    start: datetime
    end: datetime
    slots: tuple[tuple[datetime, int], ...] = field(default=())
    gpu: float = 0.0

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        return max(0.0, (self.end - self.start).total_seconds())

    @property
    def slot_seconds(self) -> float:
        """Seconds of all slots together."""
        ends = [*(at for at, _ in self.slots[1:]), self.end]
        return sum(count * (end - at).total_seconds() for (at, count), end in zip(self.slots, ends, strict=True))


def read_runs(provenance: Mapping[str, Any], tables: Tables) -> list[Run]:
    """Read the runs of a study, in the order of time.

    Rows are read only for a run that has no end in the provenance.
    """
    records = [run for run in provenance.get("runs", ()) if isinstance(run, Mapping)]
    known = [(start, run) for run in records if (start := _time(run.get("started_at"))) is not None]
    times = [] if all(_time(run.get("stopped_at")) for _, run in known) else _row_times(tables)
    runs = []
    for (start, run), (limit, _) in pairwise([*known, (None, {})]):
        assert start is not None
        rows = (at for at in times if limit is None or at < limit)
        end = _time(run.get("stopped_at")) or max(rows, default=start)
        runs.append(Run(start, max(start, end), _slots(run, start), float(run.get("gpu") or 0.0)))
    return runs


def begun_at(provenance: Mapping[str, Any]) -> str:
    """Return the start of a study's first run.

    The start tells studies of one name apart. It is empty if no run was recorded.
    """
    runs = provenance.get("runs") or [{}]
    return str(runs[0].get("started_at") or "")


def _slots(run: Mapping[str, Any], start: datetime) -> tuple[tuple[datetime, int], ...]:
    """Return the number of slots from each time on.

    The first number counts from the start of the run.
    """
    changes = [(_time(at), int(count)) for at, count in run.get("slots") or ()]
    known = [(at, count) for at, count in changes if at is not None]
    return ((start, known[0][1]), *known[1:]) if known else ()


def _row_times(tables: Tables) -> list[datetime]:
    """Return the times of all rows of trials and epochs."""
    columns = (tables.history("trials")["updated_at"], tables.history("epochs")["at"])
    return [at.to_pydatetime() for column in columns for at in column.dropna()]


def _time(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
