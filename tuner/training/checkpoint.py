"""Checkpoints of a trial, saved by time and checked before they are used."""

import copy
import io
import json
import time
import warnings
import weakref
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from tuner.config.study import StudyConfig
from tuner.config.values import Value
from tuner.errors import first_line
from tuner.results.folder import StudyFolder
from tuner.storage import Storage
from tuner.training.cross_validation import Training

CHECKPOINT_SECONDS = 15.0
"""Seconds between two checkpoints of a trial, also within an epoch."""
CHECKPOINT_SHARE = 0.05
"""Largest share of a trial's time that saving takes."""


def identity(spec: StudyConfig, dataset: Path, parameters: Mapping[str, Value], seed: int) -> str:
    """Return a hash of all that a checkpoint depends on.

    It depends on images, recipe and seed. The images are known by the name of their cache entry,
    which holds their fingerprint.
    """
    recipe = spec.training_config(parameters).decisive
    parts = [dataset.name, spec.dataset.decisive, recipe, seed]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


class Checkpointer:
    """Checkpoints of one trial, which are saved by time.

    They are saved within epochs too. A checkpoint holds the hash of its configuration, the reports
    so far and the state of the training. It is read with `weights_only=True`.
    """

    def __init__(self, folder: StudyFolder, number: int, identity: str, trainer: Training) -> None:
        self._storage, self._name = folder.storage, folder.checkpoint(number)
        self._identity = identity
        self._trainer = weakref.proxy(trainer)  # because a cycle would keep its memory after the trial
        self.reports: list[dict[str, Any]] = []
        self._save_seconds = 0.0
        self._wait = CHECKPOINT_SECONDS
        self._saved_at = time.monotonic()

    @property
    def train_seconds(self) -> float:
        """Seconds of training in the epochs reported so far."""
        return float(self.reports[-1]["train_seconds"]) if self.reports else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of the epochs reported so far, evaluation included."""
        return float(sum(report["seconds"] for report in self.reports))

    @property
    def elapsed_seconds(self) -> float:
        """Seconds of the epochs reported so far, and of the current one."""
        return float(self.seconds + self._trainer.epoch_seconds)

    def resume(self) -> list[dict[str, Any]]:
        """Resume from the trial's checkpoint, if sound, and return its reports."""
        content = self._read()
        if content is not None:
            fresh = copy.deepcopy(self._trainer.state_dict())
            try:
                self.reports = self._load(content)
            except Exception as error:  # because a broken checkpoint must not fail the trial
                self._trainer.load_state_dict(fresh)
                self._warn_of(error)
        return list(self.reports)

    def _read(self) -> bytes | None:
        try:
            return self._storage.read(self._name)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn_of(error)
            return None

    def _warn_of(self, error: Exception) -> None:
        warnings.warn(
            f"{self._storage.path(self._name)} cannot be used, starting over: {first_line(error)}", stacklevel=3
        )

    def _load(self, content: bytes) -> list[dict[str, Any]]:
        if ZipFile(io.BytesIO(content)).testzip():  # because PyTorch ignores flipped bits
            raise ValueError("its checksum is wrong")
        kept = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if kept["identity"] != self._identity:
            raise ValueError("it is of another configuration")
        self._trainer.load_state_dict(kept["training"])
        reports: list[dict[str, Any]] = kept["reports"]
        return reports

    def save_if_due(self) -> None:
        """Save if a checkpoint is due. Called after each step."""
        if time.monotonic() - self._saved_at >= self._wait:
            self.save()

    def save(self) -> None:
        """Save now."""
        now = time.monotonic()
        kept = {"identity": self._identity, "reports": self.reports, "training": self._trainer.state_dict()}
        write_state(self._storage, self._name, kept)
        self._saved_at = time.monotonic()
        self._save_seconds += self._saved_at - now
        self._trainer.leave_out(self._saved_at - now)
        self._wait = max(CHECKPOINT_SECONDS, (self._saved_at - now) / CHECKPOINT_SHARE)

    def take_seconds(self) -> float:
        """Return the seconds of saving since the last call."""
        seconds, self._save_seconds = self._save_seconds, 0.0
        return seconds


def write_state(storage: Storage, name: str, state: dict[str, Any]) -> None:
    """Write a state, or warn if it cannot be written."""
    content = io.BytesIO()
    torch.save(state, content)
    try:
        storage.write(name, content.getvalue())
    except OSError as error:
        warnings.warn(f"{storage.path(name)} cannot be written: {error}", stacklevel=2)
