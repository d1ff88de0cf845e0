"""Export of a study's model to one file, checked on real images before it appears."""

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from tuner import data
from tuner.data.device import DeviceDataset
from tuner.errors import DataError, StudyError
from tuner.results.folder import StudyResults
from tuner.study.kept_model import load_best
from tuner.training.export import write_model
from tuner.training.exported import load_model
from tuner.training.formats import ENDINGS
from tuner.training.graph import Graph
from tuner.training.image_model import About
from tuner.training.saved_model import SavedModel

CHECKED_IMAGES = 256
"""Images on which an exported model is compared with its original."""
TOLERANCE = 1e-4
"""Largest difference of a probability, because other programs add in another order."""


def export_model(
    study: StudyResults, out: Path, format_name: str, *, trial: int | None = None, root: Path | None = None
) -> tuple[About, int, float]:
    """Write a study's model to a file that agrees with the original.

    Args:
        study: The study.
        out: The file to write, which must not exist.
        format_name: One of `tuner.training.formats.ENDINGS`.
        trial: The trial. None: the final model, or else the best trial.
        root: Folder in which data sets are searched first.

    Returns:
        The model's description, the number of images compared, and the largest difference of a probability.

    Raises:
        StudyError: The model does not exist, something is at `out`, or the file gives other results.
        DataError: The images are missing, or the network cannot be exported.
    """
    _check_target(out, format_name)
    model = load_best(study, trial, root)
    images = _some_images(study, root)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as scratch:
            unfinished = Path(scratch, f"model{ENDINGS[format_name]}")
            write_model(model, unfinished, format_name)
            difference = _compare(model, unfinished, images)
            _check_target(out, format_name)
            unfinished.rename(out)
    except OSError as error:
        raise StudyError(f"{out}: cannot be written: {error.strerror}; name another file with --output FILE") from error
    return model.about, len(images), difference


def _check_target(out: Path, format_name: str) -> None:
    """Refuse a file that exists, or whose ending is of another format."""
    if out.suffix.lower() != ENDINGS[format_name]:
        raise StudyError(f"--output: found '{out.name}'; allowed for {format_name}: a name *{ENDINGS[format_name]}")
    if out.exists() or out.is_symlink():
        raise StudyError(f"{out}: exists already, and nothing is overwritten; name another file with --output FILE")
    if not out.parent.is_dir():
        raise StudyError(f"{out}: no folder {out.parent}; allowed: a folder that exists")


def _some_images(study: StudyResults, root: Path | None) -> Tensor:
    """Return some images, spread over the test or validation images."""
    parts = DeviceDataset.open_folds(data.load(study.spec.dataset, root), study.spec.dataset)[0]
    images = parts.test if len(parts.test) else parts.validation
    count = min(CHECKED_IMAGES, len(images))
    return images.batch(torch.linspace(0, len(images) - 1, count).long())[0]


def _compare(model: SavedModel, file: Path, images: Tensor) -> float:
    """Return a file's largest difference from its original, or refuse the file.

    One image is predicted alone, because the file must take batches of any size.
    """
    written = load_model(file)
    if isinstance(written, SavedModel):
        expected = model.predict(images)  # in the precision of the training, which its file keeps
    else:
        with torch.no_grad():
            expected = Graph(model.network, model.scale, model.offset)(images)
    found = torch.cat([written.predict(images[:1]), written.predict(images[1:])])
    difference = float((found - expected).abs().max())
    if not difference <= TOLERANCE:  # so that NaN is refused too
        raise DataError(
            f"{file.suffix}: probabilities differ from the original's by {difference:.2g}; allowed: {TOLERANCE:g};"
            " nothing was written"
        )
    return difference
