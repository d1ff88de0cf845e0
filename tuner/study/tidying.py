"""Tidying of a study's folder at the end of a run."""

import warnings
from contextlib import suppress

from tuner.results.folder import StudyFolder
from tuner.results.schema import FINISHED
from tuner.results.tables import Tables


def flush_if_possible(tables: Tables) -> None:
    """Flush once more and ignore OSError, because the recorder has already warned."""
    with suppress(OSError):
        tables.flush()


def tidy(folder: StudyFolder, tables: Tables) -> None:
    """Compact the tables and remove old checkpoints.

    A failure leaves more files and loses nothing.
    """
    try:
        tables.compact()
        _sweep_checkpoints(folder, tables)
    except OSError as error:
        warnings.warn(f"{error}; the tables are whole but stay in parts", stacklevel=2)


def _sweep_checkpoints(folder: StudyFolder, tables: Tables) -> None:
    """Remove the checkpoints of trials that have ended.

    Workers of a killed driver may have written them after the end.
    """
    if len(folder.provenance().get("runs", ())) > 1:
        trials, storage = tables.trials(), folder.storage
        ended = trials.loc[trials["state"].isin(FINISHED), "number"]
        storage.each(storage.remove, [folder.checkpoint(int(number)) for number in ended])
