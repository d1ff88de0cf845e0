"""One attempt at a trial: it trains, reports, keeps checkpoints and goes on from them. It knows no Ray."""

import copy
import faulthandler
import io
import json
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import wraps
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, ParamSpec
from zipfile import ZipFile

import torch

from tuner.config.space import Value
from tuner.config.study import StudyConfig
from tuner.data.device import ImageSubset, device_data
from tuner.errors import TrialError
from tuner.results.folder import StudyFolder
from tuner.storage import Storage
from tuner.training import Training

P = ParamSpec("P")

CHECKPOINT_SECONDS = 15.0
"""A trial saves what it needs to go on at least so often, also within an epoch."""
CHECKPOINT_SHARE = 0.05
"""Saving never takes more than this share of a trial's time."""
HANG_SECONDS = 900.0
"""A trial without an optimizer step for so long hangs: its worker dumps its stacks and ends, and it is tried again."""


def _watched(train: Callable[P, Iterator[dict[str, Any]]]) -> Callable[P, Iterator[dict[str, Any]]]:
    """Watch over the computing of each report; the watchdog sleeps while nobody asks for one."""

    @wraps(train)
    def watched(*args: P.args, **kwargs: P.kwargs) -> Iterator[dict[str, Any]]:
        reports = train(*args, **kwargs)
        while report := _next_watched(reports):
            yield report

    return watched


def _next_watched(reports: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The next report, None after the last."""
    _arm_watchdog()
    try:
        return next(reports, None)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _arm_watchdog() -> None:
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)


@_watched
def attempt(
    spec: StudyConfig,
    folder: str,
    dataset: Path,
    number: int,
    parameters: Mapping[str, Value],
    seed: int,
    device: str = "cpu",
) -> Iterator[dict[str, Any]]:
    """Train a trial from its checkpoint, if it has one, or from the start; yields a report an epoch.

    A report has the fields of `EpochResult` (`train_seconds` summed over the epochs), `epochs_planned`,
    `parameters_count` and `device`; the last one also `test_loss`, `test_accuracy` and `done`. Where the study asks for
    it, the first has `untrained` (loss and accuracy before the training) and the last `predictions`, a dict for each
    kind of images. Reports that stand in the checkpoint already come first, marked `replayed`.

    Args:
        spec: The study.
        folder: Its folder.
        dataset: The data set as the cache holds it.
        number: The trial's number.
        parameters: The trial's parameters.
        seed: The seed of its training.
        device: Where to train: cpu | cuda.

    Raises:
        TrialError: The trial cannot be trained, and trying again would not help.
        UserError: Data or recipe do not allow it.
    """
    torch.set_num_threads(spec.resources.cpu)
    recipe = spec.training_config(parameters)
    if device == "cuda" and not torch.cuda.is_available():
        raise TrialError("Ray gave the trial a GPU, but torch sees none; is this torch built for its driver?")
    training = Training(
        recipe,
        device_data(dataset, spec.dataset, device),
        seed=seed,
        log_every=spec.log_every,
        on_step=lambda: keeper.save_if_due(),
    )
    constant = {
        "epochs_planned": recipe.epochs,
        "parameters_count": training.parameters_count,
        "device": training.device_description,
    }
    before = training.evaluate(training.data.validation) if spec.untrained else None
    study = StudyFolder(folder)
    keeper = CheckpointKeeper(study, number, identity(spec, dataset, parameters, seed), training)
    for report in keeper.resume():
        yield {**report, "replayed": True}
    for result in training:
        report = {**asdict(result), **constant}
        report["train_seconds"] += keeper.train_seconds
        if before and result.epoch == 1:
            report["untrained"] = dict(zip(("val_loss", "val_accuracy"), before, strict=True))
        keeper.reports.append(report)
        if result.epoch < recipe.epochs:
            keeper.save_if_due()
            yield report
    test_loss, test_accuracy = training.evaluate(training.data.test)
    if spec.keep_weights:
        _keep(study.storage, study.weights(number), training.model.state_dict())
    last = {"test_loss": test_loss, "test_accuracy": test_accuracy, "done": True}
    yield {
        **keeper.reports[-1],
        **last,
        "predictions": {kind: _predictions(training, kind) for kind in spec.predictions},
    }


def _predictions(training: Training, kind: Literal["validation", "test"]) -> dict[str, list[Any]]:
    """Columns of the table `predictions`: true and predicted label of each image, and the probability of the latter."""
    images: ImageSubset = getattr(training.data, kind)
    probability, predicted = training.predict(images).max(dim=1)
    return {
        "index": list(range(len(images))),
        "label": images.labels.tolist(),
        "predicted": predicted.tolist(),
        "probability": probability.tolist(),
    }


def identity(spec: StudyConfig, dataset: Path, parameters: Mapping[str, Value], seed: int) -> str:
    """Hash of all that a checkpoint depends on: images (the cache names them by their contents), recipe and seed."""
    recipe = spec.training_config(parameters).model_dump(mode="json")
    parts = [dataset.name, spec.dataset.model_dump(mode="json"), recipe, seed]
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


class CheckpointKeeper:
    """Saves a trial's training by time, within epochs too, and finds it again.

    A checkpoint holds the hash of its configuration, the reports so far and the state of the training; it is read with
    `weights_only=True`.
    """

    def __init__(self, folder: StudyFolder, number: int, identity: str, training: Training) -> None:
        self._storage, self._name = folder.storage, folder.checkpoint(number)
        self._identity = identity
        self._training = weakref.proxy(training)  # a circle would keep its memory after the trial
        self.reports: list[dict[str, Any]] = []
        self._wait = CHECKPOINT_SECONDS
        self._saved_at = self._armed_at = time.monotonic()

    @property
    def train_seconds(self) -> float:
        """Seconds of training in the epochs reported so far."""
        return float(self.reports[-1]["train_seconds"]) if self.reports else 0.0

    def resume(self) -> list[dict[str, Any]]:
        """Go on from the trial's checkpoint, if there is a sound one of this configuration; returns its reports."""
        content = self._read()
        if content is not None:
            fresh = copy.deepcopy(self._training.state_dict())
            try:
                self.reports = self._load(content)
            except Exception as error:  # a broken checkpoint costs time, never the trial
                self._training.load_state_dict(fresh)
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
        reason = (str(error) or type(error).__name__).splitlines()[0]
        warnings.warn(f"{self._storage.path(self._name)} cannot be used, starting over: {reason}", stacklevel=3)

    def _load(self, content: bytes) -> list[dict[str, Any]]:
        if ZipFile(io.BytesIO(content)).testzip():  # PyTorch reads over flipped bits
            raise ValueError("its checksum is wrong")
        kept = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        if kept["identity"] != self._identity:
            raise ValueError("it is of another configuration")
        self._training.load_state_dict(kept["training"])
        reports: list[dict[str, Any]] = kept["reports"]
        return reports

    def save_if_due(self) -> None:
        """Called after each step: save when the time has come, and tell the watchdog that the trial lives."""
        now = time.monotonic()
        if now - self._armed_at > 1.0:
            self._armed_at = now
            _arm_watchdog()
        if now - self._saved_at < self._wait:
            return
        kept = {"identity": self._identity, "reports": self.reports, "training": self._training.state_dict()}
        _keep(self._storage, self._name, kept)
        self._saved_at = time.monotonic()
        self._wait = max(CHECKPOINT_SECONDS, (self._saved_at - now) / CHECKPOINT_SHARE)


def _keep(storage: Storage, name: str, state: dict[str, Any]) -> None:
    """Write a checkpoint; one that cannot be written costs nothing but itself."""
    content = io.BytesIO()
    torch.save(state, content)
    try:
        storage.write(name, content.getvalue())
    except OSError as error:
        warnings.warn(f"{storage.path(name)} cannot be written: {error}", stacklevel=2)
