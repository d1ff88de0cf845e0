"""The part of a study's budget that earlier runs have spent."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tuner.results.tables import Tables


def spent_seconds(provenance: Mapping[str, Any], tables: Tables) -> float:
    """Return the seconds of the study's budget that earlier runs took.

    A run that was killed has no end in the provenance, and ends with its last row.
    """
    runs = [(_time(run.get("started_at")), _time(run.get("stopped_at"))) for run in _runs(provenance)]
    known = [(start, end) for start, end in runs if start is not None]
    times = [] if all(end for _, end in known) else _row_times(tables)
    limits = [*(start for start, _ in known[1:]), None]
    spent = 0.0
    for (start, end), limit in zip(known, limits, strict=False):  # no run has one limit
        rows = (at for at in times if limit is None or at < limit)
        spent += max(0.0, ((end or max(rows, default=start)) - start).total_seconds())
    return spent


def _runs(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run for run in provenance.get("runs", ()) if isinstance(run, Mapping)]


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
