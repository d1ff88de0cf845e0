"""The record of a run in the study's provenance."""

from contextlib import suppress
from typing import Any

from tuner import data
from tuner.cluster.gpus import lowest_capability
from tuner.cluster.placement import Placement
from tuner.config.study import StudyConfig
from tuner.results.folder import StudyFolder
from tuner.results.provenance import describe_run
from tuner.results.tables import now
from tuner.study.observer import Observer


class RunRecord:
    """The provenance of a study, to which a run adds itself.

    Args:
        folder: The study's folder.
        spec: The study.
        dataset: Its images.
        accepted: Changes of images, code or defaults that the user accepted.
        placement: Resources of each trial, and the number of slots.
        observer: Learns the number of slots.
    """

    def __init__(
        self,
        folder: StudyFolder,
        spec: StudyConfig,
        dataset: data.Dataset,
        accepted: list[str],
        placement: Placement,
        observer: Observer,
    ) -> None:
        self._folder, self._observer = folder, observer
        observer.slots_counted(placement.slots)
        self._record: dict[str, Any] = folder.provenance() or {"study": spec.study, "runs": []}
        described = {"name": dataset.name, "fingerprint": dataset.fingerprint}
        self._run = describe_run(described, spec.search.seed) | {"accepted_changes": accepted}
        start, gpu = now().isoformat(), placement.trial.gpu
        self._run |= {"started_at": start, "stopped_at": None, "slots": [[start, placement.slots]], "gpu": gpu}
        self._record["runs"].append(self._run)
        if gpu and not self._record.get("gpu_capability"):  # kept, so that all trials compute alike
            self._record["gpu_capability"] = lowest_capability()
        folder.write_provenance(self._record)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing, because Tune pickles the searcher and never uses the copy."""
        return {}

    @property
    def capability(self) -> tuple[int, ...] | None:
        """CUDA compute capability that decides the precision of all trials."""
        return tuple(self._record.get("gpu_capability") or ()) or None

    def count_slots(self, slots: int) -> None:
        """Record how many slots there are from now on."""
        if slots != self._run["slots"][-1][1]:
            self._run["slots"].append([now().isoformat(), slots])
            self._write()
            self._observer.slots_counted(slots)

    def end(self, stop_reason: str | None) -> None:
        """Record the end of the run.

        A run without an end reads like a run that was killed.
        """
        self._run |= {"stopped_at": now().isoformat(), "halted": stop_reason}
        self._write()

    def _write(self) -> None:
        with suppress(OSError):  # because the tables hold what a resume needs
            self._folder.write_provenance(self._record)
