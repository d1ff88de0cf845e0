"""Writing of rows and files, even if disk or store fail for a while."""

import time
import warnings
from collections.abc import Callable
from typing import Any

from tuner.errors import StudyError
from tuner.results.folder import StudyFolder
from tuner.results.schema import Table
from tuner.results.tables import Tables

RETRY_SECONDS = 5.0
"""Seconds to wait before writing again what could not be written."""
FLUSH_TIMEOUT_SECONDS = 600.0
"""Seconds to wait at the end of a study until its rows can be written."""


class Writer:
    """A writer of rows, and of what may only follow them.

    While rows cannot be written they stay in memory and the study goes on. A driver that is killed
    then loses them, and its trials are trained again.
    """

    def __init__(self, folder: StudyFolder, tables: Tables) -> None:
        self._folder, self._tables = folder, tables
        self._deferred: list[Callable[[], None]] = []
        self._retry_at: float | None = None

    def append(self, table: Table, row: dict[str, Any]) -> None:
        """Keep a row for the next flush."""
        self._tables.append(table, row)

    def defer(self, action: Callable[[], None]) -> None:
        """Keep an action until all rows before it are written."""
        self._deferred.append(action)

    def flush(self, if_older_than: float = 0.0) -> None:
        """Write pending rows. Warn and keep them if that fails."""
        if self._retry_at is not None and time.monotonic() < self._retry_at:
            return
        try:
            self._write_pending(if_older_than if self._retry_at is None else 0.0)
            self._retry_at = None
        except OSError as error:
            if self._retry_at is None:
                message = f"{error}; rows wait, and are written once that is over"
                warnings.warn(message, stacklevel=2)
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def flush_all(self) -> None:
        """Flush all pending rows.

        Raises:
            StudyError: They could not be written for `FLUSH_TIMEOUT_SECONDS`.
        """
        deadline = time.monotonic() + FLUSH_TIMEOUT_SECONDS
        while True:
            try:
                return self._write_pending()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise StudyError(
                        f"{self._folder}: the last rows could not be written and are lost: {error}; "
                        "the same command goes on from what was written"
                    ) from error
            time.sleep(RETRY_SECONDS)

    def _write_pending(self, if_older_than: float = 0.0) -> None:
        """Write the rows, then run the deferred actions. What fails stays pending."""
        self._tables.flush(if_older_than)
        while self._deferred:
            self._deferred[0]()
            del self._deferred[0]
        self._tables.merge()
