"""The Ray trainable: a thin skin over `tuner.training` that reports, keeps checkpoints and goes on from them."""

import faulthandler
import io
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from ray import tune

from tuner import data
from tuner.data.batches import device_data
from tuner.errors import TunerError
from tuner.folder import StudyFolder
from tuner.spec import StudySpec
from tuner.training import Training

CHECKPOINT_SECONDS = 15.0
"""A trial saves what it needs to go on at least so often, also within an epoch."""
CHECKPOINT_SHARE = 0.05
"""Saving never takes more than this share of a trial's time."""
HANG_SECONDS = 900.0
"""A trial without an optimizer step for so long hangs: its worker dumps its stacks and ends, and it is tried again."""


@dataclass(frozen=True)
class Job:
    """What the trials of a study have in common.

    Args:
        spec: The study.
        folder: Its folder.
        data: Where data sets are looked for; None: as `tuner.data.load` does.
    """

    spec: StudySpec
    folder: str
    data: Path | None


class Trial(tune.Trainable):
    """One trial after another in one worker process; each `step` is an epoch.

    The configuration from the searcher has `number`, `parameters`, `seed` and `purpose`. A report has the fields of
    `EpochResult` (`train_seconds` summed over the epochs), `epochs_planned`, `parameters_count` and `device`; the last
    one of a completed trial also `test_loss` and `test_accuracy`. A report that stands in the checkpoint already is
    repeated after a resume and marked `replayed`. A trial that cannot be trained ends with `error`.
    """

    def setup(self, config: dict[str, Any], job: Job) -> None:  # type: ignore[override]
        """Make the worker ready; everything that may fail waits for the first step, where Ray tries again."""
        self._job = job
        self._folder = StudyFolder(job.folder)
        torch.set_num_threads(job.spec.resources.cpu)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Turn to the next trial without a new process."""
        self.config = new_config
        self._reports = self._run()
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch and report it; a trial that cannot be trained ends here and the worker lives on."""
        try:
            return next(self._reports)
        except TunerError as error:
            return {"error": str(error), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing for Ray: checkpoints are written when they are due, and are found by the trial's number."""

    def cleanup(self) -> None:
        """Let the worker go."""
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> Iterator[dict[str, Any]]:
        spec, number = self._job.spec, self.config["number"]
        recipe = spec.training_config(self.config["parameters"])
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dataset = data.load(spec.dataset, self._job.data)
        training = Training(
            recipe,
            device_data(dataset.folder, spec.dataset, device),
            seed=self.config["seed"],
            on_step=self._on_step,
        )
        constant = {
            "epochs_planned": recipe.epochs,
            "parameters_count": training.parameters_count,
            "device": training.device_description,
        }
        self._keeper = CheckpointKeeper(self._folder, number, self._identity, training)
        for report in self._keeper.resume():
            yield {**report, "replayed": True}
        for result in training:
            report = {**asdict(result), **constant}
            report["train_seconds"] += self._keeper.train_seconds
            self._keeper.reports.append(report)
            if result.epoch < recipe.epochs:
                self._keeper.save_if_due()
                yield report
            else:
                test_loss, test_accuracy = training.evaluate_test()
                if spec.keep_weights:
                    self._folder.storage.write(self._folder.weights(number), _to_bytes(training.model.state_dict()))
                yield {**report, "test_loss": test_loss, "test_accuracy": test_accuracy, "done": True}

    def _on_step(self) -> None:
        self._keeper.save_if_due()

    @cached_property
    def _recipe_text(self) -> str:
        spec = self._job.spec
        return json.dumps([spec.dataset.model_dump(mode="json"), spec.training], sort_keys=True, default=str)

    @property
    def _identity(self) -> str:
        """Hash of all that a checkpoint depends on."""
        own = json.dumps([self.config["parameters"], self.config["seed"]], sort_keys=True)
        return blake2b(f"{self._recipe_text}{own}".encode(), digest_size=16).hexdigest()


class CheckpointKeeper:
    """Saves a trial's training by time, within epochs too, and finds it again.

    A checkpoint holds the hash of its configuration, the reports so far and the state of the training; it is read with
    `weights_only=True`.
    """

    def __init__(self, folder: StudyFolder, number: int, identity: str, training: Training) -> None:
        self._storage, self._name = folder.storage, folder.checkpoint(number)
        self._identity, self._training = identity, training
        self.reports: list[dict[str, Any]] = []
        self._wait = CHECKPOINT_SECONDS
        self._saved_at = self._armed_at = time.monotonic()
        self._arm_watchdog()

    @property
    def train_seconds(self) -> float:
        """Seconds of training in the epochs reported so far."""
        return float(self.reports[-1]["train_seconds"]) if self.reports else 0.0

    def resume(self) -> list[dict[str, Any]]:
        """Go on from the trial's checkpoint, if there is a sound one of this configuration; returns its reports."""
        try:
            kept = torch.load(io.BytesIO(self._storage.read(self._name)), weights_only=True, map_location="cpu")
            if kept["identity"] == self._identity:
                self._training.load_state_dict(kept["training"])
                self.reports = kept["reports"]
        except FileNotFoundError:
            pass
        except Exception as error:  # a broken checkpoint costs time, never the trial
            warnings.warn(f"{self._storage.path(self._name)} cannot be used, starting over: {error}", stacklevel=2)
        return list(self.reports)

    def save_if_due(self) -> None:
        """Called after each step: save when the time has come, and tell the watchdog that the trial lives."""
        now = time.monotonic()
        if now - self._armed_at > 1.0:
            self._armed_at = now
            self._arm_watchdog()
        if now - self._saved_at < self._wait:
            return
        kept = {"identity": self._identity, "reports": self.reports, "training": self._training.state_dict()}
        self._storage.write(self._name, _to_bytes(kept))
        self._saved_at = time.monotonic()
        self._wait = max(CHECKPOINT_SECONDS, (self._saved_at - now) / CHECKPOINT_SHARE)

    def _arm_watchdog(self) -> None:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)


def _to_bytes(state: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()
