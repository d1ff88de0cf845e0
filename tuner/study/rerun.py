"""Training of a trial again, to see if its numbers are the same to the last bit."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tuner.analysis.formatting import is_missing, whole_number
from tuner.config.budget import Budget
from tuner.config.code_hash import hash_network
from tuner.data.weights import hash_all
from tuner.errors import StudyError, TrialError
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.identity import identify, refuse_edited
from tuner.results.provenance import package_versions
from tuner.results.schema import COLUMNS, parameters_from_row
from tuner.study.dataset import load_fitting
from tuner.training.run_trial import run_trial

MEASURED = tuple(
    name
    for name in COLUMNS["epochs"]
    if (name.startswith(("train_", "val_")) or name == "learning_rate") and name != "train_seconds"
)
"""Columns of an epoch that do not depend on the machine's speed."""
TESTED = ("test_loss", "test_accuracy")
"""Columns of a completed trial that its last report has."""


class Difference(NamedTuple):
    """A number that differs from the recorded one."""

    epoch: int
    metric: str
    recorded: float
    again: float

    def __str__(self) -> str:
        return f"{self.metric} {self.again!r} instead of {self.recorded!r}"


@dataclass(frozen=True)
class Rerun:
    """The comparison of a trial with its second training.

    Attributes:
        epochs: Epochs that were compared.
        numbers: Numbers that were compared.
        differences: Those that differ, the earliest first.
        failure: The error of the second training, None if there was none.
        reasons: What may be the reason of a difference.
    """

    epochs: int
    numbers: int
    differences: list[Difference]
    failure: str | None
    reasons: list[str]

    @property
    def is_same(self) -> bool:
        """True if all epochs were trained again, and no number differs."""
        return self.failure is None and not self.differences


def rerun(
    study: StudyResults, number: int, data: Path | None = None, say: Callable[[str], object] = lambda _: None
) -> Rerun:
    """Train a trial again, and compare the numbers with the recorded numbers.

    The training ends at the last recorded epoch. Nothing is written into the study's folder.

    Args:
        study: The study.
        number: The trial.
        data: Folder in which data sets are searched first. None: as in `tuner.data.load`.
        say: Called with a line for each epoch.

    Raises:
        StudyError: There is no such trial, it has no epoch, or images, network or weights were edited.
        DataError: The images are missing or broken.
    """
    row = study.trial(number)
    recorded = study.epochs[(study.epochs["number"] == number) & (study.epochs["epoch"] > 0)]
    by_epoch = {int(each["epoch"]): each for each in recorded.to_dict("records")}
    if not by_epoch:
        raise StudyError(f"{study.folder}: trial {number} has no epoch to compare; it is {row['state']}")
    last = max(by_epoch)
    say(f"Trial {number} of {study.folder.name} is trained again to epoch {last}, with seed {row['seed']}")
    pairs: list[Difference] = []
    device, failure = "", None
    try:
        for report in _train(study, row, data, say, last):
            device = str(report["device"])
            found = list(_pairs(by_epoch.get(report["epoch"], {}), report, row))
            say(f"epoch {report['epoch']}: {'; '.join(map(str, _differing(found)[:2])) or 'the same'}")
            pairs += found
    except TrialError as error:
        failure = str(error)
    return Rerun(len(by_epoch), len(pairs), _differing(pairs), failure, list(_reasons(study, row, device)))


def _train(
    study: StudyResults, row: Mapping[str, Any], data: Path | None, say: Callable[[str], object], epochs: int
) -> Iterator[dict[str, Any]]:
    """Yield the reports of a second training, whose files are temporary."""
    spec = study.spec
    dataset = load_fitting(spec, data, say)
    refuse_edited(
        str(study.folder), identify(spec, dataset.fingerprint, hash_all(spec.weights, data)), "since the study ran"
    )
    device = "cuda" if torch.cuda.is_available() and spec.resources.gpu != 0 else "cpu"
    capability = tuple(study.folder.provenance().get("gpu_capability") or ()) or None
    with tempfile.TemporaryDirectory(prefix="tuner-rerun-") as scratch:
        reports = run_trial(
            spec.model_copy(update={"keep_weights": 0, "budget": Budget(), "predictions": [], "classes": []}),
            str(StudyFolder(scratch)),
            dataset.folder,
            int(row["number"]),
            parameters_from_row(spec.space, row),
            int(row["seed"]),
            device,
            data,
            capability=capability,
        )
        for report in reports:
            yield report
            if report["epoch"] >= epochs:
                return


def _pairs(recorded: Mapping[Any, Any], report: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield each recorded number of an epoch beside the new one."""
    for metric in MEASURED:
        if not is_missing(recorded.get(metric)) and report.get(metric) is not None:
            yield Difference(report["epoch"], metric, float(recorded[metric]), float(report[metric]))
    for metric in TESTED:
        if report.get("done") and not is_missing(row[metric]) and report.get(metric) is not None:
            yield Difference(report["epoch"], metric, float(row[metric]), float(report[metric]))


def _differing(pairs: Iterable[Difference]) -> list[Difference]:
    return [pair for pair in pairs if pair.recorded != pair.again]


def _reasons(study: StudyResults, row: Mapping[str, Any], device: str) -> Iterator[str]:
    """Describe what has changed since the trial was trained."""
    architecture = study.spec.training_config(parameters_from_row(study.spec.space, row)).architecture
    if not is_missing(row["code"]) and row["code"] != hash_network(architecture):
        yield "the code has changed"
    if device and not is_missing(row["device"]) and row["device"] != device:
        yield f"it was trained on {row['device']}, and now on {device}"
    runs = study.folder.provenance().get("runs") or [{}]
    earlier, now = runs[-1].get("versions") or {}, package_versions()
    for name in ("torch", "torchvision", "timm", "numpy"):
        if name in earlier and earlier[name] != now[name]:
            yield f"{name} was {earlier[name]}, and is {now[name]}"
    if whole_number(row["attempt"]) > 1:
        yield f"it took {row['attempt']} attempts"
