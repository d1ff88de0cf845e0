"""Training of the final model: a study's best configuration, on all images but the test's."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tuner.analysis.formatting import format_clock
from tuner.config.study import StudyConfig
from tuner.data.device import DeviceDataset
from tuner.data.weights import hash_all
from tuner.errors import StudyError, TrialError
from tuner.results.folder import StudyFolder, StudyResults
from tuner.results.identity import identify, refuse_edited
from tuner.results.provenance import package_versions
from tuner.results.schema import parameters_from_row
from tuner.study.dataset import load_fitting
from tuner.study.model_card import render
from tuner.training.image_model import Origin
from tuner.training.loop import Trainer
from tuner.training.metrics import extra_metrics, loss_and_accuracy
from tuner.training.saved_model import save_model
from tuner.training.seeds import derive_step_seed

Say = Callable[[str], object]


def train_final(
    study: StudyResults,
    out: Path,
    *,
    trial: int | None = None,
    seeds: int = 1,
    data: Path | None = None,
    say: Say = lambda _: None,
) -> None:
    """Train a configuration on training and validation images, and write its model.

    Args:
        study: The study.
        out: The folder to write, which must not exist. Several models are in folders 1, 2, … below it.
        trial: The trial with the configuration. None: `study.best`.
        seeds: Number of models, each with another seed.
        data: Folder in which data sets are searched first. None: as in `tuner.data.load`.
        say: Called with a line for each epoch.

    Raises:
        StudyError: There is no such trial or something at `out`. Or the images, the network's code or
            its weights were edited, or the configuration cannot be trained.
        DataError: The images are missing or broken.
    """
    row = study.trial(int(study.best["number"]) if trial is None else trial)
    with _new_folder(out) as folder:
        job = _prepare(study, row, data, say)
        say(f"Trial {row['number']} of {study.folder.name} is trained on {len(job.images.train):,} images")
        for number in range(1, seeds + 1):
            below = folder if seeds == 1 else folder / str(number)
            below.mkdir(exist_ok=True)
            job.train(below, number, say, "" if seeds == 1 else f"model {number}/{seeds}, ")


def _refuse_existing(out: Path) -> None:
    """Raise StudyError if something is at `out`, because nothing is overwritten."""
    if out.exists() or out.is_symlink():
        raise StudyError(f"{out}: exists already, and nothing is overwritten; name another folder with --out DIR")


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield an unfinished folder that is renamed to `out` at the end."""
    _refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        unfinished = Path(scratch, "model")
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(out)


def _prepare(study: StudyResults, row: Mapping[Any, Any], data: Path | None, say: Say) -> "_Job":
    """Load the images, and refuse what was edited since the study ran."""
    spec = study.spec
    dataset = load_fitting(spec, data, say)
    identity = identify(spec, dataset.fingerprint, hash_all(spec.weights, data))
    refuse_edited(str(study.folder), identity, "since the study ran")
    torch.set_num_threads(spec.resources.cpu)
    device = "cuda" if torch.cuda.is_available() and spec.resources.gpu != 0 else "cpu"
    images = DeviceDataset.open(dataset, spec.dataset, device, joined=True)
    return _Job(study, row, images, dataset.fingerprint, data)


@dataclass(frozen=True)
class _Job:
    """A configuration with the images to train it on."""

    study: StudyResults
    row: Mapping[Any, Any]
    images: DeviceDataset
    fingerprint: str
    data: Path | None

    def train(self, folder: Path, number: int, say: Say, prefix: str) -> None:
        """Train a model with its own seed, and write it.

        Each epoch's line begins with the prefix.
        """
        spec, trial = self.study.spec, int(self.row["number"])
        try:
            trainer = Trainer(
                spec.training_config(parameters_from_row(spec.space, self.row)),
                self.images,
                seed=derive_step_seed(spec.search.seed, "final", trial, number),
                capability=_capability(self.study.folder),
                root=self.data,
            )
            for result in trainer:
                say(
                    f"{prefix}epoch {result.epoch}/{trainer.config.epochs}: train_loss {result.train_loss:.4f}, "
                    f"train_accuracy {result.train_accuracy:.4f}, {format_clock(result.seconds)}"
                )
            tested = _test(trainer, spec)
        except TrialError as error:
            raise StudyError(f"{self.study.folder}: trial {trial}: {error}; --trial N trains another") from error
        origin = self._origin(tested)
        save_model(folder, trainer, origin)
        card = render(self.study, self.row, trainer.config, trainer.seed, origin)
        (folder / "README.md").write_text(card, encoding="utf-8")

    def _origin(self, tested: dict[str, float | None]) -> Origin:
        spec = self.study.spec
        return Origin(
            study=spec.study,
            trial=int(self.row["number"]),
            protocol=spec.protocol,
            dataset={"fingerprint": self.fingerprint, **spec.dataset.model_dump(mode="json")},
            images={"training": len(self.images.train), "test": len(self.images.test)},
            test=tested,
            versions=package_versions(),
        )


def _test(trainer: Trainer, spec: StudyConfig) -> dict[str, float | None]:
    """Measure a model on the test images by its study's metrics."""
    images = trainer.data.test
    logits = trainer.logits(images)
    loss, accuracy = loss_and_accuracy(logits, images.labels)
    others = extra_metrics(spec.extra_metrics, logits, images.labels)
    named = {f"test_{name.removeprefix('val_')}": value for name, value in others.items()}
    return {"test_loss": loss, "test_accuracy": accuracy, **named}


def _capability(folder: StudyFolder) -> tuple[int, ...] | None:
    """Return the CUDA capability that decided the precision of the study's trials."""
    return tuple(folder.provenance().get("gpu_capability") or ()) or None
